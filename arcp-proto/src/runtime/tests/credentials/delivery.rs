//! Who is shown a credential, and over what (D-17, D-19).

use super::*;
use crate::observe::{ObservePolicy, ObservedJob, Sight, Visibility};

struct Everybody;

impl ObservePolicy for Everybody {
    fn job(&self, _: &str, _: &ObservedJob<'_>) -> Sight {
        Sight::Follow
    }
}

fn features(welcome: &Value) -> String {
    welcome["payload"]["capabilities"]["features"].to_string()
}

#[test]
fn only_private_connections_carry_values() {
    let (mut world, a, welcome) = world();
    world.provisioned(a, "m1", "s3cr3t");
    for (address, is_private) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("192.0.2.7", false),
        ("2001:db8::1", false),
    ] {
        let connection = world.open_from(address);
        world.send(connection, "m-hello", "session.hello", hello("good", QUIET));
        let welcome = world.one(connection);
        assert_eq!(features(&welcome).contains("provisioned_credentials"), is_private, "{address}");
    }
    let far = world.open();
    world.send(far, "m-hello", "session.hello", hello("good", QUIET));
    assert!(!features(&world.one(far)).contains("provisioned_credentials"), "a WebSocket from nowhere");
    let secured = world.open_from("192.0.2.7");
    world.runtime.handle_secured(world.now, secured);
    world.send(secured, "m-hello", "session.hello", hello("good", QUIET));
    assert!(features(&world.one(secured)).contains("provisioned_credentials"));
    // A session that has negotiated it goes on over a connection that may be read, without values.
    world.cut(a);
    let (plain, frames) = world.resume(&welcome, 0, QUIET);
    assert_eq!(types(&frames), ["session.welcome", "job.accepted"], "D-66");
    assert!(!features(&frames[0]).contains("provisioned_credentials"));
    assert!(values(&frames[1]).is_empty());
    let again = world.ask(plain, "m2", "job.submit", {
        let mut submit = lease();
        submit["idempotency_key"] = json!("m1");
        submit
    });
    assert!(values(&again).is_empty());
    assert!(!world.texts[&plain].iter().any(|text| text.contains("s3cr3t")));
}

#[test]
fn an_acceptance_that_is_sent_again_has_the_current_value() {
    let (mut world, a, welcome) = world();
    world.provisioned(a, "m1", "s3cr3t");
    world.cut(a);
    let (_, frames) = resume_privately(&mut world, &welcome, 0);
    assert_eq!(types(&frames), ["session.welcome", "job.accepted"], "D-66");
    assert_eq!(values(&frames[1]), ["s3cr3t"], "D-19");
}

#[test]
fn only_the_submitter_sees_it_when_subscribing() {
    let mut config = provisioning();
    config.visibility = Visibility::new(Everybody);
    let mut world = World::with(config);
    let (a, _) = private(&mut world, "good", QUIET);
    let (job, id) = world.provisioned(a, "m1", "s3cr3t");
    let (same, _) = private(&mut world, "good", QUIET);
    let (without, _) = private(&mut world, "good", QUIET.without(Feature::ProvisionedCredentials));
    let (other, _) = private(&mut world, "other", QUIET);
    for (connection, shown) in [(same, true), (without, false), (other, false)] {
        let subscribed = world.ask(connection, "s1", "job.subscribe", json!({"job_id": id}));
        assert_eq!(subscribed["type"], "job.subscribed", "{subscribed}");
        assert_eq!(values(&subscribed), if shown { &["s3cr3t"][..] } else { &[] }, "D-17");
        let listed = world.ask(connection, "l1", "session.list_jobs", json!({}));
        assert!(!listed.to_string().contains("cred_"), "D-17");
    }
    world.runtime.rotate_credential(world.now, job).unwrap();
    world.settle();
    let (issue, request) = world.only_issue();
    world.make(issue, "s3cr3t-two");
    let new = request.credential.to_string();
    let body = |frame: &Value| frame["payload"]["body"].clone();
    assert_eq!(body(&world.one(same))["value"], "s3cr3t-two");
    assert_eq!(
        body(&world.one(other)),
        json!({"phase": "credential_rotated", "id": new, "details": {"id": new}}),
        "D-18"
    );
    assert!(world.take(without).is_empty());
    world.finish(job, "1");
    let (late, _) = private(&mut world, "good", QUIET);
    let history = json!({"job_id": id, "history": true});
    world.send(late, "s2", "job.subscribe", history);
    assert!(
        world.take(late).iter().all(|frame| !frame.to_string().contains("s3cr3t")),
        "forgotten at the end"
    );
    for connection in [without, other, late] {
        assert!(!world.texts[&connection].iter().any(|text| text.contains("s3cr3t")));
    }
}
