//! Provisioned credentials: issued before acceptance, shown to those who may have them, gone with their job (protocol §5.9).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, hello, types};
use crate::config::RuntimeConfig;
use crate::error::ApiMisuse;
use crate::feature::{Feature, Features};
use crate::id::CredentialKey;
use crate::runtime::store::{Command, Record};
use crate::runtime::{
    ConnectionId, CredentialState, IssueId, IssueRequest, Issued, IssuedCredential, JobHandle, JobNews,
    JobState, Revoked, RuntimeEvent,
};
use crate::secret::Secret;
use crate::wire::credential::CredentialConstraints;
use crate::wire::peer::TransportKind;

mod delegation;
mod delivery;
mod random;
mod restart;
mod revocation;
mod rotation;

pub(super) const SECOND: Duration = Duration::from_secs(1);
const QUIET: Features = ALL.without(Feature::Heartbeat);

fn provisioning() -> RuntimeConfig {
    let mut config = config();
    config.provisions = true;
    config.durable = true;
    config
}

fn world() -> (World, ConnectionId, Value) {
    let mut world = World::with(provisioning());
    let (a, welcome) = private(&mut world, "good", QUIET);
    (world, a, welcome)
}

/// A session over a connection that nobody can listen to.
fn private(world: &mut World, token: &str, features: Features) -> (ConnectionId, Value) {
    let connection = world.open_over(TransportKind::Memory);
    world.send(connection, "m-hello", "session.hello", hello(token, features));
    let welcome = world.one(connection);
    assert_eq!(welcome["type"], "session.welcome", "{welcome}");
    (connection, welcome)
}

fn resume_privately(world: &mut World, welcome: &Value, last: u64) -> (ConnectionId, Vec<Value>) {
    let connection = world.open_over(TransportKind::Memory);
    let mut payload = hello("good", QUIET);
    payload["resume"] = json!({"resume_token": welcome["payload"]["resume_token"], "last_event_seq": last});
    world.send(connection, "m-resume", "session.hello", payload);
    let frames = world.take(connection);
    (connection, frames)
}

fn lease() -> Value {
    json!({"agent": "a", "idempotency_key": "k",
        "lease_request": {"cost.budget": ["USD:2.00"], "model.use": ["tier-fast/*"], "agent.delegate": ["a"]}})
}

fn credential(value: &str) -> IssuedCredential {
    IssuedCredential {
        value: Secret::new(value),
        endpoint: "https://gw.example/v1".into(),
        profile: Some("openai".into()),
        constraints: CredentialConstraints {
            cost_budget: Vec::from(["USD:2.00".to_string()]),
            model_use: Some(Vec::from(["tier-fast/*".to_string()])),
            expires_at: None,
        },
        expires: None,
    }
}

impl World {
    fn only_issue(&mut self) -> (IssueId, IssueRequest) {
        assert_eq!(self.issues.len(), 1, "{:?}", self.issues);
        self.issues.remove(0)
    }

    fn answer(&mut self, id: IssueId, issued: Issued) -> Option<ApiMisuse> {
        let misuse = self.runtime.handle_credentials(self.now, id, issued).err();
        self.settle();
        misuse
    }

    fn make(&mut self, id: IssueId, value: &str) {
        assert_eq!(self.answer(id, Issued::Credential(credential(value).into())), None);
    }

    /// Submits a job with a credential of this value.
    fn provisioned(&mut self, connection: ConnectionId, id: &str, value: &str) -> (JobHandle, String) {
        let mut submit = lease();
        submit["idempotency_key"] = json!(id);
        self.send(connection, id, "job.submit", submit);
        let (issue, _) = self.only_issue();
        self.make(issue, value);
        let accepted = self.one(connection);
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
        (self.started.last().unwrap().job, accepted["job_id"].as_str().unwrap().to_string())
    }

    /// Answers everything that is to be revoked, and says what it was.
    fn revoke_all(&mut self, revoked: Revoked) -> Vec<CredentialKey> {
        let asked = core::mem::take(&mut self.revocations);
        for (id, _) in &asked {
            self.runtime.handle_revoked(self.now, *id, revoked);
        }
        self.settle();
        asked.into_iter().map(|(_, revocation)| revocation.credential).collect()
    }

    fn state(&self, key: CredentialKey) -> Option<CredentialState> {
        self.store.credential(key).map(|record| record.state)
    }

    /// Every record of credentials the store was given, and what stood beside it.
    fn ledger(&self) -> Vec<(CredentialKey, CredentialState)> {
        let records = self.journal.iter().filter_map(|(_, command)| match command {
            Command::Append(records) => Some(records),
            _ => None,
        });
        records
            .flatten()
            .filter_map(|record| match record {
                Record::Credential(record) => Some((record.key, record.state)),
                _ => None,
            })
            .collect()
    }

