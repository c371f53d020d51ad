//! The simulation kit: what it promises to those who test with it.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_driver::testing::{Direction, Failure, Fate, Outcome, Simulation, World, for_seeds};
use arcp_driver::{
    AgentError, ApiMisuse, Client, ClientConfig, ClientError, IssueRequest, Issued, IssuedCredential, Job,
    JobContext, JobError, JobKey, MemoryStore, Provisioner, Revocation, Revoked, Runtime, RuntimeBuilder,
    SessionEvent, SessionState, Store,
};
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use serde::{Deserialize, Serialize};

const TOKEN: &str = "alice's own token";
const SECOND: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Ask {
    topics: Vec<String>,
}

/// Searches, pays, waits, and has another agent do a part.
async fn research(job: JobContext, ask: Ask) -> Result<Vec<String>, AgentError> {
    let mut found = Vec::new();
    for (topic, number) in ask.topics.iter().zip(1..) {
        job.progress(number).of(ask.topics.len() as u64).units("topics").await?;
        let page: String = job.tool("search.web", &topic_of(topic), || search(&job, topic)).await?;
        job.cost("cost.search", "USD:0.01").await?;
        found.push(job.delegate("summarise").input(&page).budget("USD:0.10").await?.result().await?);
    }
    let left = job.remaining().await?;
    found.push(format!("{} left", left[0].1));
    Ok(found)
}

fn topic_of(topic: &str) -> serde_json::Value {
    serde_json::json!({ "topic": topic })
}

async fn search(job: &JobContext, topic: &str) -> Result<String, ApiMisuse> {
    job.sleep(Duration::from_millis(250)).await?;
    Ok(format!("All about {topic}. And more."))
}

async fn summarise(job: JobContext, page: String) -> Result<String, AgentError> {
    job.cost("cost.model", "USD:0.02").await?;
    job.sleep(Duration::from_millis(40)).await?;
    Ok(page.split_inclusive('.').take(1).collect())
}

fn agents(_: &World) -> RuntimeBuilder {
    Runtime::builder().bearer(TOKEN, "alice").agent("summarise", summarise).agent("research", research)
}

async fn ask(client: &Client) -> Result<Job, ClientError> {
    client
        .submit("research")
        .input(&Ask { topics: vec!["tea".into(), "rice".into(), "salt".into()] })
        .key("the question")
        .lease("tool.call", ["search.*"])
        .lease("agent.delegate", ["summarise"])
        .budget("USD:1.00")
        .await
}

/// What an application remembers of a job: its events in order, and its result.
async fn follow(mut job: Job) -> Result<(Vec<String>, Vec<String>), JobError> {
    let mut told = Vec::new();
    while let Some(event) = job.next().await {
        let event = event?;
        told.push(format!("{:?} {:?}", event.position(), event.kind()));
    }
    Ok((told, job.result().await?))
}

fn answer() -> Vec<String> {
    ["All about tea.", "All about rice.", "All about salt.", "0.91 left"].map(String::from).to_vec()
}

