//! One transport connection, from its opening to its close.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::heartbeat::Heartbeat;
use crate::runtime::partial::Partial;
use crate::runtime::rate::Rate;
use crate::runtime::requests::OrderedReplies;
use crate::runtime::source::Source;
use crate::runtime::{AuthId, SessionHandle, Verdict};
use crate::time::{Instant, UnixTime};
use crate::wire::peer::{PeerProfile, TransportKind};
use crate::wire::session::Hello;

/// What a connection may do at this moment.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Open; the hello is awaited.
    AwaitHello,
    /// The hello is here; who sent it is being found out. No second frame is read.
    Authenticating(Box<Greeting>),
    /// The session is decided; the welcome waits for its commit.
    Committing { session: SessionHandle, request_id: Arc<str>, resumed: bool },
    /// The session speaks over this connection.
    Active(Active),
    /// Nothing is read any more; what is queued may still leave.
    Closing,
}

/// A hello whose credentials are being judged.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) id: AuthId,
    pub(crate) request_id: Arc<str>,
    /// What an error before a session exists echoes as `session_id`.
    pub(crate) session_id: Option<String>,
    pub(crate) profile: PeerProfile,
    pub(crate) hello: Hello,
    /// The verdict, while it is kept back from a place that guesses tokens.
    pub(crate) held: Option<Verdict>,
}

/// A connection with a session.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) session: SessionHandle,
    pub(crate) heartbeat: Option<Heartbeat>,
    /// Whether the client has shown that the welcome arrived.
    pub(crate) confirmed: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: TransportKind,
    /// Where it comes from, if the driver said so.
    pub(crate) source: Option<Source>,
    /// Whether nobody in between can read it, so that it may carry the values of credentials.
    pub(crate) is_private: bool,
    pub(crate) phase: Phase,
    /// Frames ahead of events.
    pub(crate) control: VecDeque<String>,
    /// Acceptances sent again at the resume, for which `control` may be longer.
    pub(crate) resent: usize,
    pub(crate) replies: OrderedReplies,
    /// `FramesReady` was given and `poll_frame` has not said `None` since.
    pub(crate) announced: bool,
    pub(crate) stall_armed: bool,
    /// When something was last pulled, or began to wait.
    pub(crate) moved: Instant,
    /// The frame whose beginning has arrived.
    pub(crate) partial: Option<Partial>,
    pub(crate) partial_armed: bool,
    pub(crate) bytes_before_welcome: usize,
    pub(crate) malformed: Rate,
    pub(crate) pings: Rate,
    /// The hello's envelope id, while it has no answer, of a client that wants a refusal on it too.
    pub(crate) echoes_to: Option<Arc<str>>,
    /// When the credentials stop being good.
    pub(crate) credentials_end: Option<UnixTime>,
}

impl Connection {
    pub(crate) fn new(transport: TransportKind, address: Option<IpAddr>, now: Instant) -> Self {
        let is_private = match address {
            Some(address) => address.to_canonical().is_loopback(),
            None => transport != TransportKind::WebSocket,
        };
        Self {
            transport,
            source: address.map(Source::of),
            is_private,
            phase: Phase::AwaitHello,
            control: VecDeque::new(),
            resent: 0,
            replies: OrderedReplies::default(),
            announced: false,
            stall_armed: false,
            moved: now,
            partial: None,
            partial_armed: false,
            bytes_before_welcome: 0,
            malformed: Rate::default(),
            pings: Rate::default(),
            echoes_to: None,
            credentials_end: None,
        }
    }

    /// Bytes of the frames ahead of events.
    pub(crate) fn control_bytes(&self) -> usize {
        self.control.iter().map(String::len).sum()
    }

    pub(crate) const fn session(&self) -> Option<SessionHandle> {
        match &self.phase {
            Phase::Committing { session, .. } => Some(*session),
            Phase::Active(active) => Some(active.session),
            Phase::AwaitHello | Phase::Authenticating(_) | Phase::Closing => None,
        }
    }

    pub(crate) const fn is_before_welcome(&self) -> bool {
        matches!(self.phase, Phase::AwaitHello | Phase::Authenticating(_) | Phase::Committing { .. })
    }
}
