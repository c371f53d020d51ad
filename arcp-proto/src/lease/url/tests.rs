//! Spellings of URLs, and what their patterns stand for.

use super::*;
use crate::wire::testing::Random;
use alloc::vec::Vec;

#[test]
fn the_repairs_are_these() {
    for (text, canonical) in [
        ("HTTP://A.Example", "http://a.example/"),
        ("https://a:443/x#y?z", "https://a/x"),
        ("http://a:443", "http://a:443/"),
        ("https://a?q", "https://a/?q"),
        ("https://a/?", "https://a/?"),
        ("https://a/%7e%c3%a9%2A/", "https://a/~%C3%A9%2A/"),
        ("https://a/?%61%2f%25%2e#", "https://a/?a%2F%25."),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]/"),
        ("https://a_b-c/x;y=1,2/@:!$&'()*+", "https://a_b-c/x;y=1,2/@:!$&'()*+"),
    ] {
        assert_eq!(canonical_url(text).as_deref(), Ok(canonical), "{text}");
    }
}

#[test]
fn nothing_but_visible_ascii_is_in_a_url() {
    for character in [' ', '\t', '\n', '\\', '\u{7f}', '\0', 'é', '\u{200b}'] {
        for (before, behind) in [
            ("https://", "a/x"),
            ("https://a", ":8/x"),
            ("https://a/x", "y"),
            ("https://a/x?q=", "r"),
            ("https://a/x#f", "g"),
            ("https://a/x#", ""),
            ("", "https://a/"),
        ] {
            let text = alloc::format!("{before}{character}{behind}");
            assert!(canonical_url(&text).is_err(), "{text:?}");
        }
    }
}

#[test]
fn other_spellings_are_refused() {
    for text in [
        "https:a/x",
        "https:/a",
        "https://",
        "https:///x",
        "//a/x",
        "a",
        "",
        "ws://a/",
        "https://a@b/",
        "https://a:b@c/",
        "https://@a/",
        "https://a:/",
        "https://a:0/",
        "https://a:080/",
        "https://a:+80/",
        "https://a:65536/",
        "https://a:*/",
        "https://a:1:2/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[::1]:/",
        "https://a./",
        "https://.a/",
        "https://a..b/",
        "https://a%62/",
        "https://a*/",
        "https://a//b",
        "https://a//",
        "https://a/./b",
        "https://a/b/..",
        "https://a/%2E",
        "https://a/%5c",
        "https://a/%00",
        "https://a/%",
        "https://a/%4",
        "https://a/%4g",
        "https://a/?%4",
        "https://a/{b}",
        "https://a/b|c",
        "https://a/\"",
        "https://a/[",
        "https://a/?a=<b>",
        "https://a/ b",
        "https://ä/",
        "https://a/ä",
    ] {
        assert!(canonical_url(text).is_err(), "{text}");
    }
    let longest = |bytes: usize| alloc::format!("https://a?{}", "q".repeat(bytes - 10));
    assert!(canonical_url(&longest(4_095)).is_ok());
    assert!(canonical_url(&longest(4_096)).is_err(), "the path to be added has no room");
}

fn random_url(random: &mut Random) -> String {
    let mut text: String = random.pick(&["http://", "https://", "HTTPS://", "http:/"]).into();
    for _ in 0..=random.below(2) {
        text += random.pick(&["a", "B.c", "a.localhost", "10.0.0.1", "[::1]", "x-", "0x1", ".", "%61"]);
    }
    text += random.pick(&["", "", ":80", ":443", ":8080", ":", ":080"]);
    for _ in 0..random.below(6) {
        text += random.pick(&[
            "/", "/", "a", "%41", "%2e", ".", "..", "%c3%a9", "%2a", "*", "?", "#", "@", "%25", "%2F", "'",
            "~",
        ]);
    }
    text
}

#[test]
fn canonical_urls_stay_as_they_are() {
    let mut random = Random::new(44);
    let mut accepted = 0;
    for _ in 0..40_000 {
        let text = random_url(&mut random);
        if let Ok(canonical) = canonical_url(&text) {
            accepted += 1;
            assert_eq!(canonical_url(&canonical).as_ref(), Ok(&canonical), "{text}");
            assert_eq!(Url::parse(&canonical), Url::parse(&text), "{text}");
        }
    }
    assert!(accepted > 2_000, "{accepted}");
}

const PATTERNS: [&str; 20] = [
    "https://a",
    "https://a/",
    "https://a/**",
    "https://a/*",
    "https://a/*/",
    "https://a/x/",
    "https://a/x*",
    "https://a/**/",
    "https://a:*/**",
    "https://a:8443/**",
    "https://a:443/x",
    "https://**/**",
    "https://*.b/**",
    "http://a/**",
    "https://a/x?*",
    "https://a/x?",
    "https://a/x?q=*",
    "https://a/x?q=*&r=**",
    "https://a/x?**",
    "https://a/%78",
];

#[test]
fn covering_means_what_matching_means() {
    let mut targets = Vec::new();
    for origin in ["https://a", "https://a:8443", "https://c.b", "http://a"] {
        for path in ["", "/x", "/x/", "/xy", "/x/y", "/%78"] {
            for query in ["", "?", "?q=", "?q=1&r=2", "?r", "?*"] {
                targets.push(Url::parse(&alloc::format!("{origin}{path}{query}")).unwrap());
            }
        }
    }
    let patterns = PATTERNS.map(|text| UrlPattern::parse(text).unwrap());
    let mut covered = 0;
    for (parent, parent_text) in patterns.iter().zip(PATTERNS) {
        assert!(parent.covers(parent), "{parent_text}");
        for (child, child_text) in patterns.iter().zip(PATTERNS) {
            if parent.covers(child) {
                covered += 1;
                for target in &targets {
                    let sound = !child.matches(target) || parent.matches(target);
                    assert!(sound, "{parent_text} covers {child_text}, but not {target}");
                }
            }
        }
    }
    assert!(covered > 60, "{covered}");
}

#[test]
fn a_trailing_slash_is_a_segment() {
    let matches =
        |pattern: &str, url: &str| UrlPattern::parse(pattern).unwrap().matches(&Url::parse(url).unwrap());
    assert!(matches("https://a/x/", "https://a/x/") && !matches("https://a/x", "https://a/x/"));
    assert!(matches("https://a/**", "https://a/x/") && !matches("https://a/x/*", "https://a/x/"));
    assert!(matches("https://a/**", "https://a") && !matches("https://a/*", "https://a/"));
    assert!(matches("https://a/x?", "https://a/x") && !matches("https://a/x?", "https://a/x?y"));
}

#[test]
fn patterns_keep_the_rules_of_urls() {
    for text in [
        "*://a/**",
        "https*://a",
        "https://a:8*/",
        "https://a:**/",
        "https://a/**x",
        "https://a/../**",
        "https://a//**",
        "https://a/%2e*",
        "https://*@a/",
        "https://[*]/",
        "https://a.**/",
        "https://a/#",
        "https://a/{x}",
    ] {
        assert!(UrlPattern::parse(text).is_err(), "{text}");
    }
    let stars = |count: usize| UrlPattern::parse(&alloc::format!("https://*.a:*/*?{}", "*a".repeat(count)));
    assert!(stars(13).is_ok() && stars(14).is_err());
}
