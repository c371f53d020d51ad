//! What the README shows is what the repository holds.

const README: &str = include_str!("../../README.md");

#[test]
fn the_blocking_loop_is_the_example_of_the_core() {
    let example = include_str!("../../arcp-proto/examples/serve_lines.rs");
    let code = example.split_once("\n\n").map(|(_, code)| code).expect("code behind the first paragraph");
    assert!(README.contains(code), "the README shows another version of arcp-proto/examples/serve_lines.rs");
}

#[test]
fn the_two_commands_are_there() {
    for command in ["cargo run --release", "cargo test --workspace"] {
        assert!(README.lines().any(|line| line.starts_with(command)), "{command}");
    }
}
