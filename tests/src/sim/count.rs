//! What was done to a world, counted.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// In words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// A link breaks.
    Cut = "links cut";
    /// A link breaks inside a frame.
    CutInside = "cuts inside a frame";
    /// A frame was written and never arrives.
    Lost = "frames lost in flight";
    /// What a client wrote before the break arrives after it noticed.
    Late = "frames that arrive after the break";
    /// The runtime does not notice a break.
    HalfOpen = "links left half open";
    /// A link delivers nothing for a while.
    Stall = "links stalled";
    /// A transport cannot be opened.
    NoDial = "transports that did not open";
    /// A frame arrives in pieces.
    Pieces = "frames in pieces";
    /// A wall clock is set.
    Jump = "clock jumps";
    /// A client's process dies.
    ClientCrash = "clients crashed";
    /// A client's machine sleeps.
    Asleep = "clients asleep";
    /// An application takes nothing for a while.
    Idle = "applications that took nothing";
    /// The runtime's process dies.
    RuntimeCrash = "runtimes crashed";
    /// An append that was given to the store is not there after a crash.
    LostAppend = "appends lost in a crash";
    /// A job is run again in the next process.
    RunAgain = "jobs run again";
    /// The store is slow.
    SlowStore = "slow store commands";
    /// The store answers out of order.
    Reordered = "store answers out of order";
    /// The store has no room.
    Full = "appends without room";
    /// The store cannot read.
    ReadFails = "failed reads";
    /// The store fails.
    StoreFails = "failed appends";
    /// An agent fails.
    AgentFails = "agents failed";
    /// An agent does nothing any more.
    AgentHangs = "agents hung";
    /// An agent goes on when told to stop.
    AgentIgnores = "stops ignored";
    /// Credentials are judged too late.
    LateVerdict = "late verdicts";
    /// Good credentials are refused.
    Refused = "refused verdicts";
    /// A lease is decided on too late.
    LateDecision = "late decisions";
    /// A lease is granted in part.
    Narrowed = "narrowed leases";
    /// A lease is refused.
    Denied = "denied leases";
    /// Who sees what changes.
    PolicyFlip = "policy flips";
    /// The provisioner is down for a while.
    Outage = "outages of the provisioner";
    /// Something is asked of a provisioner that is down.
    ProvisionerDown = "questions to one that is down";
    /// A credential is issued too late.
    LateIssue = "credentials issued too late";
    /// A credential is not issued.
    IssueFails = "credentials not issued";
    /// A credential is issued and said not to be.
    IssueHalf = "credentials issued in spite of a no";
    /// Nobody says whether a credential was issued.
    IssueSilent = "issues without an answer";
    /// A credential is issued that must not be used.
    WrongCredential = "wrong credentials";
    /// A credential was issued for a process that died before it heard of it.
    IssueUnheard = "credentials issued for the dead";
    /// A revocation is answered too late.
    LateRevocation = "late revocations";
    /// A revocation fails.
    RevocationFails = "failed revocations";
    /// A credential is revoked and said not to be.
    RevocationHalf = "revocations in spite of a no";
    /// Nobody says whether a credential was revoked.
    RevocationSilent = "revocations without an answer";
    /// A process dies while a credential is being revoked.
    RevocationUnheard = "revocations cut off by a crash";
    /// A credential can never be revoked.
    GivenUp = "credentials given up";
    /// An operation that the lease does not permit is tried.
    Forbidden = "operations tried in vain";
    /// Somebody connects who plays by no rules.
    Intruder = "intruders";
    /// A frame is dropped inside a connection.
    Dropped = "frames dropped";
    /// A frame comes twice.
    Doubled = "frames doubled";
    /// A frame overtakes another.
    Overtaken = "frames overtaken";
    /// A byte of a frame is another.
    Mutated = "frames mutated";
    /// A frame ends early.
    Truncated = "frames truncated";
    /// A frame of the list of hostile ones comes in between.
    Hostile = "hostile frames";
}

/// How often each fault happened, and how much happened besides.
#[derive(Debug, Clone)]
pub struct Counts {
    faults: [u64; Fault::ALL.len()],
    /// Numbered frames that the runtime handed to a transport.
    pub events: u64,
    /// Frames of any kind, both ways.
    pub frames: u64,
    /// Sessions of the protocol that were opened.
    pub opened: u64,
    /// Sessions that were continued.
    pub resumed: u64,
    /// Jobs that were accepted.
    pub jobs: u64,
    /// Credentials that were issued, and used.
    pub credentials: u64,
    /// Of these, those that replaced another one.
    pub rotations: u64,
    /// Frames with the value of a credential.
    pub values: u64,
    /// Steps of a world.
    pub steps: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let faults = [0; Fault::ALL.len()];
        Self {
            faults,
            events: 0,
            frames: 0,
            opened: 0,
            resumed: 0,
            jobs: 0,
            credentials: 0,
            rotations: 0,
            values: 0,
            steps: 0,
        }
    }
}

impl Counts {
    /// Once more.
    pub(super) const fn note(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// As often more.
    pub(super) fn notes(&mut self, fault: Fault, times: usize) {
        self.faults[fault as usize] += times as u64;
    }

    /// How often this happened.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How often any fault happened.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Kinds that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        Fault::ALL.iter().filter(|fault| self.of(**fault) == 0).map(|fault| fault.words()).collect()
    }

    /// Adds what happened in another world.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
        self.events += other.events;
        self.frames += other.frames;
        self.opened += other.opened;
        self.resumed += other.resumed;
        self.jobs += other.jobs;
        self.credentials += other.credentials;
        self.rotations += other.rotations;
        self.values += other.values;
        self.steps += other.steps;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in Fault::ALL.iter().enumerate() {
            let end = if index % 3 == 2 || index + 1 == Fault::ALL.len() { "\n" } else { "" };
            write!(f, "  {:>12} {:<36}{end}", self.of(*fault), fault.words())?;
        }
        Ok(())
    }
}
