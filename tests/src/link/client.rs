//! A client of the world: its endpoint, and the application behind it.

use arcp_proto::chunk::Assembler;
use arcp_proto::client::{ClientEndpoint, ClientEvent};
use arcp_proto::id::JobId;
use arcp_proto::wire::body::EventBody;
use arcp_proto::wire::event::EventKind;
use arcp_proto::wire::job::{Ended, FinalStatus};

/// What an application was handed, in order, and whether it takes it.
pub struct Application {
    /// Everything it was told.
    pub told: Vec<ClientEvent>,
    /// Whether it takes events as they come; otherwise never.
    pub takes: bool,
    events: usize,
    ended: usize,
}

/// What an application made of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The positions of its events and its end, as they came.
    pub positions: Vec<u64>,
    /// The kinds of the events, as they came; notices to the session, which have no position, are left out.
    pub kinds: Vec<String>,
    /// How often it ended.
    pub ends: usize,
    /// The result as JSON text, or as the text that was streamed; or the error code.
    pub result: Result<String, String>,
}

impl Application {
    pub(super) const fn new() -> Self {
        Self { told: Vec::new(), takes: true, events: 0, ended: 0 }
    }

    pub(super) fn tell(&mut self, event: ClientEvent) {
        let ended = matches!(event, ClientEvent::JobEnded { .. });
        self.ended += usize::from(ended);
        self.events += usize::from(ended || matches!(event, ClientEvent::JobEvent { .. }));
        self.told.push(event);
    }

    /// The jobs that were accepted, by first mention.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for event in &self.told {
            if let ClientEvent::Accepted { job, .. } | ClientEvent::Subscribed { job, .. } = event
                && !jobs.contains(job)
            {
                jobs.push(job.clone());
            }
        }
        jobs
    }

    /// How many jobs have ended.
    #[must_use]
    pub const fn ended(&self) -> usize {
        self.ended
    }

    /// Events of jobs so far, ends included.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events
    }

    /// How often the session was opened, and how often of these it was continued.
    #[must_use]
    pub fn connects(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for event in &self.told {
            if let ClientEvent::Connected(connected) = event {
                counts.0 += 1;
                counts.1 += usize::from(connected.resumed);
            }
        }
        counts
    }

    /// Gaps, rejections and errors of the runtime: everything that should not happen unless a test made it happen.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&ClientEvent| {
            matches!(
                event,
                ClientEvent::Gap { .. }
                    | ClientEvent::Rejected { .. }
                    | ClientEvent::RuntimeError(_)
                    | ClientEvent::Closed(_)
                    | ClientEvent::JobEvent { event: None, .. }
            )
        };
        self.told.iter().filter(is_complaint).map(|event| format!("{event:?}")).collect()
    }

    /// What it made of a job.
    #[must_use]
    pub fn story(&self, job: &JobId) -> Story {
        let mut story =
            Story { positions: Vec::new(), kinds: Vec::new(), ends: 0, result: Err("no end".to_owned()) };
        let mut chunks = Assembler::new();
        for event in &self.told {
            match event {
                ClientEvent::JobEvent { job: of, event: Some(event), .. } if of == job => {
                    let Some(pos) = event.pos else { continue };
                    story.positions.push(pos);
                    story.kinds.push(event.kind.to_string());
                    if event.kind == EventKind::ResultChunk {
                        match EventBody::read(&event.kind, &event.body) {
                            Ok(EventBody::ResultChunk(chunk)) => chunks.push(&chunk),
                            _ => chunks.push_unreadable(),
                        }
                    }
                }
                ClientEvent::JobEnded { job: of, ended, .. } if of == job => {
                    story.positions.extend(ended.pos);
                    story.ends += 1;
                    story.result = result_of(ended, std::mem::take(&mut chunks));
                }
                _ => {}
            }
        }
        story
    }
}

fn result_of(ended: &Ended, chunks: Assembler) -> Result<String, String> {
    if ended.status != FinalStatus::Success {
        return Err(ended
            .error
            .as_ref()
            .map_or_else(|| ended.status.as_str().to_owned(), |error| error.code.clone()));
    }
    if ended.result_id.is_none() {
        return Ok(ended
            .result
            .as_ref()
            .map_or_else(|| "null".to_owned(), |value| value.as_str().to_owned()));
    }
    let assembled =
        chunks.finish(ended.result_id.as_deref(), ended.result_size).map_err(|fault| format!("{fault:?}"))?;
    String::from_utf8(assembled.bytes).map_err(|error| error.to_string())
}

/// A client and its application.
pub struct Peer {
    /// The endpoint.
    pub endpoint: ClientEndpoint,
    /// What it hands its events to.
    pub application: Application,
    /// Whether it reads its socket.
    pub reads: bool,
    /// Whether it does nothing at all, as a machine that sleeps.
    pub asleep: bool,
    /// The link it uses.
    pub(super) link: Option<usize>,
    /// Links it has had.
    pub(super) links: usize,
}
