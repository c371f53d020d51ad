//! Tokens of every make, most of them forged.

use arcp_proto::secret::Secret;
use data_encoding::{BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use futures_executor::block_on;

use super::*;

const ISSUER: &str = "https://issuer.example";
const KEY: &[u8] = b"canary-of-the-key-0123456789abcdef";
const OTHER: &[u8] = b"another-key-that-is-long-enough-too";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const NOW: i64 = 1_800_000_000;

fn jwt() -> Jwt {
    Jwt::hs256(ISSUER, "arcp", KEY).unwrap().clock(|| UnixTime::from_millis(NOW * 1_000))
}

fn signature(signed: &str, key: &[u8]) -> Vec<u8> {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(key).unwrap();
    mac.chain_update(signed).finalize().into_bytes().to_vec()
}

fn parts(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()))
}

fn sign(header: &str, claims: &str, key: &[u8]) -> String {
    let signed = parts(header, claims);
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature(&signed, key)))
}

/// A token whose claims are these, and good ones where none of the same name is given; `""` leaves one out.
fn claims(changed: &[(&str, &str)]) -> String {
    let good = [
        ("iss", "\"https://issuer.example\"".to_owned()),
        ("sub", "\"alice\"".to_owned()),
        ("aud", "\"arcp\"".to_owned()),
        ("exp", (NOW + 600).to_string()),
    ];
    let mut members = Vec::new();
    for (name, value) in &good {
        if !changed.iter().any(|(other, _)| other == name) {
            members.push(format!("\"{name}\":{value}"));
        }
    }
    for (name, value) in changed.iter().filter(|(_, value)| !value.is_empty()) {
        members.push(format!("\"{name}\":{value}"));
    }
    format!("{{{}}}", members.join(","))
}

fn check(header: &str, changed: &[(&str, &str)]) -> Result<Accepted, InvalidToken> {
    jwt().check(&sign(header, &claims(changed), KEY))
}

