//! A scripted runtime against the endpoint, in virtual time.

mod bounds;
mod chaos;
mod children;
mod envelopes;
mod goodbye;
mod hostile;
mod ignored;
mod leases;
mod limits;
mod list;
mod peer;
mod profiles;
mod replies;
mod resume;
mod start_over;
mod stream;
mod subscriptions;
mod timing;
mod trees;

/// Drivers move the endpoint between threads.
#[test]
fn an_endpoint_can_be_sent() {
    fn is_send<T: Send>() {}
    is_send::<super::ClientEndpoint>();
    is_send::<super::Output>();
}
