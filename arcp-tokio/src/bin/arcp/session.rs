//! A client whose session is watched from its very beginning.

use arcp_driver::{Client, ClientConfig, Connector, SessionEvents};
use arcp_tokio::TokioTimer;

use crate::failure::Failure;

/// Starts a client. The events are asked for before it does anything, so none is missed.
pub(crate) fn start<C>(connector: C, config: ClientConfig) -> Result<(Client, SessionEvents), Failure>
where
    C: Connector + 'static,
{
    let (client, driver) = Client::with(connector, config, TokioTimer::new()).map_err(Failure::error)?;
    let events = client.events();
    tokio::spawn(driver);
    Ok((client, events))
}
