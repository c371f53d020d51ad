//! `wss://`: what is verified, what is refused, and that everything works through it, over both drivers.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use arcp_driver::connect::ClientStartError;
use arcp_driver::listen::{ListenOptions, ServeError};
use arcp_driver::tls::{ClientTls, PemFault, ServerTls, TlsError};
use arcp_driver::websocket::ConnectOptions;
use arcp_driver::{AgentError, JobContext, Runtime};
use arcp_tests::stack::{AsyncStd, Stack, Tokio};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

fn tls((certificate, key): (String, String)) -> ServerTls {
    ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).expect("a certificate and its key")
}

fn trusting(authority: &Authority) -> ClientTls {
    ClientTls::with_authorities(authority.pem().as_bytes()).expect("an authority")
}

fn runtime() -> Runtime {
    let builder = Runtime::builder()
        .bearer("token", "alice")
        .agent("echo", |_: JobContext, input: Value| async move { Ok::<_, AgentError>(input) });
    builder.build().expect("nothing is wrong with it")
}

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

async fn served<S: Stack>(identity: (String, String)) -> (S::Serving, SocketAddr) {
    let options = ListenOptions::default().tls(tls(identity));
    S::serve_with(runtime(), SocketAddr::from(ANY_PORT), options).await.expect("a free port")
}

/// What came of connecting.
async fn connect<S: Stack>(url: String, tls: ClientTls) -> Result<Value, ClientStartError> {
    let connect = S::connect(url).token("token").tls(tls);
    let client = connect.config(|config| config.max_attempts = Some(1)).await?;
    let input = json!({"text": "x".repeat(100_000)});
    let mut job = client.submit("echo").input(&input).await.expect("it is accepted");
    let output: Value = job.result().await.expect("it is echoed");
    assert_eq!(output, input);
    client.close().await;
    Ok(output)
}

fn a_session_goes_through_tls<S: Stack>() {
    S::run(async {
        let (serving, address) = served::<S>(AUTHORITY.sign("localhost", |_| {})).await;
        let url = format!("wss://localhost:{}/arcp", address.port());
        connect::<S>(url, trusting(&AUTHORITY)).await.expect("it verifies");
        S::shut_down(serving).await;
        let (serving, address) = served::<S>(AUTHORITY.sign("127.0.0.1", |_| {})).await;
        connect::<S>(format!("wss://{address}/arcp"), trusting(&AUTHORITY)).await.expect("addresses too");
        S::shut_down(serving).await;
    });
}

#[test]
fn a_session_goes_through_tls_on_tokio() {
    a_session_goes_through_tls::<Tokio>();
}

#[test]
fn a_session_goes_through_tls_on_async_std() {
    a_session_goes_through_tls::<AsyncStd>();
}

/// Identities that must not be accepted by who trusts that authority, and a word of why.
fn wrong() -> Vec<((String, String), Authority, &'static str)> {
    let day = time::Duration::DAY;
    let now = OffsetDateTime::now_utc;
    let by = |change: &dyn Fn(&mut CertificateParams)| {
        let authority = Authority::new();
        (authority.sign("localhost", change), authority)
    };
    let (expired, past) = by(&|params| {
        params.not_before = now() - 3 * day;
        params.not_after = now() - day;
    });
    let (early, future) = by(&|params| params.not_before = now() + day);
    let elsewhere = Authority::new();
    let itself = Authority::new();
    vec![
        (elsewhere.sign("elsewhere.example", |_| {}), elsewhere, "not valid for name"),
        (expired, past, "expired"),
        (early, future, "not valid yet"),
        (AUTHORITY.sign("localhost", |_| {}), Authority::new(), "invalid peer certificate"),
        ((itself.pem(), itself.0.key().serialize_pem()), Authority::new(), "invalid peer certificate"),
    ]
}

fn what_does_not_verify_is_refused<S: Stack>() {
    for (identity, trusted, why) in wrong() {
        S::run(async {
            let (serving, address) = served::<S>(identity).await;
            let url = format!("wss://localhost:{}/arcp", address.port());
            let refused = connect::<S>(url, trusting(&trusted)).await;
            assert!(refused.is_err(), "{why}");
            S::shut_down(serving).await;
        });
    }
}