#[test]
fn an_honest_token_names_its_principal_and_its_end() {
    let accepted = check(HEADER, &[]).unwrap();
    assert_eq!(&*accepted.principal, "https://issuer.example|alice");
    assert_eq!(accepted.until, UnixTime::from_millis((NOW + 600) * 1_000));
    let honest: &[&[(&str, &str)]] = &[
        &[("aud", r#"["other","arcp"]"#)],
        &[("nbf", "1800000000")],
        &[("nbf", "0")],
        &[("exp", "1800000000.001")],
        &[("sub", "\"a|b%\"")],
        &[("roles", r#"{"any":[1,{"depth":null}]}"#), ("iat", "\"whenever\"")],
    ];
    for changed in honest {
        assert!(check(HEADER, changed).is_ok(), "{changed:?}");
    }
    for header in [r#" { "alg" : "HS256" } "#, r#"{"\u0061lg":"HS256","jku":"https://evil.example","x":[]}"#]
    {
        assert!(check(header, &[]).is_ok(), "{header}");
    }
}

#[test]
fn the_example_of_rfc_7515_is_signed_as_we_think() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = BASE64URL_NOPAD.decode(key.as_bytes()).unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let verdict = |key| Jwt::hs256("joe", "arcp", key).unwrap().check(token).unwrap_err();
    // Its signature is good, and then it lacks a subject.
    assert!(matches!(verdict(&key), InvalidToken::Member(missing) if missing.member() == "sub"));
    assert_eq!(verdict(KEY), InvalidToken::Signature);
}

#[test]
fn forged_headers_are_refused() {
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS256 "}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
    ] {
        assert_eq!(check(header, &[]), Err(InvalidToken::Algorithm), "{header}");
    }
    for header in [
        r"{}",
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":256}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","kid":7}"#,
    ] {
        assert!(matches!(check(header, &[]), Err(InvalidToken::Member(_))), "{header}");
    }
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","b64":false,"cr\u0069t":["b64"]}"#,
    ] {
        assert_eq!(check(header, &[]), Err(InvalidToken::Critical), "{header}");
    }
    for header in [
        "",
        "null",
        "[]",
        r#""HS256""#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256"}{}"#,
        r#"{"alg":"HS256",}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
    ] {
        assert_eq!(check(header, &[]), Err(InvalidToken::Json("header")), "{header}");
    }
}

#[test]
fn forged_claims_are_refused() {
    let wrong_type: &[(&str, &[&str])] = &[
        (
            "exp",
            &["", "null", "\"never\"", "\"1900000000\"", "true", "[1900000000]", "{}", "-1", "1e10", "1e400"],
        ),
        ("nbf", &["null", "\"0\"", "false", "-1", "1e1"]),
        ("iss", &["", "null", "1", r#"["https://issuer.example"]"#]),
        ("sub", &["", "null", "1", "\"\"", "[\"alice\"]", r#""a\u0000""#, r#""a\nb""#]),
        ("aud", &["", "null", "1", "{\"arcp\":1}", r#"["arcp",1]"#, r#"[["arcp"]]"#, r#"["arcp",null]"#]),
    ];
    for (name, values) in wrong_type {
        for value in *values {
            let refused = check(HEADER, &[(name, value)]).unwrap_err();
            let InvalidToken::Member(error) = &refused else { panic!("{name}: {value}: {refused:?}") };
            assert_eq!((error.member(), error.is_missing()), (*name, value.is_empty()), "{value}");
        }
    }
    let judged: &[(&str, &str, InvalidToken)] = &[
        ("exp", "1800000000", InvalidToken::Expired),
        ("exp", "1799999999.999", InvalidToken::Expired),
        ("exp", "0", InvalidToken::Expired),
        ("nbf", "1800000001", InvalidToken::NotYet),
        ("nbf", "1800000000.001", InvalidToken::NotYet),
        ("iss", "\"https://issuer.example/\"", InvalidToken::Issuer),
        ("iss", "\"HTTPS://issuer.example\"", InvalidToken::Issuer),
        ("iss", "\"\"", InvalidToken::Issuer),
        ("aud", "\"ARCP\"", InvalidToken::Audience),
        ("aud", "\"arcp arcp\"", InvalidToken::Audience),
        ("aud", "[]", InvalidToken::Audience),
        ("aud", r#"["arcp2","xarcp"]"#, InvalidToken::Audience),
    ];
    for (name, value, error) in judged {
        assert_eq!(check(HEADER, &[(name, value)]), Err(error.clone()), "{name}: {value}");
    }
    for claims in [
        r#"{"iss":"https://issuer.example","sub":"alice","aud":"arcp","exp":1,"exp":1900000000}"#,
        r#"{"iss":"https://issuer.example","sub":"bob","s\u0075b":"alice","aud":"arcp","exp":1900000000}"#,
        r#"{"iss":"https://issuer.example","sub":"alice","aud":"arcp","exp":1900000000,"x":{"y":1,"y":2}}"#,
        "null",
        "[]",
        "",
        "{",
    ] {
        assert_eq!(jwt().check(&sign(HEADER, claims, KEY)), Err(InvalidToken::Json("claims")), "{claims}");
    }
}

#[test]
fn every_change_of_a_signed_token_is_noticed() {
    let token = sign(HEADER, &claims(&[]), KEY);
    let jwt = jwt();
    assert!(jwt.check(&token).is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(jwt.check(&String::from_utf8(changed).unwrap()).is_err(), "byte {at}");
        let (left, right) = token.split_at(at);
        assert!(jwt.check(left).is_err(), "cut before byte {at}");
        assert!(jwt.check(&format!("{left}{}", &right[1..])).is_err(), "without byte {at}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let jwt = jwt();
    let signed = parts(HEADER, &claims(&[]));
    let good = signature(&signed, KEY);
    let with = |signature: &str| jwt.check(&format!("{signed}.{signature}"));
    assert!(with(&BASE64URL_NOPAD.encode(&good)).is_ok());
    assert_eq!(with(""), Err(InvalidToken::Signature), "stripped");
    assert_eq!(with(&BASE64URL_NOPAD.encode(&good[..16])), Err(InvalidToken::Signature), "cut in half");
    let longer = [&good[..], b"\0"].concat();
    assert_eq!(with(&BASE64URL_NOPAD.encode(&longer)), Err(InvalidToken::Signature));
    assert_eq!(with(&BASE64URL_NOPAD.encode(&signature(&signed, OTHER))), Err(InvalidToken::Signature));
    assert_eq!(with(&BASE64URL.encode(&good)), Err(InvalidToken::Encoding("signature")), "padded");
    for spelling in ["A", "AB", "AA==", " AAA", "AAA\n", "AA+/", "ÄÄ"] {
        assert_eq!(with(spelling), Err(InvalidToken::Encoding("signature")), "{spelling:?}");
    }
    // The same claims in the other alphabet, rightly signed: one token has one spelling.
    let claims = claims(&[("sub", "\"ÿ~~~>>>???\"")]);
    let other =
        format!("{}.{}", BASE64URL_NOPAD.encode(HEADER.as_bytes()), BASE64_NOPAD.encode(claims.as_bytes()));
    assert!(other.contains(['+', '/']), "{other}");
    let other = format!("{other}.{}", BASE64URL_NOPAD.encode(&signature(&other, KEY)));
    assert_eq!(jwt.check(&other), Err(InvalidToken::Encoding("claims")));
    for token in ["", ".", "a", "a.b", "a.b.c.d", &format!("{signed}.{signed}.x.y")] {
        assert_eq!(jwt.check(token), Err(InvalidToken::Parts), "{token}");
    }
    for token in ["..", ".a.b", &format!("%.{signed}")] {
        assert!(jwt.check(token).is_err(), "{token}");
    }
}

#[test]
fn eight_kibibytes_are_enough() {
    let of_size = |padding: usize| {
        let padding = format!("\"{}\"", "x".repeat(padding));
        sign(HEADER, &claims(&[("padding", &padding)]), KEY)
    };
    // Four characters stand for three bytes.
    let padding =
        (0..MAX_TOKEN_BYTES).rev().find(|&padding| of_size(padding).len() <= MAX_TOKEN_BYTES).unwrap();
    assert!(of_size(padding).len() > MAX_TOKEN_BYTES - 4);
    assert!(jwt().check(&of_size(padding)).is_ok());
    assert_eq!(jwt().check(&of_size(padding + 3)), Err(InvalidToken::TooLong));
}

#[test]
fn keys_are_found_by_kid() {
    let both = jwt().key("new", OTHER).unwrap();
    let named = r#"{"alg":"HS256","kid":"new"}"#;
    let unknown = r#"{"alg":"HS256","kid":"old"}"#;
    let claims = claims(&[]);
    for (header, key, good) in [
        (named, OTHER, true),
        (named, KEY, false),
        (HEADER, KEY, true),
        (HEADER, OTHER, false),
        (unknown, KEY, true),
        (unknown, OTHER, false),
    ] {
        let checked = both.check(&sign(header, &claims, key));
        assert_eq!(checked.is_ok(), good, "{header} {checked:?}");
    }
    assert!(matches!(both.key("new", KEY), Err(JwtSetupError::DuplicateKey(id)) if id == "new"));
}

#[test]
fn leeway_moves_both_ends_and_no_further() {
    let jwt = jwt().leeway(MAX_LEEWAY).unwrap();
    let check = |changed: &[(&str, &str)]| jwt.check(&sign(HEADER, &claims(changed), KEY));
    assert!(check(&[("nbf", "1800000060")]).is_ok());
    assert_eq!(check(&[("nbf", "1800000061")]), Err(InvalidToken::NotYet));
    let accepted = check(&[("exp", "1799999941")]).unwrap();
    assert_eq!(accepted.until, UnixTime::from_millis((NOW + 1) * 1_000));
    assert_eq!(check(&[("exp", "1799999940")]), Err(InvalidToken::Expired));
    let too_much = MAX_LEEWAY + Duration::from_millis(1);
    assert!(matches!(jwt.leeway(too_much), Err(JwtSetupError::LeewayTooLong)));
}

#[test]
fn what_cannot_be_kept_safe_is_not_built() {
    let fault = |issuer: &str, audience: &str, key: &[u8]| {
        let fault = Jwt::hs256(issuer, audience, key).map(|_| ()).unwrap_err();
        (fault.clone(), fault.to_string())
    };
    let (short, said) = fault(ISSUER, "arcp", &KEY[..MIN_KEY_BYTES - 1]);
    assert_eq!(short, JwtSetupError::KeyTooShort(31));
    assert!(said.contains("at least 32 bytes"), "{said}");
    assert!(Jwt::hs256(ISSUER, "arcp", &KEY[..MIN_KEY_BYTES]).is_ok());
    assert!(jwt().key("new", b"short").is_err());
    assert_eq!(fault("", "arcp", KEY).0, JwtSetupError::Empty("issuer"));
    assert_eq!(fault(ISSUER, "", KEY).0, JwtSetupError::Empty("audience"));
}

#[test]
fn the_verifier_accepts_until_the_end_and_shows_no_key() {
    let jwt = jwt();
    let verdict = |credentials| block_on(jwt.verify(credentials));
    let token = sign(HEADER, &claims(&[]), KEY);
    let good = Verdict::Accept {
        principal: "https://issuer.example|alice".into(),
        until: Some(UnixTime::from_millis((NOW + 600) * 1_000)),
    };
    assert_eq!(verdict(Credentials::Bearer(Secret::new(token))), good);
    assert_eq!(verdict(Credentials::Bearer(Secret::new("no token"))), Verdict::Refuse);
    assert_eq!(verdict(Credentials::Anonymous), Verdict::Refuse);
    let shown = format!("{jwt:?}");
    assert!(shown.contains(ISSUER) && !shown.contains("canary"), "{shown}");
}
