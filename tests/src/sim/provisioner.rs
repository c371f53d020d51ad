//! Who makes credentials, and the upstream behind it: late, silent, half done, wrong, and down for a while.
//!
//! The upstream outlives the runtime. What a process that dies has asked of it takes effect before the next one begins, or
//! never does.

use arcp_proto::id::CredentialKey;
use arcp_proto::runtime::{
    IssueId, IssueRequest, Issued, IssuedCredential, Revocation, RevocationId, Revoked,
};
use arcp_proto::secret::Secret;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::credential::CredentialConstraints;
use std::time::Duration;

use super::choices::Choices;
use super::clock::Clock;
use super::count::{Counts, Fault};
use crate::oracle::Oracle;

/// More than the runtime waits for an answer, in µs.
const TOO_LONG: u64 = 11_000_000;
const ENDPOINT: &str = "https://gateway.example/v1";
/// The models that leases of these worlds permit, if any.
pub(super) const MODELS: &str = "tier-fast/*";

#[derive(Default)]
pub(super) struct Provisioner {
    calls: Vec<Call>,
    /// Nothing works before.
    down_until: u64,
    /// Whether it misbehaves.
    pub(super) misbehaves: bool,
    made: u64,
}

/// Something it was asked.
struct Call {
    /// When it reaches the upstream, if it does and has not so far.
    effect_at: Option<u64>,
    /// When it is answered; `None` while nobody says anything.
    answer_at: Option<u64>,
    what: Asked,
}

enum Asked {
    Issue { id: IssueId, request: Box<IssueRequest>, end: IssueEnd, made: Option<Box<IssuedCredential>> },
    Revoke { id: RevocationId, key: CredentialKey, answer: Revoked },
}

/// What comes of asking for a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IssueEnd {
    NoneNeeded,
    Made,
    /// It is made, and not as it has to be.
    Wrong(u64),
    Failed,
}

/// An answer that has come.
pub(super) enum Answer {
    Issued(IssueId, CredentialKey, Issued),
    Revoked(RevocationId, CredentialKey, Revoked),
}

impl Provisioner {
    pub(super) fn new(misbehaves: bool) -> Self {
        Self { misbehaves, ..Self::default() }
    }

    pub(super) fn go_down(&mut self, until: u64) {
        self.down_until = until;
    }

    pub(super) fn issue(
        &mut self,
        at: u64,
        (id, request): (IssueId, Box<IssueRequest>),
        choices: &mut Choices<'_>,
        counts: &mut Counts,
    ) {
        let soon = at + choices.below(2_000);
        let (mut effect_at, mut answer_at) = (Some(soon), Some(soon));
        // Who may spend nothing needs nothing to spend it with.
        let mut end = if request.budget.is_empty() && !choices.one_in(4) {
            IssueEnd::NoneNeeded
        } else {
            IssueEnd::Made
        };
        if at < self.down_until {
            counts.note(Fault::ProvisionerDown);
            effect_at = None;
            end = IssueEnd::Failed;
            if choices.one_in(2) {
                answer_at = None;
            }
        } else if self.misbehaves {
            match choices.below(14) {
                1 => {
                    counts.note(Fault::LateIssue);
                    answer_at = Some(soon + TOO_LONG);
                    if choices.one_in(2) {
                        effect_at = answer_at;
                    }
                }
                2 => {
                    counts.note(Fault::IssueFails);
                    effect_at = None;
                    end = IssueEnd::Failed;
                }
                3 => {
                    counts.note(Fault::IssueHalf);
                    end = IssueEnd::Failed;
                }
                4 => {
                    counts.note(Fault::IssueSilent);
                    answer_at = None;
                    if choices.one_in(2) {
                        effect_at = None;
                        end = IssueEnd::Failed;
                    }
                }
                5 | 6 => end = IssueEnd::Wrong(choices.below(8)),
                _ => {}
            }
        }
        if end == IssueEnd::NoneNeeded {
            effect_at = None;
        }
        self.calls.push(Call { effect_at, answer_at, what: Asked::Issue { id, request, end, made: None } });
    }

    pub(super) fn revoke(
        &mut self,
        at: u64,
        (id, revocation): (RevocationId, &Revocation),
        choices: &mut Choices<'_>,
        counts: &mut Counts,
    ) {
        let soon = at + choices.below(2_000);
        let (mut effect_at, mut answer_at) = (Some(soon), Some(soon));
        let mut answer = Revoked::Done;
        if at < self.down_until {
            counts.note(Fault::ProvisionerDown);
            effect_at = None;
            answer = Revoked::Retry;
            if choices.one_in(2) {
                answer_at = None;
            }
        } else if self.misbehaves {
            match choices.below(12) {
                1 => {
                    counts.note(Fault::LateRevocation);
                    answer_at = Some(soon + TOO_LONG);
                }
                2 => {
                    counts.note(Fault::RevocationFails);
                    effect_at = None;
                    answer = Revoked::Retry;
                }
                3 => {
                    counts.note(Fault::RevocationHalf);
                    answer = Revoked::Retry;
                }
                4 => {
                    counts.note(Fault::RevocationSilent);
                    answer_at = None;
                    if choices.one_in(2) {
                        effect_at = None;
                        answer = Revoked::Retry;
                    }
                }
                5 if choices.one_in(3) => {
                    effect_at = None;
                    answer = Revoked::GiveUp;
                }
                _ => {}
            }
        }
        let what = Asked::Revoke { id, key: revocation.credential, answer };
        self.calls.push(Call { effect_at, answer_at, what });
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.calls.iter().filter_map(Call::next).min()
    }

