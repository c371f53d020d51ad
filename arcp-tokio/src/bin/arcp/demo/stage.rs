//! Where the demo plays: a runtime, a cable and a client, and somebody who watches.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arcp_driver::sqlite::SqliteStore;
use arcp_driver::url::Endpoint;
use arcp_driver::{
    Client, ClientConfig, EventBody, EventKind, Job, JobContext, JobError, JobEvent, JobOutput, RawJson,
    Runtime, SessionEvent, SessionEvents,
};
use arcp_tokio::{Server, Serving};
use tokio::sync::mpsc;

use super::cable::{CableConnector, Cut, Cutter, Relay};
use super::findings::Findings;
use super::tap::{Delegated, News, Tap};
use crate::agents::{self, Observer};
use crate::failure::Failure;
use crate::text::{escape, span};
use crate::timeline::{Timeline, Tone};
use crate::{describe, session, show};

/// The cable is cut behind so many events: in the middle of the first job.
const CUT_AFTER: u64 = 14;

/// The bearer token of a runtime that lives for seconds, on this machine.
const TOKEN: &str = "demo";

/// How often each agent was started.
type Runs = Arc<Mutex<HashMap<String, u64>>>;

/// Everything that plays a part.
pub(super) struct Stage {
    pub(super) timeline: Timeline,
    pub(super) client: Client,
    pub(super) findings: Findings,
    /// What delegated jobs said.
    pub(super) delegated: Vec<EventBody>,
    runs: Runs,
    tap: Arc<Tap>,
    events: SessionEvents,
    cuts: mpsc::UnboundedReceiver<Cut>,
    lost: Option<Instant>,
    /// `None` between two runtimes.
    serving: Option<Serving>,
    /// The first runtime has been stopped.
    is_second: bool,
    address: SocketAddr,
    _relay: Relay,
    /// The last to go.
    file: StoreFile,
}

/// What comes while a job is followed.
enum Next {
    Cut(Cut),
    Session(SessionEvent),
    Job(Option<Result<JobEvent, JobError>>),
}

impl Stage {
    /// Starts runtime, cable and client.
    pub(super) async fn set() -> Result<Self, Failure> {
        let timeline = Timeline::begin();
        timeline.say(
            &timeline
                .paint(Tone::Bold, "arcp demo: five jobs, a cable that is pulled, and a runtime that stops"),
        )?;
        timeline.say("")?;

        let runs = Runs::default();
        let file = StoreFile::new()?;
        let runtime = runtime(&file, &runs)?;
        let server = Server::bind("127.0.0.1:0").await.map_err(Failure::error)?;
        let endpoint: Endpoint = server.url().parse().map_err(Failure::error)?;
        timeline.line(None, Tone::Good, "runtime", &format!("listens on {endpoint}"))?;

        let address = server.local_addr();
        let cutter = Cutter::default();
        let tap = Arc::new(Tap::new(cutter.clone(), CUT_AFTER));
        let (relay, cuts) = Relay::start(address, cutter)
            .await
            .map_err(|error| Failure::error(format!("cannot lay the cable: {error}")))?;
        let serving = Some(server.start(runtime));

        let mut config = ClientConfig::new(TOKEN);
        config.name = "arcp-demo".into();
        let connector = CableConnector::new(endpoint, &relay, Arc::clone(&tap));
        let (client, events) = session::start(connector, config)?;
        Ok(Self {
            timeline,
            client,
            findings: Findings::default(),
            delegated: Vec::new(),
            runs,
            tap,
            events,
            cuts,
            lost: None,
            serving,
            is_second: false,
            address,
            _relay: relay,
            file,
        })
    }

