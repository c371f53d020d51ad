use alloc::string::{String, ToString};

use serde_json::{Value, json};

use super::*;

fn value(json: Option<&RawJson>) -> Value {
    json.map_or(Value::Null, |json| serde_json::from_str(json.as_str()).expect("what we write is JSON"))
}

/// `lease_request` and `lease_constraints` of a submit, ours.
fn read(lease: &Value, constraints: &Value) -> Result<(Value, Value), (ErrorCode, String)> {
    let payload = json!({"agent": "a", "lease_request": lease, "lease_constraints": constraints}).to_string();
    match read_submit(&Fields::of(&payload)) {
        Ok(submit) => Ok((value(submit.lease_request.as_ref()), value(submit.lease_constraints.as_ref()))),
        Err(error) => Err((error.code, error.message.to_string())),
    }
}

#[track_caller]
fn lease(asked: &Value, expected: &Value) {
    assert_eq!(read(asked, &Value::Null), Ok((expected.clone(), Value::Null)), "{asked}");
}

#[test]
fn a_namespace_named_alone_is_all_of_it() {
    lease(
        &json!({"capabilities": ["fs.read", "fs.write", "net.fetch", "tool.call", "agent.delegate", "model.use"]}),
        &json!({
            "fs.read": ["/**"], "fs.write": ["/**"], "net.fetch": ["http://**/**", "https://**/**"],
            "tool.call": ["**"], "agent.delegate": ["**"], "model.use": ["**"],
        }),
    );
}

#[test]
fn a_target_is_its_own_pattern() {
    lease(
        &json!({"capabilities": ["tool.call:inbox_list", "net.fetch:https://a.example/x", "tool.call:b:c"]}),
        &json!({"tool.call": ["inbox_list", "b:c"], "net.fetch": ["https://a.example/x"]}),
    );
}

#[test]
fn names_that_are_no_namespace_grant_nothing() {
    lease(
        &json!({"capabilities": ["audit", "x-vendor.acme.y", "cost.budget", "", "FS.READ", ":x"]}),
        &Value::Null,
    );
    lease(&json!({"capabilities": []}), &Value::Null);
    lease(
        &json!({"capabilities": null, "model.use": null, "cost.budget": null, "expires_at": null}),
        &Value::Null,
    );
    lease(&Value::Null, &Value::Null);
}

#[test]
fn a_member_of_its_own_is_not_widened_by_a_name() {
    lease(
        &json!({"capabilities": ["model.use", "tool.call"], "model.use": ["tier-fast/*"], "cost.budget": ["USD:1.0"]}),
        &json!({"tool.call": ["**"], "model.use": ["tier-fast/*"], "cost.budget": ["USD:1.0"]}),
    );
}

#[test]
fn everything_else_is_left_to_the_rules_for_everybody() {
    let lease = json!({"tool.call": ["a.*"], "surprise": 1, "fs.read": null});
    assert_eq!(read(&lease, &Value::Null), Ok((lease.clone(), Value::Null)));
}

#[test]
fn the_earlier_end_counts() {
    let at = |time: &str| json!({"expires_at": time});
    let (early, late) = (at("2026-08-14T11:00:00.000Z"), at("2026-08-14T11:00:00.001Z"));
    for (inner, outer) in [(&early, &late), (&late, &early), (&early, &Value::Null), (&Value::Null, &early)] {
        assert_eq!(read(inner, outer), Ok((Value::Null, early.clone())), "{inner} {outer}");
    }
    for wrong in [json!({"expires_at": "2026-08-14T11:00:00+00:00"}), json!({"expires_at": 7})] {
        for (inner, outer, member) in
            [(&wrong, &early, "lease_request"), (&early, &wrong, "lease_constraints")]
        {
            let (code, message) = read(inner, outer).expect_err("no end");
            assert_eq!(code, ErrorCode::InvalidRequest);
            assert!(message.contains(&format!("`{member}.expires_at`")), "{message}");
        }
    }
}

#[test]
fn amounts_stay_within_the_most_that_is_allowed() {
    let capped = |asked: Value, most: Value| read(&asked, &json!({"max_budget": most}));
    let asked = json!({"cost.budget": ["USD:5.00", "EUR:9"]});
    assert_eq!(capped(asked.clone(), json!(["USD:5", "EUR:9.0", "GBP:1"])), Ok((asked.clone(), Value::Null)));
    for (most, named) in
        [(json!(["USD:4.999999999", "EUR:9"]), "USD"), (json!(["USD:5"]), "EUR"), (json!([]), "USD")]
    {
        let (code, message) = capped(asked.clone(), most).expect_err("too much");
        assert_eq!(code, ErrorCode::LeaseSubsetViolation);
        assert!(message.contains(named) && message.contains("max_budget"), "{message}");
    }
    assert_eq!(capped(json!({}), json!(["USD:5"])), Ok((Value::Null, Value::Null)));
    for unreadable in [json!("USD:5"), json!([5]), json!(["5 dollars"])] {
        let (code, message) = capped(asked.clone(), unreadable).expect_err("no amounts");
        assert_eq!(code, ErrorCode::InvalidRequest);
        assert!(message.contains("`lease_constraints.max_budget`"), "{message}");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (lease, constraints, named) in [
        (json!({"capabilities": "fs.read"}), Value::Null, "`lease_request.capabilities`"),
        (json!({"capabilities": [1]}), Value::Null, "`lease_request.capabilities`"),
        (json!([]), Value::Null, "`lease_request`"),
        (json!({}), json!([]), "`lease_constraints`"),
        (json!({}), json!({"max_models": 1}), "`lease_constraints` may have no member"),
    ] {
        let (code, message) = read(&lease, &constraints).expect_err("unreadable");
        assert_eq!(code, ErrorCode::InvalidRequest);
        assert!(message.contains(named), "{message}");
    }
}

fn request(lease: &Value, drop_parts: bool) -> Result<Value, OnlyPart> {
    let lease = RawJson::parse(lease.to_string()).expect("JSON");
    request_of_lease(Some(&lease), drop_parts).map(|request| value(Some(&request)))
}

#[test]
fn a_map_names_what_it_holds_universally() {
    let map = json!({
        "fs.read": ["/x", "/**"], "net.fetch": ["http://**/**", "https://**/**"], "x-vendor.acme.y": ["**"],
        "model.use": ["tier-fast/*"], "cost.budget": ["USD:1"], "tool.call": [],
    });
    let mut expected = map.clone();
    expected["capabilities"] = json!(["fs.read", "net.fetch", "x-vendor.acme.y"]);
    assert_eq!(request(&map, false), Ok(expected));
    let money = json!({"cost.budget": ["USD:1"]});
    assert_eq!(request(&money, false), Ok(money));
    let none = request_of_lease(None, false).map(|request| value(Some(&request)));
    assert_eq!(none, Ok(json!({"capabilities": []})));
}

#[test]
fn a_part_of_a_namespace_has_no_name() {
    for map in
        [json!({"fs.read": ["/x/**"]}), json!({"net.fetch": ["https://**/**"]}), json!({"tool.call": ["*"]})]
    {
        assert_eq!(request(&map, false), Err(OnlyPart), "{map}");
        assert_eq!(request(&map, true), Ok(map), "it is not named");
    }
}
