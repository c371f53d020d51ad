//! What a session survives, and how it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arcp_driver::{
    AgentError, ClientConfig, ClientError, ClosedReason, Credentials, EventBody, Job, JobContext, JobError,
    Runtime, SessionEvent, SessionState, Verdict,
};
use common::World;
use serde_json::Value;

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
    for number in 1..=to {
        job.progress(number).of(to).await?;
    }
    Ok(to)
}

/// The position of the job's next event; the runtime's words about this session have none.
async fn next_position(job: &mut Job) -> u64 {
    loop {
        let event = job.next().await.unwrap().unwrap();
        match event.position() {
            Some(position) => return position,
            None => assert!(
                matches!(event.body().unwrap(), EventBody::Status { phase, .. } if phase == "back_pressure"),
            ),
        }
    }
}

#[test]
fn a_cut_link_loses_and_doubles_nothing() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(Runtime::builder().agent("count", count));
    let session = client.clone();
    let mut events = client.events();
    world.run(async move {
        let mut job = client.submit("count").input(&20_000).await.unwrap();
        for number in 1..=20_000 {
            assert_eq!(next_position(&mut job).await, number);
            if number % 3_000 == 0 {
                switchboard.cut();
            }
        }
        assert_eq!(job.result::<u64>().await.unwrap(), 20_000);
        client.close().await;
    });
    assert!(matches!(session.state(), SessionState::Closed(reason) if *reason == ClosedReason::Requested));
    let heard = world.run(async move {
        let (mut resumed, mut lost) = (0, 0);
        while let Some(event) = events.next().await {
            match event {
                SessionEvent::Connected(connected) => resumed += usize::from(connected.resumed),
                SessionEvent::Disconnected => lost += 1,
                SessionEvent::Closed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        (resumed, lost)
    });
    assert!(heard.0 >= 4 && heard.0 == heard.1, "{heard:?}");
}

#[test]
fn submits_wait_for_the_link() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(Runtime::builder().agent("echo", echo));
    let inner = world.clone();
    world.run(async move {
        client.connected().await.unwrap();
        switchboard.set_down(true);
        switchboard.cut();
        let submit = client.submit("echo").input(&7);
        let waiting = submit.into_future();
        inner.sleep(Duration::from_secs(5)).await;
        assert!(matches!(client.state(), SessionState::Disconnected));
        switchboard.set_down(false);
        client.reconnect_now();
        assert_eq!(waiting.await.unwrap().result::<i32>().await.unwrap(), 7);
    });
}

