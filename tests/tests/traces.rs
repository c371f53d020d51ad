//! x
use arcp_tests::link::*;
#[test]
fn fresh() {
    let mut world = World::new();
    world.agent("a", Script::new().progress(1, 3).log("hello").progress(2,3).chunk("some ", true).chunk("text", true).chunk("", false).returns("null"));
    let alice = world.client();
    world.submit(alice, "a", "key", r#"{"x":1}"#);
    world.run_until("the end", |w| w.application(0).ended() == 1);
    world.peers[alice].endpoint.close(world.now, Some("done".into()));
    world.run_for(std::time::Duration::from_secs(2));
    for (d, t, _) in world.trace.frames() { println!("{d:?} {t}"); }
    println!("{}", world.trace.lines());
    println!("{:?}", world.application(0).story(&world.first_job(0)));
}