fn undisturbed(seed: u64) -> Outcome<(Vec<String>, Vec<String>)> {
    Simulation::seeded(seed).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        Ok(follow(ask(&client).await?).await?)
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_byte() {
    let run = |seed| {
        let outcome = Simulation::seeded(seed).store_delay(Duration::ZERO..SECOND / 100).runtime(agents).run(
            async |world| {
                let (first, second) = (world.connect(TOKEN), world.connect(TOKEN));
                world.link(&first).cut_every(5..20);
                let beside = world.spawn("second", async move { follow(ask(&second).await.unwrap()).await });
                let job = ask(&first).await?;
                world.sleep(SECOND / 10).await;
                world.crash_runtime();
                world.sleep(Duration::from_secs(world.draw(1..5))).await;
                world.restart_runtime();
                let _ = (follow(job).await, beside.await);
                Ok(())
            },
        );
        outcome.result().unwrap();
        (outcome.trace().to_string(), outcome.steps(), outcome.elapsed())
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn different_seeds_interleave_differently() {
    let order = |seed| {
        let outcome = Simulation::seeded(seed).runtime(agents).run(async |world| {
            let clients: Vec<_> = (0..3).map(|_| world.connect(TOKEN)).collect();
            let beside: Vec<_> = clients
                .into_iter()
                .map(|client| world.spawn("client", async move { follow(ask(&client).await.unwrap()).await }))
                .collect();
            for each in beside {
                each.await?;
            }
            Ok(())
        });
        // Without ids and times: who said what after whom.
        let frames = outcome.trace().frames();
        frames.map(|frame| format!("{} {}", frame.client(), frame.kind())).collect::<Vec<_>>()
    };
    let mut orders: Vec<_> = (0..20).map(order).collect();
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 15, "only {} of 20 seeds differ", orders.len());
}

#[test]
fn a_cut_behind_any_event_changes_nothing_for_the_client() {
    let outcome = undisturbed(1);
    let events = outcome.trace().frames().filter(|frame| frame.event_seq().is_some()).count();
    let (told, result) = outcome.unwrap();
    assert_eq!(result, answer());
    assert!(events > 20 && told.len() < events, "{events}");
    for cut in 0..=events as u64 {
        let outcome = Simulation::seeded(cut).runtime(agents).run(async |world| {
            let client = world.connect(TOKEN);
            client.connected().await?;
            let link = world.link(&client);
            link.cut_after_events(cut);
            let followed = follow(ask(&client).await?).await?;
            // The client that has everything has nothing to come back for.
            assert_eq!(link.connections(), if cut < events as u64 { 2 } else { 1 }, "behind event {cut}");
            Ok(followed)
        });
        let numbers: Vec<u64> =
            outcome.trace().arrived("job.event").filter_map(|frame| frame.event_seq()).collect();
        assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
        assert_eq!(outcome.unwrap(), (told.clone(), answer()), "behind event {cut}");
    }
}

#[test]
fn cuts_again_and_again_change_nothing_either() {
    let (told, _) = undisturbed(1).unwrap();
    for_seeds(0..40, |simulation| {
        let outcome = simulation.runtime(agents).run(async |world| {
            let client = world.connect(TOKEN);
            world.link(&client).cut_every(4..12);
            Ok(follow(ask(&client).await?).await?)
        });
        assert!(outcome.trace().says("is cut"));
        assert_eq!(outcome.unwrap(), (told.clone(), answer()));
    });
}

#[test]
fn what_the_runtime_lost_with_a_crash_is_told() {
    for_seeds(0..50, |simulation| {
        let outcome =
            simulation.store_delay(Duration::ZERO..SECOND / 100).runtime(agents).run(async |world| {
                let client = world.connect(TOKEN);
                let mut job = ask(&client).await?;
                let id = job.id().clone();
                world.sleep(Duration::from_millis(world.draw(1..900))).await;
                world.crash_runtime();
                assert!(world.runtime().is_none());
                world.sleep(SECOND).await;
                world.restart_runtime();
                let error = job.result::<Vec<String>>().await.unwrap_err();
                assert!(error.to_string().contains("INTERNAL_ERROR"), "{error}");
                // The key still names that job: nothing runs twice.
                assert_eq!(*ask(&client).await?.id(), id);
                Ok(())
            });
        outcome.unwrap();
    });
}

/// Goes on where it was when its runtime crashed.
async fn import(job: JobContext, files: u64) -> Result<u64, AgentError> {
    let done: u64 = job.last_checkpoint()?.unwrap_or(0);
    for file in done + 1..=files {
        job.sleep(SECOND).await?;
        job.progress(file).of(files).await?;
        job.checkpoint(&file).await?;
    }
    Ok(files)
}

#[test]
fn an_agent_that_can_goes_on_behind_a_crash() {
    for_seeds(0..40, |simulation| {
        let outcome = simulation
            .store_delay(Duration::ZERO..SECOND / 50)
            .runtime(|_| {
                Runtime::builder().bearer(TOKEN, "alice").agent("import@1", import).restartable("import@1")
            })
            .run(async |world| {
                let client = world.connect(TOKEN);
                let mut job = client.submit("import").input(&10).await?;
                let id = job.id().clone();
                for _ in 0..2 {
                    world.sleep(Duration::from_millis(world.draw(0..4_000))).await;
                    world.crash_runtime();
                    world.sleep(SECOND).await;
                    world.restart_runtime();
                }
                assert_eq!(job.result::<u64>().await?, 10);
                assert_eq!(*job.id(), id);
                Ok(())
            });
        outcome.unwrap();
    });
}

#[test]
fn what_hangs_is_found_out_and_what_waited_arrives() {
    for direction in [None, Some(Direction::ToClient), Some(Direction::ToRuntime)] {
        let outcome = Simulation::seeded(3).runtime(agents).run(async |world| {
            let client = world.connect(TOKEN);
            let mut session = client.events();
            let job = ask(&client).await?;
            let link = world.link(&client);
            match direction {
                Some(direction) => link.stall_towards(direction),
                None => link.stall(),
            }
            let lost = loop {
                match session.next().await {
                    Some(SessionEvent::Disconnected) => break world.elapsed(),
                    Some(_) => {}
                    None => unreachable!("nobody closed the session"),
                }
            };
            assert!(lost > 30 * SECOND && lost < 120 * SECOND, "{lost:?}");
            link.heal();
            let (_, result) = follow(job).await?;
            assert_eq!(result, answer());
            Ok(())
        });
        outcome.unwrap();
    }
    let outcome = Simulation::seeded(3).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        let job = ask(&client).await?;
        let link = world.link(&client);
        link.stall();
        world.sleep(20 * SECOND).await;
        link.heal();
        assert_eq!(follow(job).await?.1, answer());
        assert_eq!(link.connections(), 1, "a short stall loses nothing");
        Ok(())
    });
    assert!(outcome.elapsed() > 20 * SECOND);
    outcome.unwrap();
}