#[test]
fn a_slow_reader_holds_the_agent_and_no_one_else() {
    let world = World::new();
    let said = Arc::new(AtomicUsize::new(0));
    let counter = said.clone();
    let flood = move |job: JobContext, _: ()| {
        let counter = counter.clone();
        async move {
            while !job.is_stopping() {
                job.info("a line that nobody reads").await?;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let runtime = world.runtime(Runtime::builder().agent("flood", flood).agent("echo", echo));
    let switchboard = world.switchboard(&runtime);
    let slow = world.client_with(switchboard.clone(), {
        let mut config = ClientConfig::new("token");
        config.untaken_events = 500;
        config
    });
    let quick = world.client(switchboard);
    let inner = world.clone();
    let counter = said.clone();
    world.run(async move {
        let mut job = slow.submit("flood").await.unwrap();
        inner.sleep(Duration::from_secs(1)).await;
        let stopped_at = counter.load(Ordering::Relaxed);
        inner.sleep(Duration::from_secs(10)).await;
        assert_eq!(counter.load(Ordering::Relaxed), stopped_at, "the agent waits");
        assert!(stopped_at < 100_000, "{stopped_at}");
        for number in 0..100 {
            let mut job = quick.submit("echo").input(&number).await.unwrap();
            assert_eq!(job.result::<i32>().await.unwrap(), number);
        }
        for position in 1..=u64::try_from(stopped_at).unwrap() {
            assert_eq!(next_position(&mut job).await, position);
        }
        inner.sleep(Duration::from_secs(1)).await;
        assert!(counter.load(Ordering::Relaxed) > stopped_at, "and goes on once it is read");
        // The answer comes behind what waits unread, so reading goes on.
        let cancel = job.cancel().into_future();
        while let Some(event) = job.next().await {
            event.unwrap();
        }
        cancel.await.unwrap();
    });
}

#[test]
fn closing_ends_what_is_asked_and_leaves_the_job() {
    let world = World::new();
    let waits = |job: JobContext, _: ()| async move {
        job.stopping().await;
        Ok(())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("waits", waits));
    world.run(async move {
        let mut job = client.submit("waits").await.unwrap();
        client.close().await;
        assert!(matches!(job.next().await, Some(Err(JobError::Closed(_)))));
        assert!(job.next().await.is_none());
        assert!(matches!(job.result::<()>().await, Err(JobError::Closed(_))));
        assert!(matches!(client.submit("waits").await, Err(ClientError::Closed(_))));
        assert!(matches!(client.connected().await, Err(ClientError::Closed(_))));
    });
}

#[test]
fn dropping_every_handle_closes_the_session() {
    let world = World::new();
    let (runtime, client, switchboard) = world.pair(Runtime::builder().agent("echo", echo));
    let mut events = client.events();
    world.run(async move {
        let mut job = client.submit("echo").input(&1).await.unwrap();
        drop(client);
        assert_eq!(job.result::<i32>().await.unwrap(), 1, "a job alone keeps its session");
        drop(job);
        while let Some(event) = events.next().await {
            if let SessionEvent::Closed(reason) = event {
                assert_eq!(*reason, ClosedReason::Requested);
            }
        }
        drop(switchboard);
        drop(runtime);
    });
}

#[test]
fn a_wrong_token_is_final() {
    let world = World::new();
    let runtime = world.runtime(Runtime::builder().agent("echo", echo));
    let client = world.client_with(world.switchboard(&runtime), ClientConfig::new("wrong"));
    world.run(async move {
        let error = client.connected().await.unwrap_err();
        let ClientError::Closed(reason) = error else { panic!("{error:?}") };
        assert!(matches!(&*reason, ClosedReason::Unauthenticated(_)), "{reason:?}");
        drop(runtime);
    });
}

#[test]
fn verifiers_decide_in_their_own_time() {
    let world = World::new();
    let clock = world.clone();
    let runtime = world.runtime(Runtime::builder().agent("whoami", whoami).verifier(move |credentials| {
        let wait = clock.sleep(Duration::from_secs(1));
        async move {
            wait.await;
            match credentials {
                Credentials::Bearer(token) if token.matches("late") => {
                    Verdict::Accept { principal: "bob".into(), until: None }
                }
                _ => Verdict::Refuse,
            }
        }
    }));
    let switchboard = world.switchboard(&runtime);
    let late = world.client_with(switchboard.clone(), ClientConfig::new("late"));
    let known = world.client(switchboard);
    world.run(async move {
        assert_eq!(late.submit("whoami").await.unwrap().result::<String>().await.unwrap(), "bob");
        assert_eq!(known.submit("whoami").await.unwrap().result::<String>().await.unwrap(), "alice");
        drop(runtime);
    });
}

async fn whoami(job: JobContext, _: ()) -> Result<String, AgentError> {
    Ok(job.principal().to_owned())
}

#[test]
fn shutting_down_says_goodbye_and_ends() {
    let world = World::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Canary(Arc<AtomicUsize>);
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let flag = dropped.clone();
    let waits = move |job: JobContext, _: ()| {
        let canary = Canary(flag.clone());
        async move {
            job.info("started").await?;
            std::future::pending::<()>().await;
            drop(canary);
            Ok(())
        }
    };
    let (runtime, client, _) = world.pair(Runtime::builder().agent("waits", waits));
    let mut events = client.events();
    world.run(async move {
        let mut job = client.submit("waits").await.unwrap();
        job.next().await.unwrap().unwrap();
        runtime.shut_down().await;
        loop {
            match events.next().await.unwrap() {
                SessionEvent::Disconnected => break,
                SessionEvent::Connected(_) => {}
                other => panic!("{other:?}"),
            }
        }
        drop((job, client));
    });
    world.run_until_stalled();
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "agents end with their runtime");
}

#[test]
fn shutting_down_does_not_wait_for_a_flood() {
    let world = World::new();
    let flood = |job: JobContext, _: ()| async move {
        while job.info("and on it goes").await.is_ok() {}
        Ok(())
    };
    let (runtime, client, _) = world.pair(Runtime::builder().agent("flood", flood));
    world.run(async move {
        drop(client.submit("flood").await.unwrap());
        client.close().await;
        runtime.shut_down().await;
    });
    // Comes to rest only if the agent has ended, too.
    world.run_until_stalled();
}

#[test]
fn a_dropped_driver_is_noticed() {
    let world = World::new();
    let runtime = world.runtime(Runtime::builder().agent("echo", echo));
    let (client, driver) =
        arcp_driver::Client::with(world.switchboard(&runtime), ClientConfig::new("token"), world.timer())
            .unwrap();
    world.run(async move {
        drop(driver);
        assert!(matches!(client.submit("echo").await, Err(ClientError::DriverDropped)));
        assert!(matches!(client.state(), SessionState::DriverDropped));
        client.close().await;
        drop(runtime);
    });
}
