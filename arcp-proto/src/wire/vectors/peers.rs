//! Who the published peers are, and what is sent to them alone.

use super::*;
use crate::wire::peer::PeerProfile::{
    self, Core, Go, Java, Python113, PythonNewer, Ruby, TypeScript, Unknown,
};

/// Judges every vector of the two dialects whose type is this, and says how many there were.
fn judge(
    message_type: &str,
    expected: impl Fn(&str) -> PeerProfile,
    of: impl Fn(&Envelope<'_>) -> PeerProfile,
) -> usize {
    let mut judged = 0;
    for dialect in ["arcp-1.1", "arcp-1.1-accept"] {
        for vector in vectors(dialect) {
            let envelope = vector.envelope();
            if envelope.message_type == message_type {
                assert_eq!(of(&envelope), expected(vector.name), "{}", vector.name);
                judged += 1;
            }
        }
    }
    judged
}

#[test]
fn clients_by_their_hello() {
    let expected = |name: &str| match name {
        "hello-fresh" | "hello-resume-all-spellings" | "hello-resume-from-zero" => Core,
        "hello-python113" | "hello-python-resume" => Python113,
        "hello-python-newer" => PythonNewer,
        "hello-typescript" | "hello-typescript-resume" => TypeScript,
        "hello-go" => Go,
        // A bare ULID and no agents is what Java writes, with features or without.
        "hello-v10" => Java,
        _ if name.starts_with("hello-java") => Java,
        "hello-ruby" | "hello-ruby-resume" => Ruby,
        _ => Unknown,
    };
    assert_eq!(judge("session.hello", expected, PeerProfile::of_hello), 20);
}

#[test]
fn runtimes_by_their_welcome() {
    let expected = |name: &str| match name {
        "welcome-all-features" | "welcome-resumed-new-token" => Core,
        "welcome-python113" | "welcome-python-flat-agents" => Python113,
        "welcome-typescript" => TypeScript,
        "welcome-go-bare-agent" => Go,
        "welcome-java" => Java,
        "welcome-ruby" => Ruby,
        _ => Unknown,
    };
    assert_eq!(judge("session.welcome", expected, PeerProfile::of_welcome), 13);
}

#[test]
fn runtimes_by_their_refusal() {
    let expected = |name: &str| match name {
        "error-python-null-details-uncorrelated" | "error-python-bad-resume" => Python113,
        _ => Unknown,
    };
    assert!(judge("session.error", expected, PeerProfile::of_refusal) > 7);
    let expected = |name: &str| match name {
        "job-error-java-bad-resume" | "job-error-java-echo-no-seq" => Java,
        _ => Unknown,
    };
    assert!(judge("job.error", expected, PeerProfile::of_refusal) > 9);
}

/// The profile that the name of such a vector begins with.
fn addressed(name: &str) -> PeerProfile {
    match name.split_once('-').map(|(peer, _)| peer) {
        Some("python113") => Python113,
        // What is sent to both.
        Some("python") => PythonNewer,
        Some("typescript") => TypeScript,
        Some("go") => Go,
        Some("java") => Java,
        Some("ruby") => Ruby,
        peer => panic!("{name}: no peer is called {peer:?}"),
    }
}

/// The frame of `vector` with this payload.
fn framed(envelope: &Envelope<'_>, payload: &str) -> Value {
    let head = Head {
        id: &envelope.id,
        message_type: &envelope.message_type,
        session_id: envelope.session_id.as_deref().expect("always sent"),
        trace_id: envelope.trace_id.as_deref(),
        job_id: envelope.job_id.as_deref(),
        event_seq: None,
    };
    value(&encode(&head, payload))
}

/// What we write to the peer that the vector is addressed to, out of what everybody else would get.
fn sent(vector: &Vector<'_>) -> Value {
    let envelope = vector.envelope();
    let fields = &envelope.payload;
    let request_id = || {
        let named = fields.advisory_string("request_id").map(Into::into);
        Some(named.unwrap_or_else(|| "msg_01KZZSPQPZ0FESXE2H7T2CM181".to_string()))
    };
    let lease = |known: Option<RawJson>| known.or_else(|| RawJson::parse(r#"{"tool.call":["**"]}"#).ok());
    let budget = |known: Option<RawJson>| known.or_else(|| RawJson::parse(r#"{"USD":12.5}"#).ok());
    if let EventSeq::Number(seq) = envelope.event_seq {
        let session = SessionKey::parse(envelope.session_id.as_deref().expect("always sent"));
        let line = Line::new(
            session.expect("ours"),
            envelope.trace_id.as_deref().and_then(TraceId::parse).expect("always sent"),
            envelope.job_id.as_deref().and_then(JobKey::parse).expect("always sent"),
            addressed(vector.name).end_shape(),
            1 << 20,
        );
        let frame = Frame::Numbered { line: line.into(), seq, event: logged(&envelope).into() };
        let length = frame.encoded_len();
        let text = frame.encode();
        assert_eq!(text.len(), length, "{}", vector.name);
        return value(&text);
    }
    match envelope.message_type.as_ref() {
        "job.accepted" => {
            let mut accepted = Accepted::read(fields).expect(vector.name);
            accepted.lease = lease(accepted.lease);
            // A peer that is shown no lease asked for no budget here.
            accepted.budget = if vector.name.starts_with("ruby") { None } else { budget(accepted.budget) };
            (accepted.request_id, accepted.reply_to) = (request_id(), request_id());
            let accepted = addressed(vector.name).accepted(accepted);
            framed(&envelope, &object_text(|out| accepted.write(out)))
        }
        "job.subscribed" => {
            let mut subscribed = Subscribed::read(fields).expect(vector.name);
            subscribed.budget = budget(subscribed.budget);
            let subscribed = addressed(vector.name).subscribed(subscribed);
            framed(&envelope, &object_text(|out| subscribed.write(out)))
        }
        "job.error" => {
            let error = ErrorPayload::read(fields).expect(vector.name);
            let mut payload = String::new();
            WireError::new(error.known_code(), error.message)
                .write_rejection(&mut payload, &request_id().expect("always one"));
            framed(&envelope, &payload)
        }
        "session.bye" => {
            let goodbye = Goodbye::read(fields).expect(vector.name);
            framed(&envelope, &object_text(|out| goodbye.write(out)))
        }
        other => panic!("{}: nothing of type {other} is special", vector.name),
    }
}

#[test]
fn what_is_sent_to_one_peer_alone() {
    let mut judged = 0;
    for vector in vectors("arcp-1.1-profile") {
        // A client's test has it, where what a lease becomes there is known.
        if vector.name == "ruby-runtime-submit" {
            continue;
        }
        assert_eq!(sent(&vector), value(vector.envelope.get()), "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 11);
}
