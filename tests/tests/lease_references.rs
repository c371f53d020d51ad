//! What leases decide by parsers and arithmetic of our own, against crates that do the same another way: URLs against
//! `url`, money against `rust_decimal`.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use arcp_proto::lease::{Amount, Counters, Currency};
use arcp_tests::fuzz::is_read_alike;
use arcp_tests::random::Random;
use rust_decimal::{Decimal, RoundingStrategy};

const SCHEMES: [&str; 8] =
    ["http://", "https://", "https://", "HTTP://", "http:", "https:///", "ftp://", " http://"];
const HOSTS: [&str; 26] = [
    "a.example",
    "A.Example",
    "a_b-c",
    "localhost",
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "1.2.3.4.5",
    "[::1]",
    "[2001:DB8::1]",
    "[::ffff:1.2.3.4]",
    "[0:0:0:0:0:0:0:1]",
    "[::1%25eth0]",
    "a.",
    ".a",
    "a..b",
    "u@h",
    "u:p@h",
    "a%62",
    "h\\",
    "ex\u{e4}mple",
    "a\u{ff0e}b",
    "a\tb",
    "",
];
const PORTS: [&str; 10] = ["", "", "", ":80", ":443", ":8443", ":0", ":", ":0443", ":65536"];
const PATHS: [&str; 30] = [
    "/", "/", "/", "a", "b.c", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%25", "%41", "%7e",
    "%c3%a9", "%2a", "%zz", "%", "'", "*", ";", "@", ":", "[", "{", " ", "\u{e9}", "\n",
];
const ENDS: [&str; 12] =
    ["", "", "", "?", "?q=1", "?a'b", "?%61%2f%25", "?a/b?c", "?[x]", "#f", "?q#f?g", "#@evil/"];

fn url_text(random: &mut Random) -> String {
    let mut text = String::new();
    text.push_str(random.of::<&str>(&SCHEMES));
    text.push_str(random.of::<&str>(&HOSTS));
    text.push_str(random.of::<&str>(&PORTS));
    if random.below(4) > 0 {
        text += "/";
        for _ in 0..random.below(6) {
            // Mostly what is accepted, or little would be.
            let plain = random.below(3) > 0;
            text.push_str(random.of::<&str>(if plain { &PATHS[..5] } else { &PATHS }));
        }
    }
    text.push_str(random.of::<&str>(&ENDS));
    text
}

#[test]
fn urls_mean_what_another_parser_reads() {
    let mut random = Random::new(0x0075_726c);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..300_000 {
        let text = url_text(&mut random);
        if is_read_alike(&text) {
            accepted += 1;
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 10_000 && refused > 100_000, "{accepted} {refused}");
}

/// A charge as text and as the other crate rounds it.
fn charge(random: &mut Random) -> (String, Decimal) {
    let mantissa = random.next_u64() >> random.below(60);
    let places = u32::try_from(random.below(20)).unwrap();
    let digits = format!("{mantissa:0width$}", width = usize::try_from(places).unwrap() + 1);
    let (integer, fraction) = digits.split_at(digits.len() - usize::try_from(places).unwrap());
    let dot = if fraction.is_empty() { "" } else { "." };
    let value = Decimal::from_i128_with_scale(i128::from(mantissa), places);
    let (text, value) = match random.below(4) {
        0 => (format!("{integer}{dot}{fraction}e-3"), value / Decimal::ONE_THOUSAND),
        1 if mantissa < 1 << 40 => (format!("{integer}{dot}{fraction}E+2"), value * Decimal::ONE_HUNDRED),
        _ => (format!("{integer}{dot}{fraction}"), value),
    };
    (text, value.round_dp_with_strategy(9, RoundingStrategy::AwayFromZero))
}

fn charge_at_random(rounds: u32, seed: u64) {
    const LIMIT: Decimal = Decimal::from_parts(2_808_348_672, 232_830_643, 0, false, 0);
    let usd = Currency::parse("USD").unwrap();
    let mut random = Random::new(seed);
    let (mut charged, mut refused, mut exhausted) = (0_u32, 0_u32, 0_u32);
    let (mut counters, mut reference) = (Counters::default(), Decimal::ZERO);
    while charged < rounds {
        if counters.exhausted().is_some() || counters.as_slice().is_empty() {
            exhausted += 1;
            let initial = (random.next_u64() >> random.below(40)).max(1);
            counters = Counters::new([(usd.clone(), Amount::from_units(i128::from(initial)))]);
            reference = Decimal::from_i128_with_scale(i128::from(initial), 9);
        }
        let (text, value) = charge(&mut random);
        match Amount::charge(&text) {
            Ok(amount) => {
                assert!(value < LIMIT, "{text}");
                charged += 1;
                counters.charge("USD", amount).unwrap();
                reference -= value;
                let remaining = counters.as_slice()[0].remaining;
                let expected = (reference * Decimal::from(1_000_000_000)).normalize();
                assert_eq!(Decimal::from_i128_with_scale(remaining.units(), 0), expected, "{text}");
                if charged.is_multiple_of(16) {
                    assert_eq!(remaining.to_string(), reference.normalize().to_string());
                }
            }
            Err(_) => {
                refused += 1;
                assert!(value >= LIMIT, "{text}");
            }
        }
    }
    println!("{charged} charges on {exhausted} budgets, {refused} out of range");
    assert!(exhausted > rounds / 100 && exhausted < rounds);
}

#[test]
fn ten_million_charges_add_up_as_another_crate_adds_them() {
    charge_at_random(10_000_000, 2);
}
