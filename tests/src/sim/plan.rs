//! What a seed decides before anything happens: who takes part, what may go wrong, and how small the limits are.

use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::config::{ClientConfig, RuntimeConfig};
use arcp_proto::feature::{Feature, Features};
use arcp_proto::wire::peer::TransportKind;

use super::choices::Choices;
use super::clock::Clock;

/// The principals; a bearer token is the name with a suffix.
pub(crate) const PRINCIPALS: [&str; 3] = ["alice", "bob", "alice-shared"];
/// What follows a principal's name in its bearer token.
pub(crate) const BEARER: &str = "-bearer-5f3c";
/// The agents that can be submitted to.
pub(crate) const AGENTS: [&str; 4] = ["a", "b@1.0.0", "c@1.0.0", "c@2.0.0"];
/// Those whose jobs are run again after a crash.
pub(super) const RESTARTABLE: [&str; 2] = ["b@1.0.0", "c@2.0.0"];

/// Kinds of trouble that a run has or has not; what is always there is never tested without.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Troubles {
    pub(super) cuts: bool,
    pub(super) stalls: bool,
    pub(super) clocks: bool,
    pub(super) client_crashes: bool,
    pub(super) runtime_crashes: bool,
    pub(super) store_delays: bool,
    pub(super) store_faults: bool,
    pub(super) agents: bool,
    pub(super) decisions: bool,
    pub(super) policy: bool,
    pub(super) idle: bool,
    pub(super) intruders: bool,
    pub(super) provisioner: bool,
    /// Frames are changed inside connections; then nothing is promised but safety.
    pub(super) adversary: bool,
}

pub(super) struct ClientPlan {
    pub(super) principal: usize,
    pub(super) config: ClientConfig,
    pub(super) transport: TransportKind,
    pub(super) clock: Clock,
}

pub(super) struct Plan {
    pub(super) troubles: Troubles,
    pub(super) config: RuntimeConfig,
    pub(super) clock: Clock,
    pub(super) clients: Vec<ClientPlan>,
    /// Largest latency of a link, in µs.
    pub(super) latency: u64,
    /// Frames a link takes before its writer has to wait.
    pub(super) room: usize,
    /// Longest time between two steps of an agent, in µs.
    pub(super) pace: u64,
    /// Most events of one job.
    pub(super) most_events: u64,
    /// Longest delay of the store, in µs.
    pub(super) store_delay: u64,
    /// Jobs a run has at most.
    pub(super) most_jobs: usize,
    /// Events that an agent says at once, at most.
    pub(super) burst: u64,
}

impl Plan {
    pub(super) fn draw(choices: &mut Choices<'_>) -> Self {
        let mut on = |one_in: u64| choices.below(one_in) == 1;
        let mut troubles = Troubles {
            cuts: !on(5),
            stalls: on(3),
            clocks: on(3),
            client_crashes: on(3),
            runtime_crashes: on(3),
            store_delays: on(2),
            store_faults: on(4),
            agents: on(2),
            decisions: on(4),
            policy: on(4),
            idle: on(3),
            intruders: on(3),
            provisioner: false,
            adversary: on(8),
        };
        let mut config = config(choices, &troubles);
        let clock = clock(choices, troubles.clocks);
        let count = 1 + choices.index(3);
        let clients = (0..count).map(|index| client(choices, index, troubles.clocks)).collect();
        let latency = choices.of(&[2_000, 200, 40_000]);
        let room = choices.of(&[32, 4, 64]);
        let pace = choices.of(&[3_000, 200, 50_000]);
        let most_events = choices.of(&[16, 6, 40]);
        let store_delay = if troubles.store_delays { choices.of(&[5_000, 500, 60_000]) } else { 0 };
        let most_jobs = 4 + choices.index(8);
        let burst = choices.of(&[1, 1, 8, 32]);
        config.provisions = choices.one_in(2);
        config.durable = config.provisions;
        troubles.provisioner = choices.one_in(2) && config.provisions;
        Self {
            troubles,
            config,
            clock,
            clients,
            latency,
            room,
            pace,
            most_events,
            store_delay,
            most_jobs,
            burst,
        }
    }
}

