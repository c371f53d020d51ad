//! A scripted runtime against the endpoint, in virtual time.

mod chaos;
mod children;
mod envelopes;
mod goodbye;
mod hostile;
mod leases;
mod list;
mod peer;
mod profiles;
mod replies;
mod resume;
mod stream;
mod timing;

/// Drivers move the endpoint between threads.
#[test]
fn an_endpoint_can_be_sent() {
    fn is_send<T: Send>() {}
    is_send::<super::ClientEndpoint>();
    is_send::<super::Output>();
}
