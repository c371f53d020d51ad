//! What we do not send but understand, by family.

use super::*;
use crate::agent::Versions;
use crate::error::ErrorCode;
use crate::feature::{Feature, Features};
use crate::secret::Secret;
use crate::wire::body::ToolFailure;
use crate::wire::event::{ChunkEncoding, EventKind, LogLevel};
use crate::wire::number::NumberText;
use crate::wire::read::Fields;
use crate::wire::session::Auth;

const TOKEN: &str = "rt_MyKu5QQ6LKOxpvyAN3X9YpuDnPIM-bHQgl5FlyIRWm4";
const SESSION: &str = "sess_01KZZSPQFWRQJ5E577ZYXMHSQ1";
const REQUEST: &str = "msg_01KZZSPRWWW55H2KYHZZDP2ZKM";

/// Runs `judge` on the payloads of every vector whose name begins with `prefix`; there are `count`.
fn judge(prefix: &str, count: usize, mut judge: impl FnMut(&str, &Fields<'_>)) {
    let mut judged = 0;
    for vector in vectors("arcp-1.1-accept").iter().filter(|vector| vector.name.starts_with(prefix)) {
        judge(vector.name, &vector.envelope().payload);
        judged += 1;
    }
    assert_eq!(judged, count, "{prefix}");
}

#[test]
fn everything_is_read() {
    let mut judged = 0;
    for vector in vectors("arcp-1.1-accept") {
        let envelope = vector.envelope();
        match rewritten(&envelope) {
            Some(read) => drop(read.unwrap_or_else(|fault| panic!("{}: {fault}", vector.name))),
            None => assert_eq!(vector.name, "vendor-message-optional"),
        }
        judged += 1;
    }
    assert_eq!(judged, 116);
}

#[test]
fn hellos() {
    judge("hello-", 17, |name, fields| {
        let hello = Hello::read(fields, "session.hello").expect(name);
        match (&hello.auth, name) {
            (Auth::Anonymous, "hello-java-anonymous") => {}
            (Auth::Bearer(token), _) => assert!(token.matches("tk"), "{name}"),
            (auth, _) => panic!("{name}: {auth:?}"),
        }
        let features = hello.features.expect("a hello without capabilities offers none");
        match name {
            "hello-v10" | "hello-arcp-1-0" | "hello-auth-only" | "hello-resume-v1-example" => {
                assert_eq!(features, Features::NONE, "{name}");
            }
            "hello-nulls-and-unknown-members" => {
                assert_eq!(features, Features::NONE.with(Feature::Heartbeat));
            }
            _ => assert!(features.has(Feature::Subscribe) && features.has(Feature::CostBudget), "{name}"),
        }
        let client = match name {
            "hello-java-anonymous" => Some("arcp-client-java"),
            "hello-go" => Some("arcp-go-client"),
            "hello-ruby" | "hello-ruby-resume" => Some("arcp-ruby"),
            "hello-auth-only" | "hello-nulls-and-unknown-members" => None,
            _ => Some("dock"),
        };
        assert_eq!(hello.client_name.as_deref(), client, "{name}");
        let resume = hello.resume.as_ref();
        assert_eq!(resume.is_some(), name.contains("-resume"), "{name}");
        if let Some(resume) = resume {
            assert!(resume.token.matches(TOKEN), "{name}");
            let from = match name {
                "hello-java-resume-without-seq" => None,
                "hello-java-resume-minus-one" => Some(0),
                "hello-resume-v1-example" => Some(1_827),
                _ => Some(41),
            };
            assert_eq!(resume.last_event_seq, from, "{name}");
            let named = !name.starts_with("hello-java") && !name.starts_with("hello-ruby");
            assert_eq!(resume.session_id.as_deref(), named.then_some(SESSION), "{name}");
        }
    });
}

#[test]
fn the_name_of_a_client_is_cut_for_display() {
    let name = alloc::format!("x{}", "ü".repeat(200));
    for payload in [
        alloc::format!(r#"{{"client":{{"name":"{name}","version":"{name}"}}}}"#),
        alloc::format!(r#"{{"client_name":"{name}","client_version":"{name}"}}"#),
    ] {
        let hello =
            Hello::read(&Fields::of(&payload), "session.hello").expect("display is no reason to refuse");
        // 256 bytes at most, and no half of a character.
        assert_eq!(hello.client_name.map(|name| name.len()), Some(255));
        assert_eq!(hello.client_version.map(|version| version.len()), Some(255));
    }
}

#[test]
fn resume_messages() {
    judge("resume-message", 2, |name, fields| {
        let hello = Hello::read(fields, "session.resume").expect(name);
        let resume = hello.resume.expect(name);
        assert!(resume.token.matches(TOKEN) && resume.last_event_seq == Some(41), "{name}");
        let full = name == "resume-message-with-auth";
        assert_eq!(hello.features.is_some(), full, "{name}");
        assert_eq!(resume.session_id.is_some(), full, "{name}");
    });
}

#[test]
fn welcomes() {
    let versions = |versions: &[&str], default: Option<&str>| Versions {
        versions: versions.iter().map(ToString::to_string).collect(),
        default: default.map(ToString::to_string),
    };
    let one = || versions(&["1.0.0"], Some("1.0.0"));
    judge("welcome-", 9, |name, fields| {
        let welcome = Welcome::read(fields).expect(name);
        assert_eq!(welcome.runtime_name.as_deref(), Some("q"), "{name}");
        let named = |agents: &[(&str, Versions)]| -> Vec<(String, Versions)> {
            agents.iter().map(|(name, versions)| (name.to_string(), versions.clone())).collect()
        };
        let none = Versions::default;
        let agents = match name {
            "welcome-python-flat-agents" => named(&[("a", none()), ("b", none())]),
            "welcome-go-bare-agent" => named(&[("a", none()), ("b", one())]),
            "welcome-mixed-agents" => named(&[("a", none()), ("b", none()), ("c", versions(&["1"], None))]),
            "welcome-not-resumable" => Vec::new(),
            "welcome-python113" | "welcome-java" => named(&[("a", none())]),
            _ => named(&[("a", one())]),
        };
        assert_eq!(welcome.agents, agents, "{name}");
        assert_eq!(welcome.resume_token.is_some(), name != "welcome-not-resumable", "{name}");
        let beats = !["ruby", "flat", "mixed", "not-resumable"].iter().any(|part| name.contains(part));
        assert_eq!(welcome.heartbeat_interval_sec, beats.then_some(30), "{name}");
        assert_eq!(welcome.session_id.is_some(), name.contains("python"), "{name}");
    });
}

#[test]
fn errors() {
    judge("error-", 7, |name, fields| {
        let error = ErrorPayload::read(fields).expect(name);
        assert_eq!(error.details, None, "{name}");
        let known = match name {
            "error-ruby-reply-to" | "error-unknown-code" | "error-minimal" => ErrorCode::InternalError,
            "error-python-null-details-uncorrelated" => ErrorCode::AgentNotAvailable,
            "error-python-bad-resume" => ErrorCode::PermissionDenied,
            "error-go-correlated" => ErrorCode::JobNotFound,
            _ => ErrorCode::InvalidRequest,
        };
        assert_eq!(error.known_code(), known, "{name}");
        let request = error.request_id.as_deref().or(error.reply_to.as_deref());
        let correlated = matches!(name, "error-go-correlated" | "error-ruby-reply-to");
        assert_eq!(request, correlated.then_some(REQUEST), "{name}");
        let minimal = matches!(name, "error-minimal" | "error-correlation-id-only");
        assert_eq!(error.retryable.is_none(), minimal, "{name}");
        assert_eq!(error.is_retryable(), matches!(name, "error-unknown-code" | "error-minimal"), "{name}");
        assert_eq!(error.job_id.is_some(), name == "error-go-correlated", "{name}");
    });
}

#[test]
fn failed_jobs() {
    judge("job-error-", 9, |name, fields| {
        let ended = Ended::read(fields, "job.error").expect(name);
        let error = ended.error.expect("an error is never a success");
        let (status, code) = match name {
            "job-error-minimal" => (FinalStatus::TimedOut, "TIMEOUT"),
            "job-error-go-no-message" => (FinalStatus::Cancelled, "CANCELLED"),
            "job-error-empty" => (FinalStatus::Error, "INTERNAL_ERROR"),
            "job-error-typescript-fresh-id-numbered" => (FinalStatus::Error, "AGENT_NOT_AVAILABLE"),
            "job-error-java-bad-resume" => (FinalStatus::Error, "RESUME_WINDOW_EXPIRED"),
            "job-error-java-echo-with-job" | "job-error-ruby-reply-to" => {
                (FinalStatus::Error, "JOB_NOT_FOUND")
            }
            _ => (FinalStatus::Error, "DUPLICATE_KEY"),
        };
        assert_eq!((ended.status, error.code.as_str()), (status, code), "{name}");
        assert_eq!((ended.result, ended.raw_status), (None, None), "{name}");
        assert_eq!(error.reply_to.is_some(), name == "job-error-ruby-reply-to", "{name}");
    });
}

#[test]
fn results() {
    judge("result-", 5, |name, fields| {
        let ended = Ended::read(fields, "job.result").expect(name);
        let result = ended.result.as_ref().map(RawJson::as_str);
        if name == "result-python-timed-out" {
            assert_eq!((ended.status, result), (FinalStatus::TimedOut, None));
            assert_eq!(ended.error.expect("no success").code, "TIMEOUT");
            return;
        }
        let expected = match name {
            "result-go-output" | "result-ruby-unnumbered" => r#"{"n": 1}"#,
            "result-without-status" => "1",
            _ => "null",
        };
        assert_eq!((ended.status, result), (FinalStatus::Success, Some(expected)), "{name}");
        assert_eq!(ended.error, None, "{name}");
    });
}

#[test]
fn acceptances() {
    judge("accepted-", 9, |name, fields| {
        let accepted = Accepted::read(fields).expect(name);
        let budget = match name {
            "accepted-budget-decimal-string" => Some(r#"{"USD": "5.00"}"#),
            "accepted-python-budget-amount-string" => Some(r#"{"USD": "USD:5.00"}"#),
            _ => None,
        };
        assert_eq!(accepted.budget.as_ref().map(RawJson::as_str), budget, "{name}");
        let bare = name == "accepted-job-id-only-in-envelope";
        assert_eq!(accepted.job_id.is_none() && accepted.accepted_at.is_none(), bare, "{name}");
        assert_eq!(accepted.lease_constraints, None, "{name}");
        let lease = match name {
            "accepted-spec-only" | "accepted-budget-decimal-string" => true,
            _ => matches!(name, "accepted-python-budget-amount-string" | "accepted-ruby-lease"),
        };
        assert_eq!(accepted.lease.is_some(), lease, "{name}");
        let credentials: Vec<_> = accepted.credentials.iter().map(|known| known.id.as_str()).collect();
        match name {
            "accepted-underscored-constraints" => {
                let constraints = &accepted.credentials[0].constraints;
                assert_eq!(constraints.cost_budget, ["USD:5.00"]);
                assert_eq!(constraints.model_use.as_deref(), Some(&["tier-small/*".to_string()][..]));
                assert_eq!(constraints.expires_at.unwrap().to_string(), "2026-08-14T11:00:00.000Z");
            }
            "accepted-unknown-credential-scheme" => assert_eq!(credentials, ["c2"]),
            _ => assert!(credentials.is_empty(), "{name}"),
        }
    });
}

#[test]
fn cancels() {
    judge("cancel-", 3, |name, fields| {
        let cancel = Cancel::read(fields).expect(name);
        assert_eq!(cancel.job_id.is_some(), name == "cancel-ruby-payload-only", "{name}");
        assert_eq!(cancel.reason.is_some(), name == "cancel-python", "{name}");
    });
    judge("cancelled-", 2, |name, fields| {
        let cancelled = Cancelled::read(fields).expect(name);
        assert_eq!(cancelled.job_id.is_some(), name == "cancelled-go-numbered", "{name}");
        assert_eq!(cancelled.current_status, None, "{name}");
    });
}

#[test]
fn subscriptions() {
    judge("subscribe-", 3, |name, fields| {
        let subscribe = Subscribe::read(fields).expect(name);
        assert_eq!(subscribe.history, name == "subscribe-typescript", "{name}");
        let from = match name {
            "subscribe-typescript" => Some(0),
            "subscribe-from-without-history" => Some(5),
            _ => None,
        };
        assert_eq!(subscribe.from_event_seq, from, "{name}");
    });
    judge("subscribed-", 3, |name, fields| {
        let subscribed = Subscribed::read(fields).expect(name);
        assert_eq!(subscribed.replayed, name != "subscribed-ruby-nulls", "{name}");
        assert_eq!(subscribed.request_id.is_some(), name == "subscribed-python-count", "{name}");
        assert_eq!(subscribed.lease.is_some(), name == "subscribed-python-count", "{name}");
        let seam = if name == "subscribed-go-no-ids" { 84 } else { 0 };
        assert_eq!(subscribed.subscribed_from, Some(seam), "{name}");
    });
}

#[test]
fn submits() {
    judge("submit-", 7, |name, fields| {
        let submit = Submit::read(fields).expect(name);
        assert_eq!(submit.lease_request.is_some(), name == "submit-ruby-lease", "{name}");
        assert_eq!((submit.lease_constraints, submit.idempotency_key), (None, None), "{name}");
        let (agent, input) = match name {
            "submit-digit-first-agent" => ("7zip.tool-x_y@1.0.0+build_7", r#"[1, "two", {"three": null}]"#),
            _ => ("mailer", "null"),
        };
        assert_eq!((submit.agent.as_str(), submit.input.as_str()), (agent, input), "{name}");
    });
}

#[test]
fn traces_of_submits() {
    for vector in vectors("arcp-1.1-accept") {
        if matches!(vector.name, "submit-traceparent" | "submit-trace-upper-case") {
            let trace = vector.envelope().trace_id.as_deref().and_then(TraceId::parse).expect(vector.name);
            assert_eq!(trace.to_string(), "7c9f1e2a5b3d4806a1f2c3d4e5f60718");
        }
    }
}

#[test]
fn small_messages() {
    judge("ping-", 1, |name, fields| assert_eq!(Ping::read(fields).expect(name).nonce, "n1"));
    judge("pong-", 2, |name, fields| {
        let pong = Pong::read(fields).expect(name);
        let full = name == "pong-go-zero-time";
        assert_eq!((pong.ping_nonce.is_some(), pong.received_at.is_some()), (full, full));
    });
    judge("ack-", 1, |name, fields| assert_eq!(Ack::read(fields).expect(name).last_processed_seq, 41));
    judge("close", 3, |name, fields| assert_eq!(Goodbye::read(fields).expect(name).reason, None));
    judge("bye-", 1, |name, fields| assert_eq!(Goodbye::read(fields).expect(name).reason, None));
    judge("unsubscribe-", 1, |name, fields| assert!(Unsubscribe::read(fields).expect(name).job_id.is_some()));
}

#[test]
fn events() {
    judge("event-", 25, |name, fields| {
        let event = EventPayload::read(fields).expect(name);
        assert_eq!(event.ts.is_none(), name == "event-ruby-no-ts", "{name}");
        let body = EventBody::read(&event.kind, &event.body).expect(name);
        event_is(name, &event.kind, body);
    });
}

fn event_is(name: &str, kind: &EventKind, body: EventBody) {
    let json = |value: Option<RawJson>| value.map(|value| value.as_str().to_string());
    let number = |text| NumberText::parse(text).expect("a number");
    let text = |text: &str| Some(text.to_string());
    match (name, body) {
        ("event-ruby-no-ts" | "event-go-log-upper", EventBody::Log { level, message, attributes }) => {
            assert_eq!((level, message.as_str()), (LogLevel::Info, "x"), "{name}");
            assert_eq!(json(attributes), text(r#"{"a": 1}"#), "{name}");
        }
        ("event-log-critical", EventBody::Log { level, .. }) => assert_eq!(level, LogLevel::Error),
        ("event-body-null", EventBody::Status { phase, details, .. }) => {
            assert_eq!((phase.as_str(), details), ("", None));
        }
        ("event-body-missing", EventBody::Thought { text }) => assert_eq!(text, ""),
        ("event-metric-dims-only" | "event-metric-attributes", EventBody::Metric { dimensions, .. }) => {
            assert_eq!(dimensions, [("m".to_string(), "a".to_string())], "{name}");
        }
        ("event-metric-string-value", EventBody::Metric { value, unit, .. }) => {
            assert_eq!((value, unit), (number("11.75"), text("USD")));
        }
        ("event-tool-call-aliases", EventBody::ToolCall { tool, args, call_id }) => {
            assert_eq!((tool.as_str(), args.as_str(), call_id), ("search", r#"{"q": 1}"#, text("c1")));
        }
        (
            "event-tool-result-aliases" | "event-tool-result-unit",
            EventBody::ToolResult { call_id, result },
        ) => {
            let expected = if name == "event-tool-result-unit" { "null" } else { "[1]" };
            assert_eq!(call_id, text("c1"), "{name}");
            let result: Result<RawJson, ToolFailure> = result;
            assert_eq!(result.expect(name).as_str(), expected, "{name}");
        }
        (
            "event-artifact-aliases",
            EventBody::ArtifactRef { uri, artifact_id, content_type, byte_size, .. },
        ) => {
            assert_eq!((uri, artifact_id), (text("https://blob.example/1"), text("a1")));
            assert_eq!((content_type, byte_size), (text("text/csv"), Some(12)));
        }
        ("event-delegate-child-only", EventBody::Delegate { child_job_id, agent, lease, .. }) => {
            assert!(child_job_id.is_some() && lease.is_some() && agent == "mailer");
        }
        ("event-delegate-v1", EventBody::Delegate { child_job_id, delegate_id, input, .. }) => {
            assert_eq!((child_job_id, delegate_id, json(input)), (None, text("del_1"), text("{}")));
        }
        ("event-progress-fraction-over-total", EventBody::Progress { current, total, .. }) => {
            assert_eq!((current, total), (number("10.5"), Some(number("10"))));
        }
        ("event-rotated-python" | "event-rotated-go", EventBody::CredentialRotated { id, value }) => {
            assert_eq!(id, text("c1"), "{name}");
            assert!(value.expect(name).matches("s2"), "{name}");
        }
        ("event-rotated-ruby", EventBody::CredentialRotated { id, value }) => {
            let value: Option<Secret> = value;
            assert!(id == text("c1") && value.is_none());
        }
        ("event-status-flat-extras", EventBody::Status { phase, details, .. }) => {
            assert_eq!((phase.as_str(), json(details)), ("load", text(r#"{"rows":12}"#)));
        }
        ("event-unknown-kind" | "event-vendor-two-parts", EventBody::Other(_)) => {
            assert!(matches!(kind, EventKind::Other(_)) && !kind.is_vendor(), "{name}");
        }
        ("event-chunk-unpadded", EventBody::ResultChunk(chunk)) => {
            assert_eq!((chunk.encoding, chunk.data.as_str()), (ChunkEncoding::Base64, "QQ"));
        }
        ("event-chunk-empty-last-other-encoding", EventBody::ResultChunk(chunk)) => {
            assert_eq!((chunk.encoding, chunk.chunk_seq, chunk.more), (ChunkEncoding::Utf8, 1, false));
        }
        ("event-numbered-max" | "event-unnumbered", EventBody::Status { phase, .. }) => {
            assert_eq!(phase, "x")
        }
        (name, body) => panic!("{name} was read as {body:?}"),
    }
}
