//! A world in virtual time in which everything goes wrong: clients, links, clocks, a runtime, its store and its agents.
//!
//! One run is a pure function of its bytes. A seed makes the bytes, or a fuzzer does; every decision is drawn from them when
//! it is due, from what is possible in that state. Used up, they decide for calm everywhere, and the run settles: faults
//! end, and everything has to come to its end. The endpoints are driven through their public methods only, and all that
//! they do is shown to the [oracle](crate::oracle), which judges.

mod agents;
mod carry;
mod chaos;
mod choices;
mod client;
mod clock;
mod count;
mod hostile;
mod intruders;
mod journal;
mod link;
mod obey;
mod plan;
mod provisioner;
mod run;
mod settle;
mod store;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arcp_proto::config::RuntimeConfig;
use arcp_proto::observe::{ObservePolicy, ObservedJob, Sight, Visibility};
use arcp_proto::runtime::{AuthId, DecisionId, LeaseDecision, Recovery, RuntimeEndpoint, Step, Verdict};

use crate::oracle::Oracle;
use crate::random::Random;
use agents::Agents;
use choices::Choices;
use client::Client;
use clock::Clock;
use journal::Journal;
use link::Link;
use plan::{Plan, RESTARTABLE, Troubles};
use provisioner::Provisioner;
use store::Store;

pub use choices::expand;
pub use count::{Counts, Fault};
pub(crate) use plan::{BEARER, PRINCIPALS};
pub use run::{Failure, dying, minimise, replay, run, seeded};

/// Steps after which a run counts as stuck.
const MOST_STEPS: u64 = 60_000;

/// What a viewer sees of others' jobs: two bits for each principal, 0 nothing, 1 the list, 2 everything.
struct Flipping(Arc<AtomicU32>);

impl ObservePolicy for Flipping {
    fn job(&self, viewer: &str, _: &ObservedJob<'_>) -> Sight {
        let bits = self.0.load(std::sync::atomic::Ordering::Relaxed);
        let Some(index) = PRINCIPALS.iter().position(|principal| *principal == viewer) else {
            return Sight::Nothing;
        };
        match bits >> (2 * index) & 3 {
            0 => Sight::Nothing,
            1 => Sight::List,
            _ => Sight::Follow,
        }
    }
}

/// One runtime, its clients, and everything between them.
struct World<'a> {
    choices: Choices<'a>,
    seed: u64,
    /// The true time in µs.
    at: u64,
    troubles: Troubles,
    counts: Counts,
    oracle: Oracle,
    journal: Journal,
    /// `None` while its process is dead.
    runtime: Option<Box<RuntimeEndpoint>>,
    config: RuntimeConfig,
    clock: Clock,
    starts: u64,
    restart_at: Option<u64>,
    store: Store,
    agents: Agents,
    provisioner: Provisioner,
    sights: Arc<AtomicU32>,
    /// Answers of those who decide outside, and when they come.
    verdicts: Vec<(u64, AuthId, Verdict)>,
    decisions: Vec<(u64, DecisionId, LeaseDecision)>,
    clients: Vec<Client>,
    links: Vec<Link>,
    /// Links on which something can still happen.
    live: Vec<usize>,
    latency: u64,
    room: usize,
    /// What is written at once arrives at once.
    is_bursty: bool,
    most_jobs: usize,
    submitted: usize,
    is_calm: bool,
    halted: bool,
}

impl<'a> World<'a> {
    fn new(bytes: &'a [u8], seed: u64, journal: Journal) -> Self {
        let mut choices = Choices::new(bytes);
        let Plan {
            troubles,
            mut config,
            clock,
            clients,
            latency,
            room,
            pace,
            most_events,
            store_delay,
            most_jobs,
            burst,
        } = Plan::draw(&mut choices);
        let sights = Arc::new(AtomicU32::new(0));
        config.visibility = Visibility::new(Flipping(Arc::clone(&sights)));
        let now = clock.now(0);
        let principals: Vec<_> = clients.iter().map(|client| client.principal).collect();
        let oracle = Oracle::new(&config, &RESTARTABLE, &principals);
        let runtime = RuntimeEndpoint::new(config.clone(), Box::new(Random::new(seed ^ 0x5eed)), now);
        let agents = Agents::new(pace, (most_events, burst), troubles.agents);
        let provisioner = Provisioner::new(troubles.provisioner);
        let clients: Vec<Client> =
            clients.into_iter().enumerate().map(|(index, plan)| Client::new(index, plan)).collect();
        Self {
            choices,
            seed,
            at: 0,
            troubles,
            counts: Counts::default(),
            oracle,
            journal,
            runtime: Some(Box::new(runtime)),
            config,
            clock,
            starts: 1,
            restart_at: None,
            store: Store::with_delay(store_delay),
            agents,
            provisioner,
            sights,
            verdicts: Vec::new(),
            decisions: Vec::new(),
            clients,
            links: Vec::new(),
            live: Vec::new(),
            latency,
            room,
            is_bursty: burst > 1,
            most_jobs,
            submitted: 0,
            is_calm: false,
            halted: false,
        }
    }

    /// The runtime's process dies; of what its store has not carried out, so much still takes effect.
    fn crash_runtime(&mut self, kept: usize, again_at: u64) {
        if self.runtime.take().is_none() {
            return;
        }
        self.journal.note(self.at, || "the runtime's process dies".to_owned());
        self.counts.note(Fault::RuntimeCrash);
        let Self { at, store, provisioner, choices, counts, oracle, .. } = self;
        store.crash(kept, counts, oracle);
        provisioner.crash(*at, choices, counts, oracle);
        self.agents.crash();
        self.verdicts.clear();
        self.decisions.clear();
        self.halted = false;
        for index in self.live.clone() {
            let link = &mut self.links[index];
            link.connection = None;
            link.runtime_notices = None;
            link.up.queue.clear();
            if link.client_end && link.client_notices.is_none() {
                link.client_notices = Some(again_at);
            }
        }
        self.oracle.crashed();
        self.restart_at = Some(again_at);
    }

    /// Another process takes the place of the dead one.
    fn recover_runtime(&mut self) {
        self.restart_at = None;
        self.starts += 1;
        self.clock.restart(self.starts * 1_000_000);
        let now = self.clock.now(self.at);
        let entropy = Box::new(Random::new(self.seed ^ 0x5eed ^ self.starts << 40));
        let mut recovery = Recovery::new(self.config.clone(), entropy, now);
        self.journal.note(self.at, || "another process recovers".to_owned());
        self.oracle.recovered(now);
        let runtime = loop {
            match recovery.step() {
                Step::NeedsStore { id, command } => {
                    let done = self.store.tables.execute(command);
                    recovery.handle_store(id, done).expect("a store that can be read");
                }
                Step::Ready(runtime) => break runtime,
            }
        };
        self.runtime = Some(runtime);
    }
}
