//! Tokens are said on the wire, in their places, and nowhere else: not in logs, errors, records, nor in what anything prints
//! of itself.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "secrets/cores.rs"]
mod cores;
#[path = "secrets/overheard.rs"]
mod overheard;
#[path = "secrets/tap.rs"]
mod tap;

use std::error::Error;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arcp_driver::jwt::Jwt;
use arcp_driver::memory::{Switchboard, pair};
use arcp_driver::transport::{Incoming, Outgoing};
use arcp_driver::url::Endpoint;
use arcp_driver::{
    AgentError, Client, ClientConfig, Credentials, ErrorCode, IssueRequest, Issued, IssuedCredential,
    JobContext, JobKey, Provisioner, Revocation, Revoked, Runtime, RuntimeHandle, Secret, SessionEvents,
    ToolError, TransportKind, Verdict, Verifier,
};
use arcp_tests::stack::{Stack, Tokio};
use futures_util::{SinkExt, StreamExt};
use overheard::Overheard;
use serde_json::{Value, json};
use tap::{Ledger, Tapped};

const ALICE: &str = "canary-bearer-of-alice-5f1c09a2";
const BOB: &str = "canary-bearer-of-bob-e77d31b8";
const WRONG: &str = "canary-bearer-of-nobody-0c44f6d1";
const WRONG_RESUME: &str = "rt_canary-resume-of-nobody-9a52d7e30b1c64f8a7";
const ISSUER_KEY: &str = "canary-key-of-the-issuer-7b1d4e90";
/// Of `carol`, until the end of the year 9999.
const CAROL: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiY2Fyb2wiLCJhdWQiOiJhcmNwIiwiZXhwIjoyNTM0MDIzMDA3OTl9.pebZF-9gjdCi9ILbl93p-MEMXhMHQOJQtCdODIX1uYQ";
/// Of `carol`, until the second second of 1970.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiY2Fyb2wiLCJhdWQiOiJhcmNwIiwiZXhwIjoxfQ.83MlRzgPZiYtgbaDiq8YVtF257huuqVXYy3sp1qzHy4";

/// Says and streams a bit of everything.
async fn report(job: JobContext, _: Value) -> Result<(), AgentError> {
    job.info("begins").attributes(&json!({ "principal": job.principal() })).await?;
    job.thought("hm").await?;
    job.progress(1).of(2).await?;
    job.metric("pages", 3).unit("1").await?;
    job.tool_call("call_1", "search", &json!({})).await?;
    let refusal = ToolError { code: ErrorCode::PermissionDenied, message: "no".into(), details: None };
    job.tool_error("call_1", &refusal).await?;
    job.status("writing").await?;
    job.artifact("file:///tmp/a", "text/plain").await?;
    let mut text = job.stream_text();
    text.write("a text ").await?;
    text.write("in pieces").await?;
    Ok(text.finish().await?)
}

async fn fail(job: JobContext, _: Value) -> Result<(), AgentError> {
    Err(AgentError::new(format!("{job:?} cannot")))
}

async fn wait(job: JobContext, _: Value) -> Result<(), AgentError> {
    job.stopping().await;
    Ok(())
}

/// Makes secrets, and forgets them.
struct Gateway(Overheard);