#[test]
fn a_runtime_that_has_not_noticed_a_cut_gives_the_session_to_the_next_connection() {
    let outcome = Simulation::seeded(5).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        let job = ask(&client).await?;
        world.link(&client).cut_unnoticed();
        assert_eq!(follow(job).await?.1, answer());
        Ok(())
    });
    let lost = outcome.trace().frames().filter(|frame| frame.fate() == Fate::Lost);
    assert!(lost.clone().all(|frame| frame.connection() == 1) && lost.count() > 0);
    assert!(outcome.trace().arrived("job.result").any(|frame| frame.connection() == 2));
    outcome.unwrap();
}

#[test]
fn a_link_that_is_down_refuses_until_it_is_healed() {
    let outcome = Simulation::seeded(6).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        let mut session = client.events();
        let job = ask(&client).await?;
        world.link(&client).take_down();
        let why = loop {
            if let Some(SessionEvent::ConnectFailed(why)) = session.next().await {
                break why;
            }
        };
        assert_eq!(&*why, "the link is down");
        world.links()[0].heal();
        assert_eq!(follow(job).await?.1, answer());
        Ok(())
    });
    outcome.unwrap();
}

/// Asks its lease before and after it has slept.
async fn doze(job: JobContext, seconds: u64) -> Result<(), AgentError> {
    job.tool("search.web", &topic_of("tea"), || async { Ok::<_, ApiMisuse>(()) }).await?;
    job.sleep(Duration::from_secs(seconds)).await?;
    job.tool("search.web", &topic_of("tea"), || async { Ok::<_, ApiMisuse>(()) }).await?;
    Ok(())
}

#[test]
fn a_clock_that_jumps_ends_leases() {
    let run = |jump: Option<bool>| {
        let outcome = Simulation::seeded(8)
            .runtime(|_| Runtime::builder().bearer(TOKEN, "alice").agent("doze", doze))
            .run(async |world| {
                let client = world.connect(TOKEN);
                let mut job = client
                    .submit("doze")
                    .input(&60)
                    .lease("tool.call", ["search.*"])
                    .expires_in(Duration::from_secs(600))
                    .await?;
                world.sleep(SECOND).await;
                let (clock, before) = (world.runtime_clock(), world.client_clock(&client).now());
                match jump {
                    Some(true) => clock.forward(Duration::from_secs(601)),
                    Some(false) => clock.back(Duration::from_secs(601)),
                    None => {}
                }
                assert_eq!(world.client_clock(&client).now(), before, "each has its own");
                Ok(job.result::<()>().await.map_err(|error| error.to_string()))
            });
        outcome.unwrap()
    };
    assert_eq!(run(None), Ok(()));
    assert_eq!(run(Some(false)), Ok(()));
    let expired = run(Some(true)).unwrap_err();
    assert!(expired.contains("LEASE_EXPIRED"), "{expired}");
}

