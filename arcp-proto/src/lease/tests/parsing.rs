//! What a lease may say, and how it is said again.

use super::*;
use alloc::vec::Vec;

fn refusal(request: &str, constraints: &str) -> String {
    let error = parse(request, constraints).expect_err(request);
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    error.message.into_owned()
}

#[test]
fn everything_is_written_as_it_was_submitted() {
    let request = r#"{"fs.read":["/srv/data/**/","/srv/**/**"],"net.fetch":["HTTPS://A.example:443/%61"],"x-vendor.acme.gpu":["a100/*"],"tool.call":[],"agent.delegate":["*@1.*"],"model.use":["tier-fast/*"],"cost.budget":["USD:007.50","credits:3"]}"#;
    let lease = parse(request, r#"{"expires_at":"2026-08-14T11:00:00.123456Z"}"#).unwrap();
    assert_eq!(lease.to_json().as_str(), request);
    assert_eq!(lease.constraints_json().unwrap().as_str(), r#"{"expires_at":"2026-08-14T11:00:00.123Z"}"#);
    assert_eq!(lease.budget_json().unwrap().as_str(), r#"{"USD":7.5,"credits":3}"#);
    assert_eq!(
        lease.namespaces().collect::<Vec<_>>(),
        [
            "fs.read",
            "net.fetch",
            "x-vendor.acme.gpu",
            "tool.call",
            "agent.delegate",
            "model.use",
            "cost.budget"
        ]
    );
    let restored = Lease::restore(&lease.to_json(), lease.expires_at(), |_| false);
    assert_eq!(restored, Ok(lease));
}

#[test]
fn nothing_is_asked_for_in_several_ways() {
    for (request, constraints) in
        [("null", "null"), (" { } ", "{}"), ("{}", r#"{"expires_at":null}"#), ("{}", r#"{"other":null}"#)]
    {
        let lease = parse(request, constraints).unwrap();
        assert!(lease.is_empty());
        assert_eq!(lease.to_json().as_str(), "{}");
        assert_eq!((lease.constraints_json(), lease.budget_json()), (None, None));
    }
    let absent = Lease::parse(None, None, Features::NONE, NOW.unix).unwrap();
    assert!(absent.is_empty());
    assert!(!lease(r#"{"fs.read":[]}"#).is_empty());
}

#[test]
fn refusals_name_the_member_and_what_is_allowed() {
    for (request, constraints, words) in [
        ("[]", "null", "`lease_request` must be an object"),
        ("{}", "3", "`lease_constraints` must be an object"),
        (r#"{"fs.read":["/a","b"]}"#, "null", "`lease_request.fs.read[1]`: a path is absolute"),
        (r#"{"fs.read":{}}"#, "null", "`lease_request.fs.read` must be an array of at most 64 strings"),
        (r#"{"fs.read":["/a",null]}"#, "null", "`lease_request.fs.read` must be an array"),
        (
            r#"{"cost.budget":null}"#,
            "null",
            "`lease_request.cost.budget` must be an array of at most 16 strings",
        ),
        (r#"{"cost.budget":[]}"#, "null", "`lease_request.cost.budget` must not be empty"),
        (
            r#"{"cost.budget":["USD:1","EUR:1","USD:1"]}"#,
            "null",
            "cost.budget[2]`: a currency may be named once",
        ),
        (r#"{"fs.delete":null}"#, "null", "`lease_request` has a namespace other than"),
        ("{}", r#"{"max_calls":3}"#, "`lease_constraints` may have no member but `expires_at`"),
        ("{}", r#"{"expires_at":"2026-08-14T09:30:00Z","x":1}"#, "no member but `expires_at`"),
        ("{}", r#"{"expires_at":5}"#, "`lease_constraints.expires_at` must be an RFC 3339"),
        ("{}", r#"{"expires_at":"2026-08-14T09:29:59Z"}"#, "must be in the future"),
    ] {
        let found = refusal(request, constraints);
        assert!(found.contains(words), "{request} {constraints}: {found}");
    }
    assert!(parse("{}", r#"{"expires_at":"2026-08-14T09:29:59.001Z"}"#).is_ok(), "within the grace");
}

#[test]
fn restrictions_that_are_not_negotiated_are_refused() {
    let raw = |text: &str| RawJson::try_from(text).unwrap();
    for (request, constraints, feature) in [
        (r#"{"cost.budget":["USD:1"]}"#, "{}", Feature::CostBudget),
        (r#"{"model.use":[]}"#, "{}", Feature::ModelUse),
        ("{}", r#"{"expires_at":"2027-01-01T00:00:00Z"}"#, Feature::LeaseExpiresAt),
    ] {
        let features = every_feature().without(feature);
        let error =
            Lease::parse(Some(&raw(request)), Some(&raw(constraints)), features, NOW.unix).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(error.details, Details::Feature(feature.as_str().into()));
        assert!(parse(request, constraints).is_ok());
    }
    let plain = raw(r#"{"fs.read":["/a"],"x-vendor.a.b":["c"]}"#);
    assert!(Lease::parse(Some(&plain), None, Features::NONE, NOW.unix).is_ok());
}

#[test]
fn limits() {
    let namespaces = |count: usize| {
        let all: Vec<_> = (0..count).map(|index| alloc::format!("\"x-vendor.a.n{index}\":[]")).collect();
        alloc::format!("{{{}}}", all.join(","))
    };
    assert!(parse(&namespaces(32), "null").is_ok());
    assert_eq!(code(parse(&namespaces(33), "null")), Some(ErrorCode::InvalidRequest));

    let patterns =
        |count: usize| alloc::format!("{{\"fs.read\":[{}]}}", std::vec!["\"/a\""; count].join(","));
    assert!(parse(&patterns(64), "null").is_ok() && parse(&patterns(65), "null").is_err());

    let currencies = |count: usize| {
        let all: Vec<_> = (0..count).map(|index| alloc::format!("\"C{index}:1\"")).collect();
        alloc::format!("{{\"cost.budget\":[{}]}}", all.join(","))
    };
    assert!(parse(&currencies(16), "null").is_ok() && parse(&currencies(17), "null").is_err());

    let padded = |bytes: usize| alloc::format!("{{{}}}", " ".repeat(bytes - 2));
    assert!(parse(&padded(32 * 1_024), "null").is_ok() && parse(&padded(32 * 1_024 + 1), "null").is_err());

    // With what it inherits, a lease is no longer than on its own.
    let parent = lease(r#"{"tool.call":["*"],"model.use":["m"]}"#);
    let inherited = |bytes: usize| {
        let mut all: Vec<_> =
            (10..73).map(|index| alloc::format!("\"{index}{}\"", "a".repeat(507))).collect();
        all.push(alloc::format!("\"{}\"", "b".repeat(bytes)));
        let child = parse(&alloc::format!("{{\"tool.call\":[{}]}}", all.join(",")), "null").ok()?;
        child.inherit(&parent, |_| None, Policy::default()).ok()
    };
    let most = (1..=512).rev().find_map(inherited).expect("the shortest is well below");
    assert_eq!(most.to_json().len(), 32 * 1_024);

    let pattern = |bytes: usize| alloc::format!("{{\"tool.call\":[\"{}\"]}}", "a".repeat(bytes));
    assert!(parse(&pattern(512), "null").is_ok() && parse(&pattern(513), "null").is_err());
}