    /// What nobody but those who may have it shall ever see.
    fn leaks(&self, value: &str) -> bool {
        format!("{:?} {:?} {:?} {:?}", self.journal, self.events, self.news, self.started).contains(value)
    }
}

fn values(frame: &Value) -> Vec<&str> {
    let credentials = frame["payload"]["credentials"].as_array();
    credentials.into_iter().flatten().filter_map(|credential| credential["value"].as_str()).collect()
}

#[test]
fn a_job_is_accepted_with_its_credential() {
    let (mut world, a, welcome) = world();
    assert!(welcome["payload"]["capabilities"]["features"].to_string().contains("provisioned_credentials"));
    world.instant_store = false;
    world.send(a, "m1", "job.submit", lease());
    assert!(world.issues.is_empty(), "CRD-2: the intent is stored first");
    world.store_all();
    let (id, request) = world.only_issue();
    assert_eq!(world.ledger(), [(request.credential, CredentialState::Intent)]);
    assert_eq!((&*request.principal, request.agent.as_str()), ("demo", "a"));
    assert_eq!(request.budget[0].1.to_string(), "2");
    assert_eq!(request.lease.to_json().decode::<Value>().unwrap(), lease()["lease_request"]);
    assert!(world.take(a).is_empty() && world.stored_jobs() == 0);
    world.make(id, "s3cr3t-one");
    assert!(world.take(a).is_empty() && world.started.is_empty(), "the acceptance is stored first");
    world.store_all();
    let Some((_, Command::Append(records))) = world.journal.last() else { panic!("an append") };
    assert!(
        matches!(&records[..], [Record::Credential(credential), Record::Job(job), ..]
            if credential.state == CredentialState::Issued && credential.job == job.key && job.key == request.job),
        "CRD-3: both in one commit"
    );
    let accepted = world.one(a);
    assert_eq!(accepted["job_id"], request.job.to_string());
    assert_eq!(
        accepted["payload"]["credentials"],
        json!([{"id": request.credential.to_string(), "scheme": "bearer", "value": "s3cr3t-one",
            "endpoint": "https://gw.example/v1", "profile": "openai",
            "constraints": {"cost.budget": ["USD:2.00"], "model.use": ["tier-fast/*"]}}])
    );
    let started = &world.started[0];
    assert!(started.credentials[0].value.matches("s3cr3t-one"), "the agent has it at its start");
    assert!(!world.leaks("s3cr3t-one"), "SES-5");
    assert!(!world.events.iter().any(|event| matches!(event, RuntimeEvent::CredentialFailed { .. })));
}

#[test]
fn a_job_that_needs_none_gets_none() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, request) = world.only_issue();
    world.answer(id, Issued::Nothing);
    let accepted = world.one(a);
    assert!(accepted["type"] == "job.accepted" && accepted["payload"]["credentials"].is_null());
    assert!(world.started[0].credentials.is_empty());
    assert_eq!(world.state(request.credential), Some(CredentialState::Revoked));
    world.finish(world.started[0].job, "1");
    assert!(world.revocations.is_empty(), "there is nothing to revoke");
}

#[test]
fn what_cannot_be_issued_refuses_the_submit_and_is_revoked() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, request) = world.only_issue();
    world.answer(id, Issued::Failed);
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    assert!(world.stored_jobs() == 0 && world.started.is_empty());
    assert_eq!(world.state(request.credential), Some(CredentialState::RevokePending));
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential], "it may have been issued all the same");
    assert_eq!(world.state(request.credential), None, "nothing is kept of a job that never was");
    assert!(world.events.iter().any(|event| matches!(event, RuntimeEvent::CredentialFailed { .. })));
    // The refusal burns no key.
    world.provisioned(a, "k", "second");
}

