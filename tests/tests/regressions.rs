//! Worlds in which something was broken once, by what it was.
//!
//! A seed alone would show another world after any change of the generator, so the bytes that decide are kept, as small as
//! they could be made.

use arcp_tests::sim::run;

/// The world of these decisions breaks nothing.
fn holds(seed: u64, decisions: &str) {
    let digits: Vec<u8> = decisions.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| digit(pair[0]) << 4 | pair.get(1).map_or(0, |low| digit(*low))).collect();
    if let Err(failure) = run(seed, &bytes) {
        panic!("{}", failure.violation);
    }
}
#[test]
fn an_event_does_not_overtake_an_acceptance_that_waits_for_its_turn() {
    let decisions = "00001000006d00008100000000490000000000000000000000000000000000000000000000000000000000000000000000000000000000
        000000000000000000000000000000000000000000000000000000001d00000000000000000000005916";
    holds(9, decisions);
}

#[test]
fn a_client_reads_on_while_what_it_has_waits_for_an_acceptance() {
    holds(
        100,
        "00000000000000000000000000000000000000000000000000000000000000290000000000007100000000000000000000000000000000000000000000000000000000e8610000000000000000000000000000cd002bae0000000000000000000000000000000000000000000000000000000000000000000000009b",
    );
}