fn config(choices: &mut Choices<'_>, troubles: &Troubles) -> RuntimeConfig {
    let seconds = Duration::from_secs;
    let mut config = RuntimeConfig::default();
    for agent in AGENTS {
        config.agents.add(&AgentRef::parse(agent).expect("an agent"));
    }
    for agent in RESTARTABLE {
        let agent = AgentRef::parse(agent).expect("an agent");
        config.agents.set_restartable(&agent).expect("an agent that is there");
    }
    config.heartbeat_interval = seconds(choices.of(&[30, 1, 5]));
    config.resume_window = seconds(choices.of(&[600, 3, 60]));
    config.cancel_grace = Duration::from_millis(choices.of(&[30_000, 20, 500]));
    config.retention = seconds(choices.of(&[86_400, 3_600]));
    config.decides_leases = troubles.decisions;
    config.fatal_budget = choices.one_in(4);
    let limits = &mut config.limits;
    limits.window_events = choices.of(&[4_096, 16, 64]);
    // Both are counted in pages and blocks of 256, which no limit may be smaller than.
    limits.replay_events = choices.of(&[65_536, 700]);
    // What may wait to be sent is far less than what is kept, or nobody who takes long could ever catch up.
    limits.window_events = limits.window_events.min(usize::try_from(limits.replay_events / 4).unwrap_or(0));
    limits.lag = choices.of(&[1_000, 6, 20]);
    limits.log_events = choices.of(&[65_536, 300]);
    limits.running_jobs = choices.of(&[50, 1, 2]);
    limits.jobs = choices.of(&[1_000, 6]);
    limits.pending_bytes = choices.of(&[16 << 20, 2_000]);
    limits.write_stall = seconds(choices.of(&[60, 2]));
    limits.control_queue = choices.of(&[256, 16]);
    config
}

fn clock(choices: &mut Choices<'_>, wrong: bool) -> Clock {
    if !wrong {
        return Clock::new(1_000_000, 0, 0);
    }
    let skew = choices.of(&[0, -5_000, 5_000, 86_400_000, -3_600_000]);
    let ppm = choices.of(&[0, 200, -200, 20_000, -20_000]);
    Clock::new(1_000_000 + choices.below(1 << 40), skew, ppm)
}

fn client(choices: &mut Choices<'_>, index: usize, wrong_clock: bool) -> ClientPlan {
    // The first is alice; others are often alice again, since sessions of one principal share jobs and keys.
    let principal = if index == 0 { 0 } else { choices.of(&[0, 1, 0, 2]) };
    let mut config = ClientConfig::new(format!("{}{BEARER}", PRINCIPALS[principal]));
    config.features = match choices.below(6) {
        1 => Features::SUPPORTED.without(Feature::Progress),
        2 => Features::SUPPORTED.without(Feature::ResultChunk).without(Feature::ProvisionedCredentials),
        3 => Features::SUPPORTED.without(Feature::Ack).without(Feature::Heartbeat),
        4 => Features::NONE.with(Feature::Core).with(Feature::Subscribe).with(Feature::ListJobs),
        _ => Features::SUPPORTED,
    };
    config.submit_timeout = Duration::from_millis(choices.of(&[30_000, 3_000]));
    config.backoff_max = Duration::from_millis(choices.of(&[30_000, 500]));
    config.ack_interval = Duration::from_millis(choices.of(&[250, 10]));
    config.untaken_events = choices.of(&[65_536, 5]);
    let transport = choices.of(&[TransportKind::Memory, TransportKind::Lines, TransportKind::WebSocket]);
    ClientPlan { principal, config, transport, clock: clock(choices, wrong_clock) }
}