#[test]
fn what_is_no_credential_counts_as_failed() {
    type Change = fn(&mut IssuedCredential);
    let wrong: [(&str, Change); 12] = [
        ("an empty value", |issued| issued.value = Secret::new("")),
        ("white space in a value", |issued| issued.value = Secret::new("a b")),
        ("a value that is too long", |issued| issued.value = Secret::new("v".repeat(8_193))),
        ("a plain endpoint", |issued| issued.endpoint = "http://gw.example/v1".into()),
        ("no URL", |issued| issued.endpoint = "gw.example".into()),
        ("an endpoint that is too long", |issued| issued.endpoint += &"x".repeat(2_048)),
        ("an endpoint with a password", |issued| issued.endpoint = "https://u:p@gw.example/".into()),
        ("an empty profile", |issued| issued.profile = Some(String::new())),
        ("more money", |issued| issued.constraints.cost_budget = Vec::from(["USD:2.01".into()])),
        ("no amount", |issued| issued.constraints.cost_budget = Vec::from(["much".into()])),
        ("more models", |issued| issued.constraints.model_use = Some(Vec::from(["**".into()]))),
        ("no list of models", |issued| issued.constraints.model_use = Some(Vec::from([String::new()]))),
    ];
    for (what, change) in wrong {
        let (mut world, a, _) = world();
        world.send(a, "m1", "job.submit", lease());
        let (id, request) = world.only_issue();
        let mut issued = credential("s3cr3t");
        change(&mut issued);
        let misuse = world.answer(id, Issued::Credential(issued.into()));
        assert!(
            matches!(&misuse, Some(ApiMisuse::OutOfRange(text)) if !text.contains("s3cr3t")),
            "{what}: {misuse:?}"
        );
        assert_eq!(code(&world.one(a)), "INTERNAL_ERROR", "{what}");
        assert_eq!(world.revoke_all(Revoked::Done), [request.credential], "{what}: CRD-3");
        assert!(world.stored_jobs() == 0);
    }
}

#[test]
fn a_later_end_than_the_lease_has_is_wider() {
    let (mut world, a, _) = world();
    let end = world.now.unix.after(60 * SECOND);
    let mut submit = lease();
    submit["lease_constraints"] = json!({"expires_at": end.to_string()});
    for (later, fits) in [(SECOND, false), (Duration::ZERO, true)] {
        world.send(a, &format!("m{fits}"), "job.submit", submit.clone());
        let (id, _) = world.only_issue();
        let mut issued = credential(&format!("value-{fits}"));
        issued.constraints.expires_at = Some(end.after(later));
        assert_eq!(world.answer(id, Issued::Credential(issued.into())).is_none(), fits);
        assert_eq!(world.one(a)["type"] == "job.accepted", fits);
    }
}

#[test]
fn an_endpoint_of_this_machine_needs_no_encryption() {
    let (mut world, a, _) = world();
    let longest = format!("https://a.b/{}", "x".repeat(2_048 - 12));
    for (n, endpoint) in
        ["http://127.0.0.1:9000/", "http://localhost/", "http://[::1]:1/x", &longest].into_iter().enumerate()
    {
        let mut submit = lease();
        submit["idempotency_key"] = json!(format!("k{n}"));
        world.send(a, &format!("m{n}"), "job.submit", submit);
        let (id, _) = world.only_issue();
        let issued = IssuedCredential { endpoint: endpoint.into(), ..credential(&format!("v{n}")) };
        assert_eq!(world.answer(id, Issued::Credential(issued.into())), None, "{endpoint}");
        assert_eq!(world.one(a)["payload"]["credentials"][0]["endpoint"], endpoint);
    }
}

#[test]
fn no_two_jobs_share_a_value() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.send(a, "m2", "job.submit", json!({"agent": "a"}));
    let (id, request) = world.only_issue();
    let misuse = world.answer(
        id,
        Issued::Credential(
            IssuedCredential { constraints: CredentialConstraints::default(), ..credential("s3cr3t") }.into(),
        ),
    );
    assert!(misuse.is_some(), "CRD-3");
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
    world.finish(job, "1");
    world.revoke_all(Revoked::Done);
    world.take(a);
    world.provisioned(a, "m3", "s3cr3t");
}

#[test]
fn what_takes_too_long_is_undone_when_it_comes() {
    for late in [Issued::Credential(credential("s3cr3t").into()), Issued::Failed, Issued::Nothing] {
        let (mut world, a, _) = world();
        world.send(a, "m1", "job.submit", lease());
        let (id, request) = world.only_issue();
        world.wait(10 * SECOND - Duration::from_millis(1));
        assert!(world.take(a).is_empty());
        world.wait(Duration::from_millis(1));
        assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
        assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
        assert_eq!(
            world.state(request.credential),
            Some(CredentialState::RevokePending),
            "it may still be issued, so that was not the last time"
        );
        let is_there = !matches!(late, Issued::Nothing);
        assert_eq!(world.answer(id, late), None);
        assert_eq!(world.revoke_all(Revoked::Done).len(), usize::from(is_there), "what came late is undone");
        assert_eq!(world.state(request.credential), None);
        let done = world.ledger().iter().filter(|(_, state)| *state == CredentialState::Revoked).count();
        assert_eq!(done, 1, "CRD-1: recorded once");
        assert!(world.take(a).is_empty() && world.stored_jobs() == 0 && !world.leaks("s3cr3t"));
        world.wait(2 * 3_600 * SECOND);
        assert!(world.revocations.is_empty());
    }
}