#[test]
fn what_does_not_verify_is_refused_on_tokio() {
    what_does_not_verify_is_refused::<Tokio>();
}

#[test]
fn what_does_not_verify_is_refused_on_async_std() {
    what_does_not_verify_is_refused::<AsyncStd>();
}

#[test]
fn it_is_said_what_is_wrong_with_a_certificate() {
    for (identity, trusted, why) in wrong() {
        Tokio::run(async {
            let (serving, address) = served::<Tokio>(identity).await;
            let url = format!("wss://localhost:{}/arcp", address.port());
            let options = ConnectOptions { tls: Some(trusting(&trusted)), ..ConnectOptions::default() };
            let said = arcp_tokio::websocket::connect(&url, &options).await.unwrap_err().to_string();
            assert!(said.contains(why), "{said} for {why}");
            Tokio::shut_down(serving).await;
        });
    }
}

#[test]
fn only_tls_speaks_to_tls() {
    Tokio::run(async {
        let (serving, address) = served::<Tokio>(AUTHORITY.sign("localhost", |_| {})).await;
        let plain = format!("ws://localhost:{}/arcp", address.port());
        connect::<Tokio>(plain, trusting(&AUTHORITY)).await.expect_err("a handshake is awaited");
        Tokio::shut_down(serving).await;
        let (serving, address) = Tokio::serve(runtime()).await;
        let secured = format!("wss://localhost:{}/arcp", address.port());
        connect::<Tokio>(secured, trusting(&AUTHORITY)).await.expect_err("there is no TLS");
        Tokio::shut_down(serving).await;
    });
}

#[test]
fn with_a_certificate_other_machines_may_be_listened_to() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    Tokio::run(async {
        let refused = Tokio::serve_with(runtime(), everywhere, ListenOptions::default()).await;
        assert!(matches!(refused.map(|_| ()), Err(ServeError::BeyondLoopback(_))));
        let options = ListenOptions::default().tls(tls(AUTHORITY.sign("localhost", |_| {})));
        let (serving, address) =
            Tokio::serve_with(runtime(), everywhere, options).await.expect("it is encrypted");
        let url = format!("wss://localhost:{}/arcp", address.port());
        connect::<Tokio>(url, trusting(&AUTHORITY)).await.expect("it verifies");
        Tokio::shut_down(serving).await;
    });
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    use std::io::Read;
    Tokio::run(async {
        let mut options = ListenOptions::default().tls(tls(AUTHORITY.sign("localhost", |_| {})));
        options.upgrade_timeout = Duration::from_millis(50);
        let (serving, address) =
            Tokio::serve_with(runtime(), SocketAddr::from(ANY_PORT), options).await.expect("a free port");
        let silent = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("it listens");
            stream.read(&mut [0; 16])
        });
        let end = silent.await.expect("it ends").unwrap_or(0);
        assert_eq!(end, 0, "nothing is said to who says nothing");
        Tokio::shut_down(serving).await;
    });
}

#[test]
fn what_is_no_certificate_is_named_and_no_key_is_shown() {
    let (certificate, key) = AUTHORITY.sign("localhost", |_| {});
    let (_, another) = AUTHORITY.sign("localhost", |_| {});
    let refused = |chain: &str, key: &str| ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(refused("", &key), TlsError::Pem { what: "the certificate", error: PemFault::Missing }));
    assert!(matches!(refused(&certificate, ""), TlsError::Pem { what: "the private key", .. }));
    assert!(matches!(refused(&certificate, &another), TlsError::Config(_)), "they do not belong together");
    let broken = key.replace("-----END", "-----BEND");
    for error in
        [refused(&certificate, &another), refused(&certificate, &broken), refused(&key, &certificate)]
    {
        let secret = key.lines().nth(1).expect("its first line");
        assert!(!format!("{error} {error:?}").contains(secret));
    }
    assert!(ClientTls::with_authorities(b"").is_err());
    assert_eq!(format!("{:?}", tls((certificate, key))), "ServerTls");
}
