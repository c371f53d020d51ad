//! What the README shows is what the repository holds, and works.

use std::time::Duration;

#[expect(dead_code, unreachable_pub, reason = "a program of its own, without its `main` here")]
#[path = "../../arcp-tokio/examples/ask.rs"]
mod ask;
#[expect(dead_code, unreachable_pub, reason = "a program of its own, without its `main` here")]
#[path = "../../arcp-tokio/examples/serve.rs"]
mod serve;

const README: &str = include_str!("../../README.md");

/// The code of an example, behind the words at its beginning.
fn code(example: &str) -> &str {
    example.split_once("\n\n").map(|(_, code)| code).expect("code behind the first paragraph")
}

#[test]
fn the_programs_are_the_examples() {
    for (path, example) in [
        ("arcp-tokio/examples/serve.rs", include_str!("../../arcp-tokio/examples/serve.rs")),
        ("arcp-tokio/examples/ask.rs", include_str!("../../arcp-tokio/examples/ask.rs")),
        ("arcp-proto/examples/serve_lines.rs", include_str!("../../arcp-proto/examples/serve_lines.rs")),
    ] {
        assert!(README.contains(code(example)), "the README shows another version of {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gets_its_answer() {
    let server = arcp_tokio::Server::bind("127.0.0.1:0").await.unwrap();
    let url = server.url();
    let serving = server.start(serve::runtime().unwrap());
    let answer = tokio::time::timeout(Duration::from_secs(60), ask::ask(&url)).await;
    assert_eq!(answer.expect("took too long").unwrap(), "All there is to know about tea.");
    serving.shut_down().await;
}

#[test]
fn the_two_commands_are_there() {
    for command in ["cargo run --release", "cargo test --workspace"] {
        assert!(README.lines().any(|line| line.starts_with(command)), "{command}");
    }
}
