//! Who makes credentials for jobs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arcp_proto::runtime::{IssueId, IssueRequest, Issued, Revocation, RevocationId, Revoked};
use arcp_proto::time::Now;

use super::Signal;
use super::task::{Task, Work, caught};
use super::turn::Loop;
use crate::queue::Inbox;
use crate::timer::Timer;

/// Makes credentials for jobs, and revokes them (protocol §5.9).
///
/// It is asked before a job is accepted. What takes longer than ten seconds comes too late and is revoked as soon as it is
/// there; one that panics has failed. Nobody is told a value but the job's agent, and the clients of the principal that
/// submitted the job.
///
/// Both may be asked more than once about one credential, after a crash for instance: [`IssueRequest::credential`] names it,
/// and should be how the upstream knows it too, because that is all a revocation has.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use arcp_driver::{IssueRequest, Issued, IssuedCredential, Provisioner, Revocation, Revoked, Runtime};
///
/// struct Gateway;
///
/// impl Provisioner for Gateway {
///     fn issue(&self, request: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>> {
///         Box::pin(async move {
///             let Some((currency, left)) = request.budget.first() else { return Issued::Nothing };
///             // Here the gateway would be asked for a key of this name that spends no more than that.
///             let mut issued = IssuedCredential::bearer("the key", "https://gateway.example/v1");
///             issued.constraints.cost_budget.push(format!("{currency}:{left}"));
///             Issued::Credential(Box::new(issued))
///         })
///     }
///
///     fn revoke(&self, revocation: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>> {
///         Box::pin(async move {
///             // Here it would be told to forget the key of this name; one it never had is as good as gone.
///             let _ = revocation.credential;
///             Revoked::Done
///         })
///     }
/// }
///
/// let builder = Runtime::builder().provisioner(Gateway);
/// ```
pub trait Provisioner: Send + Sync + 'static {
    /// Makes a credential for this job, or says that it needs none.
    fn issue(&self, request: IssueRequest) -> Pin<Box<dyn Future<Output = Issued> + Send>>;

    /// Revokes a credential. It may be gone already or never have been made, which is as good as done.
    fn revoke(&self, revocation: Revocation) -> Pin<Box<dyn Future<Output = Revoked> + Send>>;
}

/// Gives the endpoint an answer in any case: a task that is dropped has failed.
struct Promise {
    inbox: Arc<Inbox<Signal>>,
    failed: Option<Signal>,
}

impl Promise {
    fn keep(mut self, answer: Signal) {
        self.failed = None;
        self.inbox.post(answer);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(failed) = self.failed.take() {
            self.inbox.post(failed);
        }
    }
}

impl<T: Timer> Loop<T> {
    pub(super) fn issue(&mut self, now: Now, id: IssueId, request: IssueRequest) {
        let Some(provisioner) = self.provisioner.clone() else {
            return self.issued(now, id, Issued::Failed);
        };
        let promise = Promise { inbox: self.inbox.clone(), failed: Some(Signal::Issued(id, Issued::Failed)) };
        let issued = caught(async move { provisioner.issue(request).await }, || Issued::Failed);
        // A task that nobody takes says in its own drop that it failed.
        let _ = self.tasks.unbounded_send(Task::new(Work::Provisioner, async move {
            promise.keep(Signal::Issued(id, issued.await))
        }));
    }

    pub(super) fn issued(&mut self, now: Now, id: IssueId, issued: Issued) {
        // What is wrong with a credential refuses its job, and the observer is told of it.
        let _ = self.core.handle_credentials(now, id, issued);
    }

    pub(super) fn revoke(&mut self, now: Now, id: RevocationId, revocation: Revocation) {
        let Some(provisioner) = self.provisioner.clone() else {
            return self.core.handle_revoked(now, id, Revoked::Retry);
        };
        let promise =
            Promise { inbox: self.inbox.clone(), failed: Some(Signal::Revoked(id, Revoked::Retry)) };
        let revoked = caught(async move { provisioner.revoke(revocation).await }, || Revoked::Retry);
        let _ = self.tasks.unbounded_send(Task::new(Work::Provisioner, async move {
            promise.keep(Signal::Revoked(id, revoked.await))
        }));
    }
}
