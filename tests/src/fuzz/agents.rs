//! What agents do under their leases, and what a deployment decides about them.

use std::sync::Arc;
use std::time::Duration;

use arcp_proto::lease::{Amount, Capability, Circumstances, Currency, Lease, Operation, Pattern};
use arcp_proto::runtime::{
    AgentInput, DecisionId, IssueId, IssueRequest, Issued, IssuedCredential, JobHandle, JobNews, JobState,
    LeaseDecision, LeaseQuestion,
};
use arcp_proto::secret::Secret;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::credential::CredentialConstraints;
use arcp_proto::wire::event::{Delegation, Emission};
use arcp_proto::wire::number::NumberText;
use serde_json::json;

use super::books::VALUE;
use super::choices::Choices;
use super::host::Host;
use super::lease_text::capability;

/// A lease with something of everything.
pub(super) const GENEROUS: &str = r#"{"tool.call":["search.*","mcp/**"],"agent.delegate":["*"],"model.use":["fast/*"],
    "net.fetch":["https://*.example.com/**"],"fs.read":["/w/**"],"cost.budget":["USD:5.00","credits:100"]}"#;

/// What a child may be asked for, with and without a chance.
const REQUESTS: [&str; 10] = [
    "null",
    r#"{"tool.call":["search.web"]}"#,
    r#"{"agent.delegate":["*"],"cost.budget":["USD:1"]}"#,
    r#"{"agent.delegate":["a"],"cost.budget":["USD:0.5","EUR:2"]}"#,
    r#"{"agent.delegate":["*"],"model.use":["fast/a"],"cost.budget":["credits:99.5"]}"#,
    r#"{"agent.delegate":["*"]}"#,
    r#"{"cost.budget":["USD:0"]}"#,
    r#"{"tool.call":["**"]}"#,
    r#"{"fs.read":["relative"]}"#,
    r#"{"cost.budget":["USD:1000"]}"#,
];

const TARGETS: [&str; 8] = [
    "search.web",
    "/w/a/b",
    "https://a.example.com/x?y",
    "a",
    "fast/a",
    "/w/../etc",
    "https://127.0.0.1/",
    "mcp/x/y",
];

/// A question to the deployment that waits for its answer.
pub(super) enum Question {
    Decide(DecisionId, Box<LeaseQuestion>),
    Issue(IssueId, Box<IssueRequest>),
}

impl Host {
    /// The agent of a job that was started does something; of `started` the one so many from the end.
    pub(super) fn act(&mut self, back: usize, choices: &mut Choices<'_>) {
        let Some(start) = self.started.iter().rev().nth(back) else { return };
        let (job, lease) = (start.job, Arc::clone(&start.lease));
        match choices.below(8) {
            0 => self.log(job, "x"),
            1 | 2 => self.authorize(job, &lease, choices),
            3 | 4 => self.charge(job, choices),
            5 | 6 => self.delegate(job, choices),
            _ => self.finish(job),
        }
    }

    /// Asks for permission. What is permitted is permitted by the lease alone too, before its end, with money left of
    /// each currency, to a job that runs (LEA-2, BUD-2).
    fn authorize(&mut self, job: JobHandle, lease: &Lease, choices: &mut Choices<'_>) {
        let capability = capability(choices.byte());
        let target = choices.pick(&TARGETS);
        let operation = Operation { capability, target };
        let permitted = self.runtime.authorize(self.now, job, &operation);
        if let Ok(canonical) = permitted {
            let circumstances = Circumstances { running: true, expiry: None, now: self.now, exhausted: None };
            assert_eq!(lease.authorize(&operation, &circumstances, self.policy), Ok(canonical));
            assert!(lease.expires_at().is_none_or(|end| self.now.unix < end));
            assert!(self.runtime.budget_remaining(job).iter().all(|(_, left)| left.is_positive()));
            assert_eq!(self.runtime.job_state(job), Some(JobState::Running));
        }
        self.settle();
    }

    fn charge(&mut self, job: JobHandle, choices: &mut Choices<'_>) {
        let values = ["0.01", "1", "2.5", "0.0000000001", "1e-3", "1e17", "1e40", "0", "99.999999999", "-0"];
        let value = NumberText::parse(choices.pick(&values)).expect("a number");
        let name = choices.pick(&["cost.x", "cost.x", "cost.x", "latency"]);
        let unit = choices.pick(&[Some("USD"), Some("USD"), Some("credits"), Some("EUR"), Some("usd"), None]);
        if let Ok(emission) = Emission::metric(name, &value, unit, &[]) {
            let _ = self.runtime.handle_agent(self.now, job, AgentInput::Emit(emission));
        }
        self.settle();
    }