    /// Lets one thing happen that is due; the answer, if that was it.
    pub(super) fn step(&mut self, at: u64, counts: &mut Counts, oracle: &mut Oracle) -> Option<Answer> {
        let (index, call) =
            self.calls.iter_mut().enumerate().min_by_key(|(_, call)| call.next().unwrap_or(u64::MAX))?;
        if call.effect_at.is_some_and(|effect| effect <= at) {
            call.take_effect(at, &mut self.made, counts, oracle);
        }
        call.answer_at.filter(|answer| *answer <= at)?;
        let Call { what, .. } = self.calls.swap_remove(index);
        Some(match what {
            Asked::Issue { id, request, end, made } => {
                let issued = match (end, made) {
                    (IssueEnd::NoneNeeded, _) => Issued::Nothing,
                    (IssueEnd::Made | IssueEnd::Wrong(_), Some(made)) => Issued::Credential(made),
                    _ => Issued::Failed,
                };
                Answer::Issued(id, request.credential, issued)
            }
            Asked::Revoke { id, key, answer } => {
                if answer == Revoked::GiveUp {
                    counts.note(Fault::GivenUp);
                }
                Answer::Revoked(id, key, answer)
            }
        })
    }

    /// The process that asks dies: some of what is on its way still gets there, and nobody hears of it.
    pub(super) fn crash(
        &mut self,
        at: u64,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
    ) {
        for mut call in std::mem::take(&mut self.calls) {
            if call.effect_at.is_some() && choices.one_in(2) {
                call.take_effect(at, &mut self.made, counts, oracle);
            }
            match &call.what {
                Asked::Issue { made: Some(_), .. } => counts.note(Fault::IssueUnheard),
                Asked::Issue { .. } => {}
                Asked::Revoke { .. } => counts.note(Fault::RevocationUnheard),
            }
        }
    }

    /// From here on it works, and everything that waits for an answer gets one.
    pub(super) fn heal(&mut self, at: u64) {
        self.misbehaves = false;
        self.down_until = 0;
        for call in &mut self.calls {
            call.effect_at = call.effect_at.map(|effect| effect.min(at));
            call.answer_at = Some(call.answer_at.unwrap_or(at).min(at).max(call.effect_at.unwrap_or(0)));
        }
    }
}

impl Call {
    fn next(&self) -> Option<u64> {
        match (self.effect_at, self.answer_at) {
            (Some(effect), Some(answer)) => Some(effect.min(answer)),
            (effect, answer) => effect.or(answer),
        }
    }

    fn take_effect(&mut self, at: u64, made: &mut u64, counts: &mut Counts, oracle: &mut Oracle) {
        self.effect_at = None;
        match &mut self.what {
            Asked::Issue { request, end, made: slot, .. } => {
                *made += 1;
                let mut issued = credential(*made, request, Clock::new(0, 0, 0).now(at).unix);
                if let IssueEnd::Wrong(how) = *end {
                    counts.note(Fault::WrongCredential);
                    spoil(&mut issued, how, request, oracle);
                }
                oracle.upstream_issued(request.credential, &issued);
                *slot = Some(Box::new(issued));
            }
            Asked::Revoke { key, answer, .. } => {
                if *answer != Revoked::GiveUp {
                    oracle.upstream_revoked(*key);
                }
            }
        }
    }
}

/// One that is as it has to be. No other text of a world has a `~key-` in it.
fn credential(number: u64, request: &IssueRequest, time: UnixTime) -> IssuedCredential {
    let mut issued = IssuedCredential::bearer(format!("~key-{number}"), ENDPOINT);
    issued.constraints.cost_budget =
        request.budget.iter().map(|(currency, left)| format!("{currency}:{left}")).collect();
    if request.lease.to_json().as_str().contains(MODELS) {
        issued.constraints.model_use = Some(vec![MODELS.to_owned()]);
    }
    issued.constraints.expires_at = request.lease.expires_at();
    if number.is_multiple_of(4) {
        // The upstream's own end, by its own clock.
        issued.expires = Some(time.after(Duration::from_secs(1 + number % 5 * 30)));
    }
    issued
}

/// Makes a credential something that must not be used.
fn spoil(issued: &mut IssuedCredential, how: u64, request: &IssueRequest, oracle: &Oracle) {
    let CredentialConstraints { cost_budget, model_use, expires_at } = &mut issued.constraints;
    match how {
        0 => issued.value = Secret::new(format!("{} ", issued.value.expose())),
        1 => issued.endpoint = "http://gateway.example/v1".to_owned(),
        2 => issued.profile = Some("two\nlines".to_owned()),
        3 => *model_use = Some(vec!["tier-slow/*".to_owned()]),
        4 if !request.budget.is_empty() => {
            *cost_budget = request.budget.iter().map(|(currency, _)| format!("{currency}:1000000")).collect();
        }
        5 if request.lease.expires_at().is_some() => {
            *expires_at = Some(UnixTime::from_millis(4_000_000_000_000));
        }
        6 => issued.value = Secret::new(oracle.held_value().unwrap_or("two words")),
        _ => issued.value = Secret::new(""),
    }
}
