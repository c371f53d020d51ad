//! Who may open a session.

use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;

use arcp_proto::runtime::{Credentials, Verdict};
use arcp_proto::secret::TokenHash;

use super::task::caught;

/// Decides whether credentials are good, and whose they are.
///
/// Implemented for every async function of [`Credentials`]. A decision that takes longer than ten seconds comes too late;
/// one that panics refuses.
///
/// ```
/// use std::sync::Arc;
/// use arcp_driver::{Credentials, Runtime, Verdict};
///
/// let builder = Runtime::builder().verifier(|credentials: Credentials| async move {
///     match credentials {
///         Credentials::Bearer(token) if token.matches("of the day") => {
///             Verdict::Accept { principal: Arc::from("alice"), until: None }
///         }
///         _ => Verdict::Refuse,
///     }
/// });
/// ```
pub trait Verifier: Send + Sync + 'static {
    /// Judges these credentials.
    fn verify(&self, credentials: Credentials) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;
}

impl<F, Fut> Verifier for F
where
    F: Fn(Credentials) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    fn verify(&self, credentials: Credentials) -> Pin<Box<dyn Future<Output = Verdict> + Send>> {
        Box::pin(self(credentials))
    }
}

/// The tokens a runtime was built with, by their hashes, and the verifier for all others.
#[derive(Default)]
pub(crate) struct Verification {
    tokens: Vec<(TokenHash, Arc<str>)>,
    verifier: Option<Arc<dyn Verifier>>,
}

/// What [`Verification::judge`] has to say.
pub(crate) enum Judgement {
    Now(Verdict),
    Later(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl Verification {
    /// Adds a token. `false` if it is there already.
    pub(crate) fn add(&mut self, token: &str, principal: Arc<str>) -> bool {
        let hash = TokenHash::of(token);
        let new = !self.tokens.iter().any(|(known, _)| same(known, &hash));
        if new {
            self.tokens.push((hash, principal));
        }
        new
    }

    pub(crate) fn set_verifier(&mut self, verifier: Arc<dyn Verifier>) {
        self.verifier = Some(verifier);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.verifier.is_none()
    }

    pub(crate) fn judge(&self, credentials: Credentials) -> Judgement {
        if let Credentials::Bearer(token) = &credentials {
            let hash = token.hash();
            // Every token is compared, so the time tells nothing of which one it is.
            let mut found = None;
            for (known, principal) in &self.tokens {
                if same(known, &hash) {
                    found = Some(principal);
                }
            }
            if let Some(principal) = found {
                return Judgement::Now(Verdict::Accept { principal: principal.clone(), until: None });
            }
        }
        match self.verifier.clone() {
            None => Judgement::Now(Verdict::Refuse),
            Some(verifier) => {
                // Called inside the task: what a verifier does before its first await may take long or panic, too.
                let verdict = async move { verifier.verify(credentials).await };
                Judgement::Later(Box::pin(caught(verdict, || Verdict::Refuse)))
            }
        }
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("tokens", &self.tokens.len())
            .field("verifier", &self.verifier.is_some())
            .finish()
    }
}

/// Equality in constant time.
fn same(left: &TokenHash, right: &TokenHash) -> bool {
    let pairs = left.as_bytes().iter().zip(right.as_bytes());
    pairs.fold(0, |difference, (left, right)| black_box(difference | (left ^ right))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use arcp_proto::secret::Secret;
    use futures_executor::block_on;

    fn judge(verification: &Verification, credentials: Credentials) -> Option<String> {
        let verdict = match verification.judge(credentials) {
            Judgement::Now(verdict) => verdict,
            Judgement::Later(verdict) => block_on(verdict),
        };
        match verdict {
            Verdict::Accept { principal, .. } => Some(principal.to_string()),
            Verdict::Refuse => None,
        }
    }

    fn bearer(token: &str) -> Credentials {
        Credentials::Bearer(Secret::new(token))
    }

    #[test]
    fn tokens_name_their_principals() {
        let mut verification = Verification::default();
        assert!(verification.is_empty());
        assert!(verification.add("a", "alice".into()) && verification.add("b", "bob".into()));
        assert!(!verification.add("a", "mallory".into()));
        assert_eq!(judge(&verification, bearer("a")).as_deref(), Some("alice"));
        assert_eq!(judge(&verification, bearer("b")).as_deref(), Some("bob"));
        assert_eq!(judge(&verification, bearer("c")), None);
        assert_eq!(judge(&verification, bearer("")), None);
        assert_eq!(judge(&verification, Credentials::Anonymous), None);
    }

    #[test]
    fn the_verifier_is_asked_about_everything_else() {
        let mut verification = Verification::default();
        verification.add("a", "alice".into());
        verification.set_verifier(Arc::new(|credentials| async move {
            match credentials {
                Credentials::Anonymous => Verdict::Accept { principal: "guest".into(), until: None },
                Credentials::Bearer(token) if token.matches("bomb") => panic!("as the test wants it"),
                Credentials::Bearer(_) => Verdict::Refuse,
            }
        }));
        assert_eq!(judge(&verification, bearer("a")).as_deref(), Some("alice"));
        assert_eq!(judge(&verification, bearer("b")), None);
        assert_eq!(judge(&verification, bearer("bomb")), None);
        assert_eq!(judge(&verification, Credentials::Anonymous).as_deref(), Some("guest"));
    }
}
