//! Authorising and inheriting.

use super::*;
use core::time::Duration;

const BUDGETED: &str = r#"{"fs.read":["/w/**"],"cost.budget":["USD:1"]}"#;

fn read<'a>(target: &'a str) -> Operation<'a> {
    Operation { capability: Capability::FsRead, target }
}

#[test]
fn the_order_is_state_then_end_then_target_then_budget() {
    let lease = lease(BUDGETED);
    let expiry = Expiry::new(NOW.unix, NOW);
    let usd = Currency::parse("USD").unwrap();
    let all = Circumstances { running: false, expiry: Some(&expiry), now: NOW, exhausted: Some(&usd) };
    let verdict = |target, circumstances| {
        lease.authorize(&read(target), &circumstances, Policy::default()).map_err(|denial| denial.code())
    };
    assert_eq!(verdict("/x", all), Err(ErrorCode::Cancelled));
    let running = Circumstances { running: true, ..all };
    assert_eq!(verdict("/x", running), Err(ErrorCode::LeaseExpired));
    let lasting = Circumstances { expiry: None, ..running };
    assert_eq!(verdict("/x", lasting), Err(ErrorCode::PermissionDenied));
    assert_eq!(verdict("/w/x", lasting), Err(ErrorCode::BudgetExhausted));
    let rich = Circumstances { exhausted: None, ..lasting };
    assert_eq!(verdict("/w/x/", rich).unwrap().as_str(), "/w/x");
    assert_eq!(verdict("/w/x/", rich).unwrap().into_string(), "/w/x");
}

