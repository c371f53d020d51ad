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