    fn delegate(&mut self, job: JobHandle, choices: &mut Choices<'_>) {
        let request = choices.pick(&REQUESTS);
        let end = self.now.unix.after(Duration::from_secs(u64::from(choices.byte())));
        let constraints = json!({"expires_at": end.to_string()}).to_string();
        let lease_constraints = (choices.below(4) == 0).then_some(constraints);
        let delegation = Delegation {
            token: u64::from(choices.byte()),
            agent: choices
                .pick(&["a", "a", "a", "mailer", "refactor@1.0.0", "refactor", "nobody", "@"])
                .into(),
            input: RawJson::null(),
            lease_request: Some(RawJson::parse(request).expect("a good text")),
            lease_constraints: lease_constraints.map(|text| RawJson::parse(text).expect("a good text")),
            max_runtime_sec: choices.pick(&[None, None, None, Some(60), Some(0)]),
        };
        let _ = self.runtime.handle_agent(self.now, job, AgentInput::Delegate(Box::new(delegation)));
        self.settle();
    }

    /// An agent hears of each end of a child once, and of children of its own only.
    pub(super) fn told(&mut self, job: JobHandle, news: &JobNews) {
        match news {
            JobNews::Delegated { answer: Ok(child), .. } => {
                assert!(
                    self.children.insert((job, child.job), false).is_none(),
                    "a child was announced before"
                );
            }
            JobNews::ChildEnded { child, .. } => {
                let known = self.children.insert((job, *child), true);
                // Damaged rows may give a job that begins anew a child from before.
                let is_odd = self.forgets && known.is_none();
                assert!(known == Some(false) || is_odd, "a child ends once, after it was announced");
            }
            _ => {}
        }
    }

    /// Answers the question that waits longest, if one does, in one way or another.
    pub(super) fn answer(&mut self, how: u8) {
        match self.questions.pop_front() {
            Some(Question::Decide(id, question)) => {
                let (decision, may_fail) = decision(how, question.lease);
                let taken = self.runtime.handle_decision(self.now, id, decision);
                assert!(may_fail || taken == Ok(()), "{taken:?}");
            }
            Some(Question::Issue(id, request)) => {
                let (issued, may_fail) = issued(how, &request);
                let taken = self.runtime.handle_credentials(self.now, id, issued);
                assert!(may_fail || taken == Ok(()), "{taken:?}");
            }
            None => {}
        }
        self.settle();
    }
}

/// What is left of a lease, and whether that may be more than was asked for.
fn decision(how: u8, mut lease: Lease) -> (LeaseDecision, bool) {
    let currency = |name| Currency::parse(name).expect("a currency");
    match how % 8 {
        0 => {}
        1 => return (LeaseDecision::Refuse, false),
        2 => lease.limit_budget(&currency("USD"), Amount::from_units(1_500_000_000)),
        3 => lease.retain(|_, _| false),
        4 => lease.retain(|_, pattern: &Pattern| pattern.as_str().len() > 3),
        5 => lease.limit_budget(&currency("GBP"), Amount::from_units(-1)),
        6 => {
            let replaced = lease.replace(&Capability::ToolCall, ["search.web"]);
            return (LeaseDecision::Grant(lease), replaced.is_ok());
        }
        _ => return (LeaseDecision::Grant(Lease::default()), true),
    }
    (LeaseDecision::Grant(lease), false)
}

/// What a provisioner may say, and whether it may be wrong.
pub(super) fn issued(how: u8, request: &IssueRequest) -> (Issued, bool) {
    let (value, endpoint) = match how % 8 {
        0 => return (Issued::Nothing, false),
        1 => return (Issued::Failed, false),
        2 => ("one for all".to_owned(), "https://gateway.example/v1"),
        3 => ("always".to_owned(), "https://gateway.example/v1"),
        4 => (format!("{VALUE}{}", request.credential), "ftp://gateway.example"),
        _ => (format!("{VALUE}{}", request.credential), "https://gateway.example/v1"),
    };
    let issued = IssuedCredential {
        value: Secret::new(value),
        endpoint: endpoint.into(),
        profile: None,
        constraints: CredentialConstraints::default(),
        expires: None,
    };
    (Issued::Credential(Box::new(issued)), (2..=4).contains(&(how % 8)))
}