    /// Waits for the session.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        while self.findings.sessions.is_empty() {
            match self.events.next().await {
                Some(event) => self.session(event)?,
                None => return Err(Failure::error("the session ended before it began")),
            }
        }
        Ok(())
    }

    /// Stops the runtime, and starts another one on the same file and address.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        if let Some(serving) = self.serving.take() {
            serving.shut_down().await;
        }
        self.is_second = true;
        self.lost.get_or_insert_with(Instant::now);
        self.timeline.line(None, Tone::Bad, "runtime", "stopped, with the job half done")?;
        let runtime = runtime(&self.file, &self.runs)?;
        let server = Server::bind(self.address).await.map_err(Failure::error)?;
        self.serving = Some(server.start(runtime));
        Ok(self.timeline.line(None, Tone::Good, "runtime", "another one goes on with its file")?)
    }

    /// A new part of the demo.
    pub(super) fn heading(&self, text: &str) -> Result<(), Failure> {
        self.timeline.say("")?;
        Ok(self.timeline.say(&self.timeline.paint(Tone::Bold, text))?)
    }

    /// How often this agent, by its name with version, was started.
    pub(super) fn runs(&self, agent: &str) -> u64 {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(agent).copied().unwrap_or(0)
    }

    /// Shows that a job was accepted.
    pub(super) fn accepted(&self, job: &Job) -> Result<(), Failure> {
        let agent = job.accepted().agent.as_deref().unwrap_or("?");
        let text = format!("{} accepted for {}", job.id().as_str(), agent);
        self.timeline.line(None, Tone::Bold, "job", &escape(&text))?;
        Ok(show::lease(&self.timeline, job.lease())?)
    }

    /// Follows a job to its next event, shows it, and whatever else happens until then; `None` at the job's end.
    pub(super) async fn next(&mut self, job: &mut Job) -> Result<Option<JobEvent>, Failure> {
        loop {
            let next = tokio::select! {
                biased;
                Some(cut) = self.cuts.recv() => Next::Cut(cut),
                Some(event) = self.events.next() => Next::Session(event),
                event = job.next() => Next::Job(event),
            };
            match next {
                Next::Cut(cut) => self.cut(cut)?,
                Next::Session(event) => self.session(event)?,
                Next::Job(None) => {
                    self.findings.handed_on += 1;
                    self.show_delegated(u64::MAX)?;
                    self.timeline.progress_done();
                    return Ok(None);
                }
                Next::Job(Some(Ok(event))) => {
                    self.findings.handed_on += 1;
                    self.show(job, &event)?;
                    return Ok(Some(event));
                }
                Next::Job(Some(Err(error))) => return Err(Failure::error(describe::job_error(&error))),
            }
        }
    }

    /// Follows a job to its end and returns what came of it, with all its events.
    pub(super) async fn follow(
        &mut self,
        job: &mut Job,
    ) -> Result<(Vec<JobEvent>, Result<JobOutput, JobError>), Failure> {
        let mut events = Vec::new();
        while let Some(event) = self.next(job).await? {
            events.push(event);
        }
        Ok((events, job.output().await))
    }

    fn show(&mut self, job: &Job, event: &JobEvent) -> Result<(), Failure> {
        let described = describe::event(event);
        let number = event.position().and_then(|position| self.tap.number(job.id().as_str(), position));
        self.show_delegated(number.unwrap_or(u64::MAX))?;
        self.timeline.line(number, described.tone, &described.label, &described.text)?;
        if let Ok(EventBody::Progress { current, total: Some(total), units, .. }) = event.body()
            && let (Some(current), Some(total)) = (current.to_u64(), total.to_u64())
        {
            self.timeline.progress(current, total, &escape(units.as_deref().unwrap_or_default()));
        }
        Ok(())
    }

    /// Shows what delegated jobs said, as far as it came before this number.
    fn show_delegated(&mut self, below: u64) -> Result<(), Failure> {
        while let Some(Delegated { number, news }) = self.tap.next_delegated(below) {
            self.findings.of_delegated += 1;
            let (tone, label, text) = match news {
                News::Event(kind, body) => {
                    let kind = EventKind::parse(&kind);
                    let body = RawJson::parse(body).map_err(Failure::error)?;
                    let described = describe::body(&kind, EventBody::read(&kind, &body));
                    self.delegated.extend(EventBody::read(&kind, &body).ok());
                    (described.tone, described.label, described.text)
                }
                News::End(name) if name == "job.result" => (Tone::Good, "success".into(), String::new()),
                News::End(name) => (Tone::Bad, escape(&name), String::new()),
            };
            self.timeline.line(Some(number), tone, &format!("└ {label}"), &text)?;
        }
        Ok(())
    }

    fn cut(&mut self, cut: Cut) -> Result<(), Failure> {
        self.lost.get_or_insert_with(Instant::now);
        self.findings.cuts.push(cut);
        let Cut { delivered, of } = cut;
        let text = format!("pulled! {delivered} of the next {of} bytes got through");
        Ok(self.timeline.line(None, Tone::Bad, "cable", &text)?)
    }

    fn session(&mut self, event: SessionEvent) -> Result<(), Failure> {
        match event {
            SessionEvent::Connected(connected) => {
                self.findings.sessions.insert(connected.session_id.clone());
                let mut text = describe::connected(&connected);
                if connected.resumed {
                    self.findings.resumes += 1;
                    if let Some(lost) = self.lost.take() {
                        text = format!("{text} after {}", span(lost.elapsed()));
                    }
                }
                Ok(self.timeline.line(None, Tone::Good, "session", &text)?)
            }
            SessionEvent::Disconnected => {
                self.findings.losses += 1;
                let text = match self.tap.numbers() {
                    Some(numbers) if self.is_second => {
                        format!("lost the connection behind #{}", numbers.last)
                    }
                    Some(numbers) => {
                        format!("lost the connection behind #{}; the agent goes on alone", numbers.last)
                    }
                    None => "lost the connection".into(),
                };
                Ok(self.timeline.line(None, Tone::Odd, "session", &text)?)
            }
            SessionEvent::ConnectFailed(why) => Ok(self.timeline.line(
                None,
                Tone::Odd,
                "session",
                &format!("no connection: {}", escape(&why)),
            )?),
            SessionEvent::Gap { from, to } => {
                self.findings.gaps_told += 1;
                Ok(self.timeline.line(None, Tone::Bad, "gap", &format!("#{from} to #{to} are lost"))?)
            }
            SessionEvent::Closed(reason) => Err(Failure::error(reason.to_string())),
            _ => Ok(()),
        }
    }

    /// Ends everything and says what was seen.
    pub(super) async fn close(self) -> Result<Findings, Failure> {
        let Self { timeline, client, mut findings, tap, serving, file, .. } = self;
        client.close().await;
        if let Some(serving) = serving {
            serving.shut_down().await;
        }
        drop(file);
        let numbers = tap.numbers();
        findings.judge(numbers);
        let facts = findings.facts(numbers, timeline.elapsed());
        timeline.say("")?;
        let (mark, tone) =
            if findings.missed().is_empty() { ("✔", Tone::Good) } else { ("✘", Tone::Bad) };
        timeline.say(&timeline.paint(tone, &format!("{mark} {facts}")))?;
        Ok(findings)
    }
}

/// A runtime that goes on with what is in the file.
fn runtime(file: &StoreFile, runs: &Runs) -> Result<Runtime, Failure> {
    let store = SqliteStore::open(file.path()).map_err(Failure::error)?;
    let builder = Runtime::builder().bearer(TOKEN, "demo").store(store);
    agents::add(builder, &counter(runs)).build().map_err(Failure::error)
}

/// A store's file in a folder of its own, which goes with it.
struct StoreFile(PathBuf);

impl StoreFile {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("arcp-demo-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .map_err(|error| Failure::error(format!("cannot make {}: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.join("arcp.db")
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn counter(runs: &Runs) -> Observer {
    let runs = Arc::clone(runs);
    Arc::new(move |job: &JobContext, stage| {
        if matches!(stage, agents::Stage::Started) {
            let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
            *runs.entry(job.agent().as_str().to_owned()).or_default() += 1;
        }
    })
}
