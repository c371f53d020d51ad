//! The lines of `hostile.jsonl` that one rule of leases judges.

use super::*;
use crate::wire::testing::{Vector, hostile_vectors};
use crate::wire::{Envelope, Fields, ScanLimits};
use alloc::vec::Vec;
use serde_json::Value;

/// What only a core with the Unicode tables accepts.
const NEEDS_UNICODE: [&str; 2] = ["path-nfc", "path-fullwidth-dots"];

fn vectors(at: &str) -> Vec<Vector> {
    hostile_vectors().into_iter().filter(|vector| vector.at == at).collect()
}

fn input(vector: &Vector) -> Value {
    serde_json::from_slice(&vector.input).unwrap_or_else(|error| panic!("{}: {error}", vector.name))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

/// The lease that holds these patterns and nothing else.
fn holding(namespace: &str, patterns: &Value) -> Lease {
    lease(&alloc::format!("{{\"{namespace}\":{patterns}}}"))
}

#[test]
fn operations() {
    let vectors = vectors("lease");
    assert_eq!(vectors.len(), 142);
    for vector in vectors {
        let input = input(&vector);
        let lease = lease(&input["lease"].to_string());
        let verdict = decide(&lease, text(&input, "op"), text(&input, "target"));
        let told = match &verdict {
            Ok(_) => "allow".to_string(),
            Err(denial) => alloc::format!("deny {}", denial.code()),
        };
        let expected = if NEEDS_UNICODE.contains(&vector.name.as_str()) && !cfg!(feature = "unicode") {
            "deny PERMISSION_DENIED"
        } else {
            vector.expect.split(';').next().unwrap()
        };
        assert_eq!(told, expected, "{}: {verdict:?}", vector.name);
    }
}

#[test]
fn patterns() {
    let vectors = vectors("pattern");
    assert_eq!(vectors.len(), 29);
    for vector in vectors {
        let input = input(&vector);
        let request = serde_json::json!({ text(&input, "namespace"): [text(&input, "pattern")] });
        let told = match parse(&request.to_string(), "null") {
            Ok(_) => "accept".to_string(),
            Err(error) => alloc::format!("reject with {}", error.code),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
    }
}

#[test]
fn subsets() {
    let vectors = vectors("subset");
    assert_eq!(vectors.len(), 32);
    for vector in vectors {
        let input = input(&vector);
        let namespace = text(&input, "namespace");
        let (parent, child) = (holding(namespace, &input["parent"]), holding(namespace, &input["child"]));
        let told = match child.inherit(&parent, |_| None, Policy::default()) {
            Ok(_) => "subset".to_string(),
            Err(error) => alloc::format!("reject with {}", error.code),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
    }
}

#[test]
fn amounts() {
    let vectors = vectors("amount");
    assert_eq!(vectors.len(), 33);
    for vector in vectors {
        let input = input(&vector);
        let request = serde_json::json!({ "cost.budget": [text(&input, "amount")] });
        let told = match parse(&request.to_string(), "null") {
            Ok(lease) => alloc::format!("accept {}", lease.budget()[0].amount.units()),
            Err(error) => alloc::format!("reject with {}", error.code),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
    }
}

#[test]
fn charges() {
    let vectors = vectors("charge");
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        let input = core::str::from_utf8(&vector.input).unwrap();
        let told = match Amount::charge(Fields::of(input).present("value").unwrap()) {
            Ok(amount) => alloc::format!("accept {}", amount.units()),
            Err(_) => "reject".to_string(),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
    }
}

#[test]
fn times() {
    let vectors = vectors("time");
    assert_eq!(vectors.len(), 31);
    for vector in vectors {
        let input = input(&vector);
        let now = UnixTime::parse_rfc3339(text(&input, "now")).unwrap();
        let constraints = serde_json::json!({ "expires_at": text(&input, "expires_at") });
        let constraints = RawJson::encode(&constraints).unwrap();
        let told = match Lease::parse(None, Some(&constraints), every_feature(), now) {
            Ok(_) => "accept".to_string(),
            Err(error) => alloc::format!("reject with {}", error.code),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
    }
}

/// Submits whose lease alone decides.
#[test]
fn submits() {
    let mut judged = 0;
    for vector in vectors("runtime") {
        let about_leases = ["submit-lease-", "submit-budget-", "submit-expires-", "submit-constraints-"];
        if !about_leases.iter().any(|prefix| vector.name.starts_with(prefix)) {
            continue;
        }
        let envelope = Envelope::decode(&vector.input, &ScanLimits::RUNTIME).unwrap();
        let member =
            |name: &str| envelope.payload.present(name).map(|text| RawJson::parse(text.to_string()).unwrap());
        let lease = Lease::parse(
            member("lease_request").as_ref(),
            member("lease_constraints").as_ref(),
            every_feature(),
            NOW.unix,
        );
        let told = match lease {
            Ok(_) => "accept".to_string(),
            Err(error) => alloc::format!("reject with {}", error.code),
        };
        assert_eq!(told, vector.expect, "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 21);
}
