//! A session with a runtime, as the commands of a client need it.

use std::pin::pin;
use std::sync::Arc;

use arcp_driver::websocket::ConnectOptions;
use arcp_driver::{Client, ClientConfig, Connected, Connector, Secret, SessionEvent, SessionEvents};
use arcp_tokio::{TokioTimer, connector};

use crate::args;
use crate::certificates::authorities;
use crate::failure::Failure;
use crate::show::Show;
use crate::signals::Signals;
use crate::text::count;
use crate::tokens::check_token;

/// Attempts in vain after which a session that stood once is given up: with the back-off, about a minute.
const RECONNECT_ATTEMPTS: u32 = 12;

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

/// A runtime, and who we are to it.
pub(crate) struct Target {
    url: String,
    options: ConnectOptions,
    authority: String,
    token: Secret,
    attempts: u32,
    pub(crate) json: bool,
}

impl Target {
    pub(crate) fn new(arguments: args::Target) -> Result<Self, Failure> {
        let token = arguments.token.unwrap_or_default();
        if token.is_empty() {
            return Err(Failure::usage("no token: give one with --token or in ARCP_TOKEN"));
        }
        check_token(&token).map_err(|why| Failure::usage(format!("--token: {why}")))?;
        let options = ConnectOptions {
            allow_plaintext_beyond_loopback: arguments.unsafe_plaintext_beyond_loopback,
            tls: arguments.tls_ca.as_deref().map(authorities).transpose()?,
            ..ConnectOptions::default()
        };
        arguments
            .url
            .check(options.allow_plaintext_beyond_loopback)
            .map_err(|error| Failure::usage(format!("--url: {error}")))?;
        Ok(Self {
            url: arguments.url.to_string(),
            options,
            authority: arguments.url.authority(),
            token: Secret::new(token),
            attempts: arguments.attempts,
            json: arguments.json,
        })
    }

    /// Opens a session under this client name. `show` is told what happens to it from there on.
    pub(crate) async fn open(self, name: &str, show: Show) -> Result<Session, Failure> {
        let connector = connector(&self.url, self.options.clone())
            .map_err(|error| Failure::usage(format!("--url: {error}")))?;
        let mut signals =
            Signals::new().map_err(|error| Failure::error(format!("cannot hear signals: {error}")))?;
        let mut config = ClientConfig::new(self.token.clone());
        config.name = name.into();
        config.max_attempts = Some(RECONNECT_ATTEMPTS.max(self.attempts));
        let (client, mut events) = start(connector, config)?;
        let connected = tokio::select! {
            connected = self.connected(&mut events) => connected?,
            () = signals.next() => return Err(Failure::error("interrupted before the runtime was reached")),
        };
        show.connected(&connected)?;
        Ok(Session { client, show, events, signals, may_hear_more: true })
    }

    /// Waits for the session, as many attempts as there may be.
    async fn connected(&self, events: &mut SessionEvents) -> Result<Arc<Connected>, Failure> {
        let mut attempts = 0;
        let mut why = String::from("the connection ended before the runtime answered");
        while attempts < self.attempts {
            match events.next().await {
                Some(SessionEvent::Connected(connected)) => return Ok(connected),
                Some(SessionEvent::ConnectFailed(reason)) => {
                    attempts += 1;
                    why = reason.to_string();
                }
                Some(SessionEvent::Disconnected) => attempts += 1,
                Some(SessionEvent::Closed(reason)) => {
                    return Err(Failure::error(format!("{}: {reason}", self.authority)));
                }
                Some(_) => {}
                None => break,
            }
        }
        let attempts = count(attempts.into(), "attempt");
        Err(Failure::error(format!("cannot connect to {} after {attempts}: {why}", self.authority)))
    }
}

/// An open session, and what may happen meanwhile.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) show: Show,
    events: SessionEvents,
    signals: Signals,
    may_hear_more: bool,
}

/// What came first.
pub(crate) enum Next<T> {
    Signal,
    Wanted(T),
}

impl Session {
    /// Waits for what is wanted or a signal; shows news of the session as they come, which go first.
    pub(crate) async fn next<T>(&mut self, wanted: impl Future<Output = T>) -> Result<Next<T>, Failure> {
        let mut wanted = pin!(wanted);
        loop {
            let event = tokio::select! {
                biased;
                () = self.signals.next() => return Ok(Next::Signal),
                event = self.events.next(), if self.may_hear_more => event,
                value = &mut wanted => return Ok(Next::Wanted(value)),
            };
            match event {
                Some(event) => self.show.session(&event)?,
                None => self.may_hear_more = false,
            }
        }
    }

    /// Waits for what is wanted; a signal ends the program.
    pub(crate) async fn wait<T>(&mut self, wanted: impl Future<Output = T>) -> Result<T, Failure> {
        match self.next(wanted).await? {
            Next::Wanted(value) => Ok(value),
            Next::Signal => Err(Failure::error("interrupted")),
        }
    }
}
