//! Credentials from a provisioner to agents and clients, and back to the upstream.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_driver::{
    AgentError, ApiMisuse, Client, ClientError, CredentialKey, IssueRequest, Issued, IssuedCredential,
    JobContext, JobKey, MemoryStore, Now, Provisioner, RequestError, Revocation, Revoked, Runtime,
    RuntimeBuilder, RuntimeEvent, Store,
};
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use common::{Counting, World};

const SECOND: Duration = Duration::from_secs(1);

/// A store in memory that says it is durable, and outlives its runtimes.
#[derive(Clone, Default)]
struct Durable(Arc<Mutex<MemoryStore>>);

impl Store for Durable {
    fn is_durable(&self) -> bool {
        true
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        self.0.lock().unwrap().submit(id, command)
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        Poll::Pending
    }
}

/// How the upstream behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mood {
    #[default]
    Good,
    /// Issues after fifteen seconds.
    Slow,
    /// Issues, and says that it failed.
    Half,
    /// Issues, and panics.
    Panics,
}

#[derive(Default)]
struct Upstream {
    mood: Mood,
    /// Nothing can be revoked before this time.
    down_until: Option<Now>,
    live: BTreeSet<CredentialKey>,
    revocations: usize,
}

/// A provisioner over an upstream that keeps what it has issued.
#[derive(Clone)]
struct Gateway {
    world: World,
    upstream: Arc<Mutex<Upstream>>,
}

impl Gateway {
    fn new(world: &World) -> Self {
        Self { world: world.clone(), upstream: Arc::default() }
    }

    fn set(&self, change: impl FnOnce(&mut Upstream)) {
        change(&mut self.upstream.lock().unwrap());
    }

    fn live(&self) -> usize {
        self.upstream.lock().unwrap().live.len()
    }
}

fn value(credential: CredentialKey) -> String {
    format!("s3cr3t-{credential}")
}