#[test]
fn an_operation_at_the_end_is_too_late() {
    let lease = parse(BUDGETED, r#"{"expires_at":"2026-08-14T11:00:00Z"}"#).unwrap();
    let expiry = Expiry::new(lease.expires_at().unwrap(), NOW);
    let at = |now| {
        let circumstances = Circumstances { running: true, expiry: Some(&expiry), now, exhausted: None };
        lease.authorize(&read("/w"), &circumstances, Policy::default())
    };
    let span = Duration::from_secs(90 * 60);
    assert!(at(NOW.after(span - Duration::from_millis(1))).is_ok());
    assert_eq!(at(NOW.after(span)), Err(Denial::Expired));
}

#[test]
fn denials_name_what_was_asked_and_what_was_tried() {
    let lease = lease(r#"{"fs.read":["/w/**","/v/"],"cost.budget":["USD:1"]}"#);
    let told = |target: &str| WireError::from(decide(&lease, "fs.read", target).unwrap_err());
    assert_eq!(details(&told("/x/")), r#"{"capability":"fs.read","target":"/x","patterns":["/w/**","/v/"]}"#);
    assert_eq!(
        details(&told("/w/../x\0")),
        r#"{"capability":"fs.read","target":"/w/../x\u0000","patterns":["/w/**","/v/"],"reason":"not_canonical"}"#
    );
    assert!(told("/w//x").message.contains("`fs.read` is not canonical: empty"));
    let long = "/ä".repeat(100_000);
    assert!(details(&told(&long)).len() < 5_000, "what is echoed is bounded");

    let other = WireError::from(decide(&lease, "x-vendor.acme.gpu", "a100").unwrap_err());
    assert_eq!(details(&other), r#"{"capability":"x-vendor.acme.gpu","target":"a100","patterns":[]}"#);

    let denial = Denial::Exhausted { currency: Currency::parse("USD").unwrap() };
    let error = WireError::from(&denial);
    assert_eq!((error.code, details(&error)), (ErrorCode::BudgetExhausted, r#"{"currency":"USD"}"#.into()));
    for (denial, code) in
        [(Denial::Stopped, ErrorCode::Cancelled), (Denial::Expired, ErrorCode::LeaseExpired)]
    {
        let error = WireError::from(denial);
        assert_eq!((error.code, error.details), (code, Details::None));
    }
}

#[test]
fn models_need_a_list_unless_the_deployment_says_otherwise() {
    let circumstances = Circumstances { running: true, expiry: None, now: NOW, exhausted: None };
    let model = Operation { capability: Capability::ModelUse, target: "gpt-4o" };
    let open = Policy { unlisted_models: true, ..Policy::default() };
    for (request, closed_verdict, open_verdict) in [
        ("{}", false, true),
        (r#"{"model.use":[]}"#, false, false),
        (r#"{"model.use":["gpt-*"]}"#, true, true),
        (r#"{"model.use":["other"]}"#, false, false),
    ] {
        let lease = lease(request);
        let verdict = |policy| lease.authorize(&model, &circumstances, policy).is_ok();
        assert_eq!((verdict(Policy::default()), verdict(open)), (closed_verdict, open_verdict), "{request}");
    }
    let spaced = Operation { target: "gpt 4", ..model };
    assert!(lease("{}").authorize(&spaced, &circumstances, open).is_err());
    let tool = Operation { capability: Capability::ToolCall, target: "gpt-4o" };
    assert!(lease("{}").authorize(&tool, &circumstances, open).is_err());

    // Where every model is permitted, a list is narrower than none.
    let listed = lease(r#"{"model.use":["gpt-*"]}"#);
    assert!(listed.subset_of(&lease("{}"), |_| None, open).is_ok());
    assert!(listed.subset_of(&lease("{}"), |_| None, Policy::default()).is_err());
    assert!(listed.subset_of(&lease(r#"{"model.use":[]}"#), |_| None, open).is_err());
}

#[test]
fn windows_rules_are_the_deployments() {
    let lease = lease(r#"{"fs.read":["/w/**"]}"#);
    let circumstances = Circumstances { running: true, expiry: None, now: NOW, exhausted: None };
    let policy = Policy { windows_paths: true, ..Policy::default() };
    assert!(decide(&lease, "fs.read", "/w/nul.txt").is_ok());
    let denial = lease.authorize(&read("/w/nul.txt"), &circumstances, policy).unwrap_err();
    assert!(matches!(denial, Denial::NotCanonical { .. }));
}

#[test]
fn a_fetch_says_whether_its_host_was_named() {
    let lease = lease(
        r#"{"net.fetch":["http://**/a/**","http://x.test/**","http://localhost:*/**","http://*.localhost/"]}"#,
    );
    for (target, named) in [
        ("http://y.test/a", false),
        ("http://x.test/a", true),
        ("http://x.test/b", true),
        ("http://localhost:8080/", true),
        ("http://a.localhost/", false),
    ] {
        assert_eq!(decide(&lease, "net.fetch", target).unwrap().names_one_host(), named, "{target}");
    }
}

fn amounts<'a>(left: &'a [(&'a str, &'a str)]) -> impl Fn(&Currency) -> Option<Amount> + 'a {
    move |currency| {
        left.iter()
            .find(|(name, _)| *name == currency.as_str())
            .map(|(_, amount)| Amount::parse(amount).unwrap())
    }
}

#[test]
fn restrictions_a_child_leaves_out_are_inherited() {
    let parent = parse(
        r#"{"fs.read":["/w/**"],"model.use":["a/*"],"cost.budget":["USD:5","EUR:2.00"]}"#,
        r#"{"expires_at":"2026-08-14T11:00:00Z"}"#,
    )
    .unwrap();
    let left = amounts(&[("USD", "0.58"), ("EUR", "1.5")]);
    let child = lease(r#"{"fs.read":["/w/x"],"cost.budget":["EUR:1.50","GBP:9"]}"#);
    let effective = child.inherit(&parent, &left, Policy::default()).unwrap();
    assert_eq!(
        effective.to_json().as_str(),
        r#"{"fs.read":["/w/x"],"model.use":["a/*"],"cost.budget":["EUR:1.50","GBP:9","USD:0.58"]}"#
    );
    assert_eq!(effective.budget_json().unwrap().as_str(), r#"{"EUR":1.5,"GBP":9,"USD":0.58}"#);
    assert_eq!(
        effective.constraints_json().unwrap().as_str(),
        r#"{"expires_at":"2026-08-14T11:00:00.000Z"}"#
    );
    let own: Vec<_> =
        effective.counters().as_slice().iter().map(|counter| counter.currency.as_str().to_string()).collect();
    assert_eq!(own, ["EUR", "GBP"], "the shared one is counted by the parent");
    let restored = Lease::restore(&effective.to_json(), effective.expires_at(), |c| c.as_str() == "USD");
    assert_eq!(restored, Ok(effective));

    let empty = lease("{}").inherit(&parent, &left, Policy::default()).unwrap();
    assert_eq!(empty.patterns(&Capability::FsRead), None, "grants are not inherited");
    assert!(empty.counters().as_slice().is_empty());
    let overdrawn = |_: &Currency| Some(Amount::from_units(-3));
    let effective = lease("{}").inherit(&parent, overdrawn, Policy::default()).unwrap();
    assert!(effective.to_json().as_str().contains(r#"["USD:0","EUR:0"]"#));
}

#[test]
fn children_ask_for_no_more_money_and_no_more_time() {
    let until = |time: &str| parse(BUDGETED, &alloc::format!("{{\"expires_at\":\"{time}\"}}")).unwrap();
    let parent = until("2026-08-14T11:00:00Z");
    let left = amounts(&[("USD", "0.5")]);
    let verdict = |child: &Lease| {
        child.inherit(&parent, &left, Policy::default()).map_err(|error| (error.code, details(&error)))
    };
    let violation = |text: &str| Err((ErrorCode::LeaseSubsetViolation, text.to_string()));
    assert_eq!(
        verdict(&lease(r#"{"cost.budget":["USD:0.500000001"]}"#)),
        violation(r#"{"capability":"cost.budget","pattern":"USD:0.500000001"}"#)
    );
    assert!(verdict(&lease(r#"{"cost.budget":["USD:0.50"]}"#)).is_ok());
    assert_eq!(
        verdict(&parse("{}", r#"{"expires_at":"2026-08-14T11:00:00.001Z"}"#).unwrap()),
        violation(r#"{"capability":"expires_at","pattern":"2026-08-14T11:00:00.001Z"}"#)
    );
    let sooner = parse("{}", r#"{"expires_at":"2026-08-14T10:00:00Z"}"#).unwrap();
    assert_eq!(verdict(&sooner).unwrap().expires_at(), sooner.expires_at());
    assert_eq!(
        verdict(&lease(r#"{"fs.read":["/w/a","/v/*"]}"#)),
        violation(r#"{"capability":"fs.read","pattern":"/v/*"}"#)
    );
    let unknown = lease(r#"{"cost.budget":["USD:0.1"]}"#).subset_of(&parent, |_| None, Policy::default());
    assert!(unknown.is_err(), "a counter nobody knows has nothing left");
    let nothing = lease(r#"{"cost.budget":["USD:0"]}"#).subset_of(&parent, |_| None, Policy::default());
    assert!(nothing.is_ok());
}

#[test]
fn what_is_inherited_must_fit_too() {
    let budget = |prefix: &str, count: usize| {
        let all: Vec<_> = (0..count).map(|index| alloc::format!("\"{prefix}{index}:1\"")).collect();
        lease(&alloc::format!("{{\"cost.budget\":[{}]}}", all.join(",")))
    };
    let inherit = |child: &Lease, parent: &Lease| code(child.inherit(parent, |_| None, Policy::default()));
    assert_eq!(inherit(&budget("A", 8), &budget("B", 8)), None);
    assert_eq!(inherit(&budget("A", 8), &budget("B", 9)), Some(ErrorCode::InvalidRequest));

    let models = std::vec![alloc::format!("\"{}\"", "m".repeat(510)); 60].join(",");
    let tools = std::vec![alloc::format!("\"{}\"", "t".repeat(510)); 60].join(",");
    let parent = lease(&alloc::format!("{{\"model.use\":[{models}],\"tool.call\":[\"**\"]}}"));
    let child = lease(&alloc::format!("{{\"tool.call\":[{tools}]}}"));
    assert_eq!(inherit(&child, &parent), Some(ErrorCode::InvalidRequest));
    assert_eq!(inherit(&lease("{}"), &parent), None);

    let vendors = |count: usize| {
        let all: Vec<_> = (0..count).map(|index| alloc::format!("\"x-vendor.a.n{index}\":[]")).collect();
        lease(&alloc::format!("{{{}}}", all.join(",")))
    };
    assert_eq!(inherit(&vendors(31), &lease(r#"{"model.use":[]}"#)), None);
    assert_eq!(inherit(&vendors(32), &lease(r#"{"model.use":[]}"#)), Some(ErrorCode::InvalidRequest));
}