#[test]
fn a_scenario_in_which_nothing_can_happen_is_told_who_waits() {
    async fn stuck(_: JobContext, (): ()) -> Result<(), AgentError> {
        std::future::pending().await
    }
    let agents = |_: &World| Runtime::builder().bearer(TOKEN, "alice").agent("stuck@1.0.0", stuck);
    let outcome = Simulation::seeded(1).runtime(agents).run(async |world| {
        drop(world.spawn("the night watch", std::future::pending::<()>()));
        world.sleep(SECOND).await;
        std::future::pending::<()>().await;
        Ok(())
    });
    let failure = outcome.result().unwrap_err();
    let Failure::Deadlock { waiting, .. } = failure else { panic!("{failure}") };
    assert_eq!(*waiting, ["runtime", "runtime's spawner", "the night watch"]);
    let words = panic_of(|| outcome.unwrap());
    let expected =
        "seed 1: nothing can happen any more after 1s, and the scenario still waits; so do: runtime, ";
    assert!(words.starts_with(expected) && words.contains("-- the runtime starts"), "{words}");

    // Whoever is connected has heartbeats, so that it is time that runs out.
    let outcome = Simulation::seeded(1).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        client.submit("stuck").await?.result::<()>().await?;
        Ok(())
    });
    let failure = outcome.result().unwrap_err();
    let Failure::OutOfTime { waiting, .. } = failure else { panic!("{failure}") };
    assert!(waiting.iter().any(|task| task.starts_with("agent stuck@1.0.0 of job_")), "{waiting:?}");
}

#[test]
fn a_scenario_has_limits_of_time_and_of_steps() {
    let outcome = Simulation::seeded(1).time_limit(300 * SECOND).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        world.sleep(299 * SECOND).await;
        world.link(&client).stall();
        std::future::pending::<()>().await;
        Ok(())
    });
    let failure = outcome.result().unwrap_err().to_string();
    assert!(
        failure
            .starts_with("the scenario still waits after 300s, the time limit of its world; so do: runtime"),
        "{failure}"
    );
    assert!(outcome.elapsed() <= 300 * SECOND);

    let outcome = Simulation::seeded(1).step_limit(1_000).runtime(agents).run(async |world| {
        let _busy = world.spawn("the busy one", async {
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })
            .await;
        });
        std::future::pending::<()>().await;
        Ok(())
    });
    let failure = outcome.result().unwrap_err().to_string();
    assert!(
        failure.contains("not over after 1000 steps") && failure.contains("the busy one (99"),
        "{failure}"
    );
    assert_eq!(outcome.steps(), 1_000);
}

#[test]
fn failures_are_told_with_their_seed() {
    let failing = Simulation::seeded(9).runtime(agents).run(async |_| Err::<(), _>("no luck".into()));
    assert_eq!(failing.result().unwrap_err().to_string(), "the scenario failed: no luck");
    let panicking = Simulation::seeded(9).runtime(agents).run(async |world| -> Result<(), _> {
        world.spawn("the clumsy one", async { panic!("as the test wants it") }).await;
        Ok(())
    });
    assert_eq!(panicking.result().unwrap_err().to_string(), "the clumsy one panicked: as the test wants it");
    let unbuilt = Simulation::seeded(9).runtime(|_| Runtime::builder()).run(async |_| Ok(()));
    assert!(unbuilt.result().unwrap_err().to_string().contains("admits nobody"));
    let absent = Simulation::seeded(9).run(async |_| Ok(()));
    assert!(absent.result().unwrap_err().to_string().contains("Simulation::runtime"));

    let seen = Mutex::new(Vec::new());
    let words = panic_of(|| {
        for_seeds(10..20, |simulation| {
            let outcome = simulation.runtime(agents).run(async |world| {
                world.note("the last words");
                Ok(world.seed())
            });
            let seed = outcome.unwrap();
            seen.lock().unwrap().push(seed);
            assert!(seed < 13, "the seed is too large");
        });
    });
    assert_eq!(*seen.lock().unwrap(), [10, 11, 12, 13], "it stops at the first failure");
    assert!(words.starts_with("seed 13: the seed is too large\n\n"), "{words}");
    assert!(words.contains("-- the last words\n") && words.contains("ARCP_SEED"), "{words}");
}