impl Provisioner for Gateway {
    fn issue(&self, request: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>> {
        let Self { world, upstream } = self.clone();
        Box::pin(async move {
            let mood = upstream.lock().unwrap().mood;
            if mood == Mood::Slow {
                world.sleep(15 * SECOND).await;
            }
            upstream.lock().unwrap().live.insert(request.credential);
            match mood {
                Mood::Good | Mood::Slow => {}
                Mood::Half => return Issued::Failed,
                Mood::Panics => panic!("as the test wants it"),
            }
            let issued = IssuedCredential::bearer(value(request.credential), "https://gw.example/v1");
            Issued::Credential(Box::new(issued))
        })
    }

    fn revoke(&self, revocation: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>> {
        let Self { world, upstream } = self.clone();
        Box::pin(async move {
            let mut upstream = upstream.lock().unwrap();
            upstream.revocations += 1;
            if upstream.down_until.is_some_and(|until| world.now().mono < until.mono) {
                return Revoked::Retry;
            }
            upstream.live.remove(&revocation.credential);
            Revoked::Done
        })
    }
}

/// Says what it was given, then so many times waits for something else and says that.
async fn tells(job: JobContext, rotations: u32) -> Result<(), AgentError> {
    let told = |job: &JobContext| {
        let credentials = job.credentials();
        credentials.first().map_or_else(|| "none".to_owned(), |given| given.id.clone())
    };
    for _ in 0..rotations {
        let first = told(&job);
        job.info(&first).await?;
        while told(&job) == first {
            job.progress(0).await?;
        }
    }
    job.info(&told(&job)).await?;
    Ok(())
}

fn builder(gateway: &Gateway, store: &Durable) -> RuntimeBuilder {
    Runtime::builder().agent("tells", tells).provisioner(gateway.clone()).store(store.clone())
}

fn key_of(id: &str) -> JobKey {
    JobKey::parse(id).unwrap()
}

fn is_internal(error: &ClientError) -> bool {
    matches!(error, ClientError::Request(RequestError::Refused(error)) if error.code == "INTERNAL_ERROR")
}

#[test]
fn agent_and_submitter_have_the_credential_while_the_job_runs() {
    let world = World::new();
    let (gateway, store) = (Gateway::new(&world), Durable::default());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let observed = builder(&gateway, &store).observer(move |event| seen.lock().unwrap().push(event.clone()));
    let (runtime, client, _) = world.pair(observed);
    let upstream = gateway.clone();
    let clock = world.clone();
    let shown = world.run(async move {
        let mut job = client.submit("tells").input(&2).await.unwrap();
        let credentials = job.credentials();
        assert_eq!(credentials.len(), 1);
        assert!(credentials[0].value.matches(&value(CredentialKey::parse(&credentials[0].id).unwrap())));
        assert!(job.accepted().credentials.is_empty(), "kept in one place only");
        let mut watch = client.subscribe(job.id()).await.unwrap();
        assert_eq!(watch.credentials(), credentials);
        let told = job.next().await.unwrap().unwrap();
        assert!(told.raw().as_str().contains(&credentials[0].id), "{told:?}");
        runtime.rotate(key_of(job.id().as_str())).await.unwrap();
        let mut rotated = Vec::new();
        while let Some(event) = job.next().await {
            let event = event.unwrap();
            if event.raw().as_str().contains("credential_rotated") {
                rotated.push(format!("{event:?}"));
                if rotated.len() == 2 {
                    continue;
                }
                let new = job.credentials();
                assert_ne!(new[0].id, credentials[0].id);
                assert!(new[0].value.matches(&value(CredentialKey::parse(&new[0].id).unwrap())));
                assert_eq!(new[0].endpoint, credentials[0].endpoint);
                runtime.rotate(key_of(job.id().as_str())).await.unwrap();
            }
        }
        assert!(job.credentials().is_empty(), "forgotten with the end");
        watch.result::<()>().await.unwrap();
        assert!(watch.credentials().is_empty());
        clock.settle().await;
        assert_eq!(upstream.live(), 0, "CRD-1");
        let gone = runtime.rotate(key_of(job.id().as_str())).await;
        assert_eq!(gone, Err(ApiMisuse::JobEnded));
        format!("{} {job:?} {watch:?} {credentials:?} {client:?}", rotated.concat())
    });
    let stored = format!("{:?}", store.0.lock().unwrap());
    assert!(stored.contains("cred_"), "the ledger is stored");
    let events = format!("{:?}", events.lock().unwrap());
    assert!(events.contains("CredentialIssued") && events.contains("CredentialRevoked"));
    for text in [shown, stored, events] {
        assert!(!text.contains("s3cr3t"), "SES-5: {text}");
    }
}

#[test]
fn an_upstream_that_fails_in_any_way_leaves_nothing_live() {
    for mood in [Mood::Slow, Mood::Half, Mood::Panics] {
        let world = World::new();
        let (gateway, store) = (Gateway::new(&world), Durable::default());
        gateway.set(|upstream| upstream.mood = mood);
        let (_runtime, client, _) = world.pair(builder(&gateway, &store));
        let (upstream, clock) = (gateway.clone(), world.clone());
        world.run(async move {
            let refused = client.submit("tells").input(&0).await.unwrap_err();
            assert!(is_internal(&refused), "{mood:?}: {refused}");
            clock.sleep(60 * SECOND).await;
            assert_eq!(upstream.live(), 0, "{mood:?}: CRD-3");
            upstream.set(|upstream| upstream.mood = Mood::Good);
            client.submit("tells").input(&0).await.unwrap().result::<()>().await.unwrap();
            clock.settle().await;
            assert_eq!(upstream.live(), 0);
        });
    }
}

#[test]
fn an_upstream_that_is_down_for_an_hour_is_told_in_the_end() {
    let world = World::new();
    let (gateway, store) = (Gateway::new(&world), Durable::default());
    let until = world.now().after(3_600 * SECOND);
    gateway.set(|upstream| upstream.down_until = Some(until));
    let (_runtime, client, _) = world.pair(builder(&gateway, &store));
    let (upstream, clock) = (gateway.clone(), world.clone());
    world.run(async move {
        client.submit("tells").input(&0).await.unwrap().result::<()>().await.unwrap();
        clock.sleep(3_500 * SECOND).await;
        assert_eq!(upstream.live(), 1);
        clock.sleep(3_700 * SECOND).await;
        assert_eq!(upstream.live(), 0, "CRD-1");
        let asked = upstream.upstream.lock().unwrap().revocations;
        assert!((5..20).contains(&asked), "D-52: ever more rarely, {asked}");
    });
}

#[test]
fn what_is_left_behind_is_revoked_at_the_next_start() {
    let world = World::new();
    let (gateway, store) = (Gateway::new(&world), Durable::default());
    let start = |seed| {
        let runtime =
            builder(&gateway, &store).bearer("token", "alice").entropy(Counting(seed)).build().unwrap();
        world.start(runtime)
    };
    let first = start(1);
    let client: Client = world.client(world.switchboard(&first));
    world.run(async move {
        let job = client.submit("tells").input(&1).await.unwrap();
        first.shut_down().await;
        drop(job);
    });
    assert_eq!(gateway.live(), 1);
    let _second = start(2);
    let clock = world.clone();
    world.run(async move { clock.sleep(SECOND).await });
    assert_eq!(gateway.live(), 0, "the sweep");
}

#[test]
fn a_store_that_forgets_gives_no_credentials() {
    let world = World::new();
    let gateway = Gateway::new(&world);
    let (runtime, client, _) =
        world.pair(Runtime::builder().agent("tells", tells).provisioner(gateway.clone()));
    world.run(async move {
        let mut job = client.submit("tells").input(&0).await.unwrap();
        assert!(job.credentials().is_empty());
        let told = job.next().await.unwrap().unwrap();
        assert!(told.raw().as_str().contains("none"), "D-52: {told:?}");
        let refused = runtime.rotate(key_of(job.id().as_str())).await;
        assert!(matches!(refused, Err(ApiMisuse::OutOfRange(_) | ApiMisuse::JobEnded)));
    });
    assert_eq!(gateway.live(), 0);
}

#[test]
fn the_observer_is_told_what_is_wrong_with_a_credential() {
    #[derive(Clone)]
    struct Plain;

    impl Provisioner for Plain {
        fn issue(&self, _: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>> {
            let issued = IssuedCredential::bearer("s3cr3t", "http://gw.example/v1");
            Box::pin(async move { Issued::Credential(Box::new(issued)) })
        }

        fn revoke(&self, _: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>> {
            Box::pin(async { Revoked::GiveUp })
        }
    }

    let world = World::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let (_runtime, client, _) = world.pair(
        Runtime::builder()
            .agent("tells", tells)
            .provisioner(Plain)
            .store(Durable::default())
            .observer(move |event| seen.lock().unwrap().push(event.clone())),
    );
    let clock = world.clone();
    world.run(async move {
        let refused = client.submit("tells").input(&0).await.unwrap_err();
        assert!(is_internal(&refused) && !refused.to_string().contains("gw.example"), "{refused}");
        clock.settle().await;
    });
    let events = events.lock().unwrap();
    let why = events.iter().find_map(|event| match event {
        RuntimeEvent::CredentialFailed { misuse, .. } => misuse.clone(),
        _ => None,
    });
    assert!(why.unwrap().to_string().contains("https://"), "it says what is allowed");
    assert!(events.iter().any(|event| matches!(event, RuntimeEvent::CredentialGivenUp { .. })));
    assert!(!format!("{events:?}").contains("s3cr3t"));
}
