//! Who decides what of a lease is granted.

use std::future::Future;
use std::pin::Pin;

use arcp_proto::runtime::{LeaseDecision, LeaseQuestion};

/// Decides what of a lease that is asked for is granted (protocol §3.1).
///
/// Implemented for every async function of [`LeaseQuestion`]. It may grant less than was asked for and add restrictions;
/// one that grants more has its submit refused. A decision that takes longer than ten seconds comes too late; one that
/// panics refuses.
///
/// ```
/// use arcp_driver::{Amount, Currency, LeaseDecision, LeaseQuestion, Runtime};
///
/// let builder = Runtime::builder().leases(|question: LeaseQuestion| async move {
///     let mut lease = question.lease;
///     if &*question.principal != "operator" {
///         lease.retain(|capability, _| capability.as_str() != "fs.write");
///         if let (Some(currency), Some(most)) = (Currency::parse("USD"), Amount::parse("5.00")) {
///             lease.limit_budget(&currency, most);
///         }
///     }
///     LeaseDecision::Grant(lease)
/// });
/// ```
pub trait LeasePolicy: Send + Sync + 'static {
    /// Decides on this lease.
    fn decide(&self, question: LeaseQuestion) -> Pin<Box<dyn Future<Output = LeaseDecision> + Send>>;
}

impl<F, Fut> LeasePolicy for F
where
    F: Fn(LeaseQuestion) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = LeaseDecision> + Send + 'static,
{
    fn decide(&self, question: LeaseQuestion) -> Pin<Box<dyn Future<Output = LeaseDecision> + Send>> {
        Box::pin(self(question))
    }
}