/// What a panic says.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).err().expect("a panic");
    panic.downcast_ref::<String>().expect("words").clone()
}

/// Gives every job a key, and another when it is asked again.
struct Gateway;

impl Provisioner for Gateway {
    fn issue(&self, request: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>> {
        let key = format!("gateway-key-{}", request.credential);
        Box::pin(async move {
            Issued::Credential(Box::new(IssuedCredential::bearer(key, "https://gateway.example/v1")))
        })
    }

    fn revoke(&self, _: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>> {
        Box::pin(async { Revoked::Done })
    }
}

#[test]
fn no_secret_is_in_the_trace() {
    async fn blab(job: JobContext, (): ()) -> Result<(), AgentError> {
        for _ in 0..2 {
            let credential = &job.credentials()[0];
            job.info(&format!("I use {}", credential.value.expose())).await?;
            job.sleep(SECOND).await?;
        }
        Ok(())
    }
    let outcome = Simulation::seeded(4)
        .runtime(|_| Runtime::builder().bearer(TOKEN, "alice").agent("blab", blab).provisioner(Gateway))
        .run(async |world| {
            let client = world.connect(TOKEN);
            let mut job = client.submit("blab").await?;
            let runtime = world.runtime().unwrap();
            runtime.rotate(JobKey::parse(job.id().as_str()).unwrap()).await?;
            world.link(&client).cut();
            world.note(format!("the token is {TOKEN}"));
            assert!(job.credentials()[0].value.expose().starts_with("gateway-key"));
            job.result::<()>().await?;
            Ok(())
        });
    let text = outcome.trace().to_string();
    for frame in outcome.trace().frames() {
        let all = format!("{frame:?} {}", frame.payload());
        assert!(!all.contains(TOKEN) && !all.contains("gateway-key") && !all.contains("\"rt_"), "{all}");
    }
    assert!(!text.contains(TOKEN) && !text.contains("gateway-key") && !text.contains("rt_"), "{text}");
    assert!(text.contains("I use [secret]") && text.contains("the token is [secret]"), "{text}");
    assert!(text.contains("credential_rotated"), "{text}");
    outcome.unwrap();
}

#[test]
fn a_client_that_crashes_says_nothing() {
    let outcome = Simulation::seeded(2).runtime(agents).run(async |world| {
        let client = world.connect_as("laptop", ClientConfig::new(TOKEN));
        let job = ask(&client).await?;
        world.crash_client(&client);
        assert!(matches!(client.state(), SessionState::DriverDropped));
        assert!(matches!(ask(&client).await, Err(ClientError::DriverDropped)));
        // Another session finds the job by its key.
        let other = world.connect(TOKEN);
        let again = ask(&other).await?;
        assert_eq!(again.id(), job.id());
        Ok(follow(again).await?.1)
    });
    assert!(outcome.trace().says("laptop crashes"));
    let closes = outcome.trace().frames().filter(|frame| frame.kind() == "session.close");
    assert_eq!(closes.filter(|frame| frame.client() == "laptop").count(), 0);
    assert_eq!(outcome.unwrap(), answer());
}

/// Answers later, and the last command first.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    store: MemoryStore,
    ready: Vec<(StoreId, StoreDone)>,
}

impl Store for Late {
    fn is_durable(&self) -> bool {
        false
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        let mut answers = self.0.lock().unwrap();
        let done = answers.store.submit(id, command)?;
        answers.ready.push((id, done));
        None
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        self.0.lock().unwrap().ready.pop().map_or(Poll::Pending, Poll::Ready)
    }
}

#[test]
fn any_store_is_kept_and_the_next_runtime_hears_no_answer_of_the_last() {
    let store = Late::default();
    let run = |delay: bool| {
        let mut simulation = Simulation::seeded(11).store(store.clone()).runtime(agents);
        if delay {
            simulation = simulation.store_delay(Duration::ZERO..SECOND / 50);
        }
        simulation.run(async |world| {
            let client = world.connect(TOKEN);
            let (id, at) = (ask(&client).await?.id().clone(), world.elapsed());
            world.sleep(Duration::from_millis(300)).await;
            world.restart_runtime();
            assert_eq!(*ask(&client).await?.id(), id);
            assert!(world.elapsed() > at);
            Ok(id)
        })
    };
    let first = run(false).unwrap();
    assert_eq!(run(true).unwrap(), first, "what was kept outlives the world");
}

#[test]
fn time_passes_only_when_nothing_else_can_happen() {
    let outcome = Simulation::seeded(1).runtime(agents).run(async |world| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let sleepers: Vec<_> = [3_u32, 1, 2]
            .into_iter()
            .map(|hours| {
                let (world, order) = (world.clone(), order.clone());
                let beside = world.clone();
                beside.spawn(format!("sleeper {hours}"), async move {
                    world.sleep(hours * 3_600 * SECOND).await;
                    order.lock().unwrap().push(hours);
                })
            })
            .collect();
        assert_eq!(world.elapsed(), Duration::ZERO);
        let early = world.within(3_600 * SECOND / 2, world.sleep(SECOND * 3_600)).await;
        assert_eq!(early.unwrap_err().to_string(), "it took longer than 1800s");
        assert!(world.within(3_600 * SECOND, world.sleep(SECOND)).await.is_ok());
        for sleeper in sleepers {
            sleeper.await;
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
        Ok(())
    });
    assert_eq!(outcome.elapsed(), 3 * 3_600 * SECOND);
    outcome.unwrap();
}

#[test]
fn an_agent_that_crashes_its_runtime_is_gone_with_it() {
    let reached = Arc::new(Mutex::new(0));
    let count = reached.clone();
    let outcome = Simulation::seeded(1)
        .runtime(move |world| {
            let (world, count) = (world.clone(), count.clone());
            Runtime::builder().bearer(TOKEN, "alice").agent("mad", move |job: JobContext, (): ()| {
                let (world, count) = (world.clone(), count.clone());
                async move {
                    world.crash_runtime();
                    // What runs goes on to its next await, as a machine may between losing and noticing.
                    *count.lock().unwrap() += 1;
                    job.sleep(SECOND).await?;
                    *count.lock().unwrap() += 1;
                    Ok(())
                }
            })
        })
        .run(async |world| {
            let client = world.connect(TOKEN);
            let crashed = world.within(10 * SECOND, async {
                client.submit("mad").await?.result::<()>().await.map_err(Box::<dyn std::error::Error>::from)
            });
            assert!(crashed.await.is_err() && world.runtime().is_none());
            Ok(())
        });
    outcome.unwrap();
    assert_eq!(*reached.lock().unwrap(), 1);
}

#[test]
fn who_stands_still_does_nothing_until_it_goes_on() {
    let outcome = Simulation::seeded(12).runtime(agents).run(async |world| {
        let client = world.connect(TOKEN);
        let job = ask(&client).await?;
        world.pause_runtime();
        world.sleep(20 * SECOND).await;
        world.resume_runtime();
        assert_eq!(follow(job).await?.1, answer());

        let job = ask(&client).await?;
        world.pause_client(&client);
        let followed = world.spawn("application", follow(job));
        world.sleep(3_600 * SECOND).await;
        world.resume_client(&client);
        assert_eq!(followed.await?.1, answer());
        Ok(())
    });
    let quiet = |from: &str, to: &str| {
        let entries = outcome.trace().entries();
        let at = |words: &str| entries.iter().position(|entry| entry.note() == Some(words)).unwrap();
        let between = entries[at(from)..at(to)].iter().filter_map(|entry| entry.frame());
        between.map(|frame| frame.direction()).collect::<Vec<_>>()
    };
    assert!(!quiet("the runtime stands still", "the runtime goes on").contains(&Direction::ToClient));
    assert!(!quiet("client1 stands still", "client1 goes on").contains(&Direction::ToRuntime));
    outcome.unwrap();
}

#[test]
fn a_builder_that_opens_a_store_of_its_own_keeps_it() {
    let store = Late::default();
    let opened = store.clone();
    let outcome =
        Simulation::seeded(1).runtime(move |world| agents(world).store(opened.clone())).run(async |world| {
            let client = world.connect(TOKEN);
            let id = ask(&client).await?.id().clone();
            world.restart_runtime();
            assert_eq!(*ask(&client).await?.id(), id);
            Ok(())
        });
    outcome.unwrap();
    assert!(Arc::strong_count(&store.0) == 1, "the world has let go of everything");
}
