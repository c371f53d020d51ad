//! What waits for a commit.

use alloc::boxed::Box;

use crate::id::CredentialKey;
use crate::runtime::agent::JobNews;
use crate::runtime::ledger::Held;
use crate::runtime::log::Position;
use crate::runtime::provisioner::IssueRequest;
use crate::runtime::store::{Command, Trim};
use crate::runtime::{IssueId, JobHandle, RuntimeEndpoint, SessionHandle, greeting, reply};

/// What waits for a commit.
#[derive(Debug)]
pub(super) enum Effect {
    /// The session is stored: greet.
    Welcome(Box<greeting::Welcoming>),
    /// A reply may leave.
    Reply(Box<reply::Pending>),
    /// A child's acceptance is stored: the session that owns it, or owned it when it was accepted, may hear of it.
    ChildAccepted(JobHandle, SessionHandle),
    /// What an agent is to be told is stored.
    Tell(JobHandle, Box<JobNews>),
    /// The acceptance is stored: run the agent.
    Start(JobHandle),
    /// That a credential is to be asked for is stored.
    Issue(IssueId, Box<IssueRequest>),
    /// That a credential must go is stored.
    Revoke(CredentialKey),
    /// That a job has another credential is stored.
    Rotated(JobHandle, Box<Held>),
    /// A follow is stored: begin to read history.
    Read(SessionHandle),
    /// A terminal is stored.
    Ended(JobHandle),
    /// What was recorded last of something is stored, so that no row of it comes back behind this.
    Forget(Trim),
}

impl RuntimeEndpoint {
    pub(super) fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Welcome(welcoming) => self.welcome(*welcoming),
            Effect::Reply(pending) => self.deliver_reply(*pending),
            Effect::ChildAccepted(job, session) => self.child_accepted(job, session),
            Effect::Tell(job, news) => self.tell(job, *news),
            Effect::Start(job) => self.start(job),
            Effect::Issue(id, request) => self.issue(id, request),
            Effect::Revoke(credential) => self.begin_revocation(credential),
            Effect::Rotated(job, held) => self.show_rotated(job, *held),
            Effect::Read(session) => self.read_on(session),
            Effect::Ended(job) => self.job_ended(job),
            Effect::Forget(trim) => {
                self.command(Command::Trim(trim));
            }
        }
    }

    /// Lets an effect wait for a position, or carries it out if there is nothing to wait for.
    pub(super) fn run_after(&mut self, position: Position, effect: Effect) {
        if let Some(effect) = self.log.after(position, effect) {
            self.run(effect);
        }
    }

    /// Has the store forget something once it has everything that was recorded so far.
    pub(super) fn forget(&mut self, trim: Trim) {
        self.run_after_all(Effect::Forget(trim));
    }

    /// Lets `effect` wait for everything appended so far.
    pub(super) fn run_after_all(&mut self, effect: Effect) {
        self.run_after(self.log.position(), effect);
    }
}
