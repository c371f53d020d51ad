//! A scripted runtime against the endpoint, in virtual time.

mod chaos;
mod hostile;
mod peer;
mod replies;
mod resume;
mod stream;
mod timing;
