//! Both state machines without a driver: what they ask for is printed before it is done.

use std::sync::Arc;

use arcp_proto::agent::AgentRef;
use arcp_proto::client::{ClientEndpoint, Output as ClientOutput, Submission};
use arcp_proto::config::{ClientConfig, RuntimeConfig};
use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::{
    AgentEnd, AgentInput, ConnectionId, Credentials, Output, RuntimeEndpoint, Verdict,
};
use arcp_proto::time::{Instant, Now, UnixTime};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::peer::TransportKind;
use arcp_tests::random::Random;

use super::ALICE;
use super::overheard::Overheard;

struct Cores<'a> {
    overheard: &'a Overheard,
    now: Now,
    runtime: RuntimeEndpoint,
    client: ClientEndpoint,
    store: Tables,
    connection: Option<ConnectionId>,
}

/// A session with a job, resumed twice.
pub(crate) fn talk(overheard: &Overheard) {
    let now = Now { mono: Instant::ZERO, unix: UnixTime::from_millis(1_800_000_000_000) };
    let mut config = RuntimeConfig::default();
    config.agents.add(&AgentRef::parse("a").unwrap());
    let mut cores = Cores {
        overheard,
        now,
        runtime: RuntimeEndpoint::new(config, Box::new(Random::new(7)), now),
        client: ClientEndpoint::new(ClientConfig::new(ALICE), Box::new(Random::new(8)), now),
        store: Tables::default(),
        connection: None,
    };
    for n in 0..3 {
        cores.settle();
        let input = RawJson::try_from("{}").unwrap();
        cores.client.submit(cores.now, Submission::new("a", input).idempotency_key(format!("k{n}"))).unwrap();
        cores.settle();
        let connection = cores.connection.take().expect("a connection");
        cores.runtime.handle_closed(cores.now, connection);
        cores.client.handle_closed(cores.now);
        overheard.show("cores", &cores.client);
        overheard.show("cores", &cores.store);
    }
}

impl Cores<'_> {
    /// Does all there is to do, waiting for the client where it backs off.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.client.poll_output() {
                self.overheard.show("cores", &output);
                self.obey_client(output);
                idle = false;
            }
            while let Some(output) = self.runtime.poll_output() {
                self.overheard.show("cores", &output);
                self.obey_runtime(output);
                idle = false;
            }
            if idle && self.connection.is_some() {
                return;
            }
            if idle {
                let at = self.client.poll_timeout().expect("a client without connection makes one");
                self.now = self.now.after(at.since(self.now.mono));
                self.client.handle_timeout(self.now);
            }
        }
    }

    fn obey_client(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Connect => {
                self.connection = Some(self.runtime.handle_open(self.now, TransportKind::Memory));
                self.client.handle_open(self.now, TransportKind::Memory);
            }
            ClientOutput::FramesReady => {
                while let Some(text) = self.client.poll_frame() {
                    self.overheard.frame(&text);
                    let connection = self.connection.expect("frames come for a connection");
                    self.runtime.handle_frame(self.now, connection, text.into());
                }
            }
            ClientOutput::Close(code) => panic!("closed with {code:?}"),
            ClientOutput::Remember(_) => self.client.handle_remembered(self.now),
            ClientOutput::Event(_) => {}
        }
    }

    fn obey_runtime(&mut self, output: Output) {
        match output {
            Output::FramesReady(connection) => {
                while let Some(frame) = self.runtime.poll_frame(connection) {
                    self.overheard.show("cores", &frame);
                    let text = frame.encode();
                    self.overheard.frame(&text);
                    self.client.handle_frame(self.now, text.into());
                }
            }
            Output::Authenticate { id, credentials: Credentials::Bearer(token) } if token.matches(ALICE) => {
                let verdict = Verdict::Accept { principal: Arc::from("alice"), until: None };
                self.runtime.handle_auth(self.now, id, verdict);
            }
            Output::Store { id, command } => {
                self.runtime.handle_store(self.now, id, self.store.execute(command));
            }
            Output::StartJob(start) => {
                let end = AgentEnd::Value { value: start.input, summary: None };
                self.runtime.handle_agent(self.now, start.job, AgentInput::Finish(end)).unwrap();
            }
            Output::Close { code, .. } => panic!("closed with {code:?}"),
            _ => {}
        }
    }
}
