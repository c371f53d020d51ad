//! `wss://` from the command line.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::program::{CANARY, Runtime, arcp, ran};

/// Files in a directory of one test's own.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("arcp-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_certificate_serves_and_an_authority_verifies() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let files = Files::new("tls");
    let (chain, secret) =
        (files.write("cert.pem", &certificate.pem()), files.write("key.pem", &key.serialize_pem()));
    let trusted = files.write("ca.pem", &authority.pem());
    let token = format!("{CANARY}=alice");
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--token", &token, "--tls-cert", &chain, "--tls-key", &secret];
    let runtime = Runtime::of(arcp(&serve)).await;
    assert!(runtime.url.starts_with("wss://"), "{}", runtime.url);
    let submit = |more: &[&str]| {
        let mut arguments = vec!["submit", "echo", "--input", "7", "--token", CANARY, "--url", &runtime.url];
        arguments.extend_from_slice(&["--attempts", "1"]);
        arguments.extend_from_slice(more);
        ran(arcp(&arguments))
    };
    let answered = submit(&["--tls-ca", &trusted]).await;
    assert_eq!(answered.code, 0, "{answered:?}");
    assert!(answered.out.contains('7'), "{answered:?}");
    let refused = submit(&["--tls-ca", &chain]).await;
    assert_ne!(refused.code, 0, "another authority: {refused:?}");
    assert!(refused.err.contains("certificate"), "it is said why: {refused:?}");
    for (arguments, said) in [
        (["--tls-cert", &chain, "--tls-key", "/nonexistent"], "--tls-key /nonexistent: "),
        (["--tls-cert", &trusted, "--tls-key", &secret], "--tls-cert "),
    ] {
        let mut serve = vec!["serve", "--listen", "127.0.0.1:0", "--token", &token];
        serve.extend_from_slice(&arguments);
        let refused = ran(arcp(&serve)).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.complaint().contains(said), "{refused:?}");
    }
}