#[test]
fn what_comes_late_is_revoked_where_it_is_good_and_soon() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, _) = world.only_issue();
    world.wait(10 * SECOND);
    for _ in 0..6 {
        assert_eq!(world.revocations[0].1.endpoint, None, "nobody knows yet where");
        assert_eq!(world.revoke_all(Revoked::Retry).len(), 1);
        while world.revocations.is_empty() {
            world.wait(SECOND);
        }
    }
    world.revoke_all(Revoked::Retry);
    assert_eq!(world.answer(id, Issued::Credential(credential("s3cr3t").into())), None);
    assert_eq!(world.revocations[0].1.endpoint.as_deref(), Some("https://gw.example/v1"));
    world.revoke_all(Revoked::Retry);
    world.wait(SECOND);
    assert_eq!(world.revocations.len(), 1, "it is live now: the waits begin anew");
}

#[test]
fn the_store_is_part_of_the_time() {
    let (mut world, a, _) = world();
    world.instant_store = false;
    world.send(a, "m1", "job.submit", lease());
    world.wait(10 * SECOND);
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    world.store_all();
    assert!(world.issues.is_empty(), "nobody waits for it any more");
    let revoked = world.revoke_all(Revoked::Done);
    world.store_all();
    assert_eq!((revoked.len(), world.store.credential(revoked[0])), (1, None));
}

#[test]
fn the_same_key_waits_for_the_credential() {
    let (mut world, a, _) = world();
    let (b, _) = private(&mut world, "good", QUIET);
    world.send(a, "m1", "job.submit", lease());
    world.send(b, "m2", "job.submit", lease());
    world.send(a, "m1", "job.submit", lease());
    let (id, _) = world.only_issue();
    world.make(id, "s3cr3t");
    let (first, second) = (world.take(a), world.one(b));
    assert_eq!(types(&first), ["job.accepted", "job.accepted"], "D-49");
    assert_eq!(first[0]["job_id"], second["job_id"], "IDEM-2");
    assert_eq!(values(&second), ["s3cr3t"], "D-19");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_session_that_dies_meanwhile_leaves_nothing_behind() {
    let mut brief = provisioning();
    brief.resume_window = SECOND;
    let mut world = World::with(brief);
    let (a, _) = private(&mut world, "good", QUIET);
    world.send(a, "m1", "job.submit", lease());
    world.cut(a);
    world.wait(2 * SECOND);
    let (id, request) = world.only_issue();
    world.make(id, "s3cr3t");
    assert!(world.stored_jobs() == 0);
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential], "CRD-3");
    assert_eq!(world.state(request.credential), None);
}

#[test]
fn no_more_is_asked_of_the_provisioner_than_there_may_be_jobs() {
    let mut tight = provisioning();
    tight.limits.jobs = 1;
    let mut world = World::with(tight);
    let (a, _) = private(&mut world, "good", QUIET);
    for id in ["m1", "m2"] {
        world.send(a, id, "job.submit", json!({"agent": "a"}));
    }
    let (id, _) = world.only_issue();
    world.answer(id, Issued::Nothing);
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.accepted", "session.error"]);
    assert_eq!(frames[1]["payload"]["details"]["limit"], "jobs");
}

#[test]
fn room_is_looked_for_again_when_the_credential_is_there() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, request) = world.only_issue();
    world.instant_store = false;
    let (job, _) = world.runtime.live_credentials().map(|record| (record.job, record.key)).next().unwrap();
    assert_eq!(job, request.job);
    // Something else that the store has no room for.
    world.send(a, "m2", "job.submit", json!({"agent": "a"}));
    world.refuse_all();
    world.make(id, "s3cr3t");
    assert_eq!(world.one(a)["payload"]["details"]["limit"], "storage");
    world.wait(SECOND);
    world.instant_store = true;
    world.store_all();
    assert!(world.revoke_all(Revoked::Done).contains(&request.credential));
}

#[test]
fn without_a_durable_ledger_nothing_is_offered_or_issued() {
    for (provisions, durable) in [(true, false), (false, true), (false, false)] {
        let mut config = provisioning();
        (config.provisions, config.durable) = (provisions, durable);
        let mut world = World::with(config);
        let (a, welcome) = private(&mut world, "good", QUIET);
        let features = welcome["payload"]["capabilities"]["features"].to_string();
        assert!(!features.contains("provisioned_credentials"), "D-52: {features}");
        world.send(a, "m1", "job.submit", lease());
        assert!(world.issues.is_empty());
        assert_eq!(world.one(a)["type"], "job.accepted");
        let job = world.started[0].job;
        let misuse = world.runtime.rotate_credential(world.now, job);
        assert!(matches!(misuse, Err(ApiMisuse::OutOfRange(_))));
    }
}
