//! A session lasts as long as the token that opened it.
#![cfg(feature = "jwt")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::time::Duration;

use arcp_driver::jwt::Jwt;
use arcp_driver::{
    AgentError, Client, ClientConfig, ClosedReason, JobContext, Runtime, RuntimeHandle, SessionEvent,
    SessionState,
};
use common::World;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const KEY: &[u8] = b"only the issuer and the runtime know it";

async fn whoami(job: JobContext, _: ()) -> Result<String, AgentError> {
    Ok(job.principal().to_owned())
}

fn runtime(world: &World) -> RuntimeHandle {
    let clock = world.clone();
    let jwt = Jwt::hs256("https://issuer.example", "arcp", KEY).unwrap().clock(move || clock.now().unix);
    world.runtime(Runtime::builder().agent("whoami", whoami).verifier(jwt))
}

/// A token of `bob` that is good for so long.
fn token(world: &World, life: Duration) -> String {
    let expires = world.now().unix.after(life).as_millis() / 1_000;
    let claims = format!(r#"{{"iss":"https://issuer.example","sub":"bob","aud":"arcp","exp":{expires}}}"#);
    let signed =
        [r#"{"alg":"HS256"}"#, &claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let mac: Hmac<Sha256> = Hmac::new_from_slice(KEY).unwrap();
    let signature = mac.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn client(world: &World, runtime: &RuntimeHandle, token: String) -> Client {
    world.client_with(world.switchboard(runtime), ClientConfig::new(token))
}

#[test]
fn the_session_is_closed_when_the_token_expires() {
    let world = World::new();
    let runtime = runtime(&world);
    let client = client(&world, &runtime, token(&world, Duration::from_secs(90)));
    let (inner, mut events) = (world.clone(), client.events());
    world.run(async move {
        let name = client.submit("whoami").await.unwrap().result::<String>().await.unwrap();
        assert_eq!(name, "https://issuer.example|bob");
        inner.sleep(Duration::from_secs(89)).await;
        assert!(matches!(client.state(), SessionState::Connected(_)), "{:?}", client.state());
        let mut told = None;
        let reason = loop {
            match events.next().await.unwrap() {
                SessionEvent::RuntimeError(error) => told = Some((error.code.clone(), inner.now().mono)),
                SessionEvent::Closed(reason) => break reason,
                _ => {}
            }
        };
        let end = arcp_driver::Instant::ZERO.after(Duration::from_secs(90));
        assert_eq!(told, Some(("UNAUTHENTICATED".into(), end)));
        // It then tries to resume, with the only token it has.
        assert!(matches!(&*reason, ClosedReason::Unauthenticated(_)), "{reason:?}");
        drop(runtime);
    });
}

#[test]
fn an_expired_token_opens_nothing() {
    let world = World::new();
    let runtime = runtime(&world);
    let late = token(&world, Duration::from_secs(90));
    let inner = world.clone();
    world.run(async move {
        inner.sleep(Duration::from_secs(90)).await;
        let client = client(&inner, &runtime, late);
        assert!(client.connected().await.is_err());
        assert!(matches!(client.state(), SessionState::Closed(reason)
            if matches!(&*reason, ClosedReason::Unauthenticated(_))));
    });
}