impl Provisioner for Gateway {
    fn issue(&self, request: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>> {
        // Of its own for each credential, and without any piece of the id, which is no secret.
        let value = format!("canary-{:032x}", !request.credential.ulid().bits());
        self.0.secret("credential", &value);
        self.0.show("provisioner", &request);
        let issued = IssuedCredential::bearer(value, "https://gateway.example/v1");
        let issued = Issued::Credential(Box::new(issued));
        self.0.show("provisioner", &issued);
        Box::pin(async move { issued })
    }

    fn revoke(&self, revocation: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>> {
        self.0.show("provisioner", &revocation);
        Box::pin(async { Revoked::Done })
    }
}

fn jwt() -> Jwt {
    Jwt::hs256("https://issuer.example", "arcp", ISSUER_KEY.as_bytes()).unwrap()
}

fn runtime(overheard: &Overheard) -> Runtime {
    let events = overheard.clone();
    let builder = Runtime::builder()
        .bearer(ALICE, "alice")
        .bearer(BOB, "bob")
        .verifier(jwt())
        .agent("report", report)
        .agent("fail", fail)
        .agent("wait", wait)
        .store(Ledger::new(overheard))
        .provisioner(Gateway(overheard.clone()))
        .observer(move |event| events.show("runtime events", event))
        .config(|config| overheard.show("configuration", config));
    overheard.show("configuration", &builder);
    let runtime = builder.build().unwrap();
    overheard.show("configuration", &runtime);
    runtime
}

/// A client, and a task that writes down what it is told of its session.
fn client(
    overheard: &Overheard,
    switchboard: &Switchboard,
    token: &str,
) -> (Client, tokio::task::JoinHandle<()>) {
    let mut config = ClientConfig::new(token);
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(10);
    overheard.show("configuration", &config);
    let connector = Tapped { connector: switchboard.clone(), overheard: overheard.clone() };
    let client = arcp_tokio::spawn_client(connector, config).unwrap();
    overheard.show("handles", &client);
    let listening = tokio::spawn(listen(overheard.clone(), client.events()));
    (client, listening)
}

async fn listen(overheard: Overheard, mut events: SessionEvents) {
    while let Some(event) = events.next().await {
        overheard.show("session events", &event);
    }
}

fn refused<T: Debug>(overheard: &Overheard, result: Result<T, impl Error>) {
    overheard.error("errors", &result.unwrap_err());
}

/// Everything a client can ask for, with a lost connection in the middle.
async fn use_everything(
    overheard: &Overheard,
    runtime: &RuntimeHandle,
    switchboard: &Switchboard,
    client: &Client,
) {
    let submit = client.submit("report").key("key-1").max_runtime(Duration::from_secs(60));
    let mut job = submit.lease("tool.call", ["search"]).budget("USD:1.00").await.unwrap();
    overheard.show("handles", &job);
    overheard.show("job events", job.accepted());
    while let Some(event) = job.next().await {
        let event = event.unwrap();
        overheard.show("job events", &event);
        overheard.show("job events", &event.body());
    }
    overheard.show("job events", &job.output().await.unwrap());
    refused(overheard, client.submit("report").key("key-1").input(&1).await);
    refused(overheard, client.submit("nobody").await);
    let mut failing = client.submit("fail").await.unwrap();
    refused(overheard, failing.result::<()>().await);

    let mut waiting = client.submit("wait").await.unwrap();
    let first = waiting.credentials();
    overheard.show("handles", &first);
    runtime.rotate(JobKey::parse(waiting.id().as_str()).unwrap()).await.unwrap();
    let rotated = waiting.next().await.unwrap().unwrap();
    overheard.show("job events", &rotated);
    overheard.show("job events", &rotated.body());
    assert_ne!(waiting.credentials(), first);
    for _ in 0..3 {
        let session = client.session_id();
        switchboard.cut();
        // Answered over the next connection, which has resumed.
        refused(overheard, client.submit("nobody").await);
        assert_eq!(client.session_id(), session);
    }
    let mut watch = client.watch(waiting.id()).await.unwrap();
    overheard.show("handles", &watch);
    overheard.show("job events", &client.jobs().all().await.unwrap());
    overheard.show("job events", &waiting.cancel().reason("enough").await.unwrap());
    refused(overheard, waiting.result::<()>().await);
    refused(overheard, watch.result::<()>().await);
    overheard.show("handles", &client.state());
    overheard.show("handles", &client.connected().await);
    client.close().await;
    refused(overheard, client.submit("report").await);
}

/// Sends these payloads of `session.hello` as they are, each over a connection of its own, and hears the answers.
async fn say_hello(overheard: &Overheard, runtime: &RuntimeHandle, payload: &Value) {
    let (mut near, far) = pair();
    let hello = json!({"arcp": "1.1", "id": "m1", "type": "session.hello", "payload": payload});
    near.send(Outgoing::Frame(hello.to_string())).await.unwrap();
    // The second is too much for whoever was let in.
    near.send(Outgoing::Frame(hello.to_string())).await.unwrap();
    // Whoever is refused is hung up on at once, so both are said before the runtime listens.
    let task = tokio::spawn(runtime.accept(far, TransportKind::Memory));
    let answers: Vec<_> = near.by_ref().take(2).collect().await;
    assert!(!answers.is_empty(), "{payload}");
    for answer in answers {
        if let Incoming::Frame(frame) = answer.unwrap() {
            overheard.frame(str::from_utf8(&frame).unwrap());
        }
    }
    drop(near);
    task.await.unwrap();
}

/// Hellos that say their tokens in all the wrong ways.
async fn say_hello_wrongly(overheard: &Overheard, runtime: &RuntimeHandle) {
    let auth = |token: &str| json!({"scheme": "bearer", "token": token});
    let long = WRONG.repeat(300);
    for payload in [
        json!({"auth": auth(WRONG)}),
        json!({"auth": auth(&long)}),
        json!({"auth": auth(EXPIRED)}),
        json!({"auth": auth(&CAROL[1..])}),
        json!({"auth": {"scheme": WRONG, "token": ALICE}}),
        json!({"auth": {"scheme": "bearer", "token": [ALICE]}}),
        json!({"auth": ALICE}),
        json!({"auth": {"scheme": ALICE}}),
        json!({"token": ALICE}),
        json!({"auth": auth(ALICE), "capabilities": ALICE}),
        json!({"auth": auth(ALICE), "resume_token": WRONG_RESUME}),
        json!({"auth": auth(ALICE), "resume": {"resume_token": WRONG_RESUME, "session_id": "sess_1"}}),
        json!({"auth": auth(ALICE), "resume": {"resume_token": WRONG_RESUME}, "resume_token": ALICE}),
        json!({"auth": auth(ALICE), "resume": {"resume_token": {"x": WRONG_RESUME}}}),
        json!({"auth": auth(CAROL), "resume": WRONG_RESUME}),
    ] {
        say_hello(overheard, runtime, &payload).await;
    }
}

/// What has to do with tokens and is no part of a session.
async fn look_around(overheard: &Overheard) {
    let verifier = jwt();
    overheard.show("verifiers", &verifier);
    for token in [CAROL, EXPIRED, &CAROL[1..], ALICE] {
        let credentials = Credentials::Bearer(Secret::new(token));
        overheard.show("verifiers", &credentials);
        overheard.show("verifiers", &Verifier::verify(&verifier, credentials).await);
        overheard.show("verifiers", &verifier.check(token));
    }
    let short = Jwt::hs256("i", "a", &ISSUER_KEY.as_bytes()[..31]);
    overheard.error("errors", &short.unwrap_err());
    let twice = Runtime::builder().bearer(ALICE, "alice").bearer(ALICE, "bob");
    refused(overheard, twice.build());
    let verdict = Verdict::Accept { principal: Arc::from("alice"), until: None };
    overheard.show("verifiers", &verdict);
    for url in
        [format!("ws://{ALICE}@localhost"), format!("http://{ALICE}"), format!("ws://:{ALICE}@[::1]:1/")]
    {
        refused(overheard, url.parse::<Endpoint>());
        refused(overheard, Tokio::connect(url).token(BOB).await);
    }
    let nobody = Tokio::connect("ws://127.0.0.1:1".to_owned()).token(ALICE);
    let nobody = nobody.config(|config| config.max_attempts = Some(1));
    overheard.show("handles", &nobody);
    refused(overheard, nobody.await);
}

#[test]
fn no_secret_is_shown_by_anything() {
    let overheard = Overheard::default();
    for (kind, secret) in [
        ("bearer", ALICE),
        ("bearer", BOB),
        ("bearer", WRONG),
        ("web token", CAROL),
        ("web token", EXPIRED),
        ("key of web tokens", ISSUER_KEY),
        ("resume token", WRONG_RESUME),
    ] {
        overheard.secret(kind, secret);
    }
    Tokio::run(async {
        let runtime = Tokio::start(runtime(&overheard));
        overheard.show("handles", &runtime);
        let switchboard = Switchboard::new(runtime.clone(), |connection| drop(tokio::spawn(connection)));
        overheard.show("handles", &switchboard);
        for token in [ALICE, BOB, CAROL] {
            let (client, listening) = client(&overheard, &switchboard, token);
            use_everything(&overheard, &runtime, &switchboard, &client).await;
            listening.await.unwrap();
        }
        for token in [WRONG, EXPIRED] {
            let (client, listening) = client(&overheard, &switchboard, token);
            refused(&overheard, client.connected().await);
            overheard.show("handles", &client.state());
            listening.await.unwrap();
        }
        say_hello_wrongly(&overheard, &runtime).await;
        look_around(&overheard).await;
        runtime.shut_down().await;
    });
    cores::talk(&overheard);

    // Otherwise the silence would prove nothing.
    let secrets = overheard.secrets();
    assert!(
        secrets["bearer"] >= 3
            && secrets["web token"] == 2
            && secrets["key of web tokens"] == 1
            && secrets["credential"] >= 3 * 3,
        "{secrets:?}"
    );
    assert!(secrets["resume token"] >= 3 * 4 + 2, "every resume has a token of its own: {secrets:?}");
    assert_eq!(
        overheard.places(),
        [
            "configuration",
            "cores",
            "errors",
            "frames",
            "handles",
            "job events",
            "messages",
            "provisioner",
            "records",
            "runtime events",
            "session events",
            "transports",
            "verifiers",
        ]
    );
    let leaks = overheard.leaks();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}
