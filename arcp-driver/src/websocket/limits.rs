//! Sizes and options of WebSocket connections.

use tungstenite::protocol::WebSocketConfig;

/// Sizes of one WebSocket connection. All are bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketLimits {
    /// The longest message accepted; a longer one ends the connection with 1009, before it is allocated.
    pub message: usize,
    /// The same until the first frame is sent: what a peer that said no hello yet may make us hold.
    pub first_message: usize,
    /// The most fragments a message may come in.
    pub fragments: u32,
    /// The read buffer, allocated with the connection. Frames are slices of it, so a frame that is kept keeps up
    /// to this much memory.
    pub read_buffer: usize,
    /// How much is gathered before it is written without waiting for a flush. The write buffer grows on demand up
    /// to this and one frame; once it holds this much and the peer does not read, the sink is not ready.
    pub write_buffer: usize,
}

impl WebSocketLimits {
    /// What a runtime uses: messages of at most 1 MiB in 1 024 fragments, 64 KiB before its first answer.
    #[must_use]
    pub const fn runtime() -> Self {
        Self {
            message: 1 << 20,
            first_message: 64 << 10,
            fragments: 1024,
            read_buffer: 4 << 10,
            write_buffer: 32 << 10,
        }
    }

    /// What a client uses: messages of at most 2 MiB, since runtimes send results in chunks of up to 1 MiB, base64; and a
    /// larger read buffer, since it has one connection and reads more than it writes.
    #[must_use]
    pub const fn client() -> Self {
        Self { message: 2 << 20, read_buffer: 128 << 10, write_buffer: 4 << 10, ..Self::runtime() }
    }

    pub(super) fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer)
            .write_buffer_size(self.write_buffer)
            .max_write_buffer_size(self.write_buffer.saturating_add(MAX_UNSENT))
            .max_message_size(Some(self.first_message))
            .max_frame_size(Some(self.first_message))
    }
}

/// How a client connects.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Sizes; [`WebSocketLimits::client`] by default.
    pub limits: WebSocketLimits,
    /// Whether plain `ws://` may go to other machines, with the bearer token readable on the way; not by default.
    pub allow_plaintext_beyond_loopback: bool,
    /// How runtimes behind `wss://` are verified; as the operating system does by default.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::ClientTls>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            limits: WebSocketLimits::client(),
            allow_plaintext_beyond_loopback: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// What may lie unsent beyond the write buffer. A frame and the pongs to a peer that pings and does not read.
const MAX_UNSENT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_published_ones_and_not_the_engines() {
        let (runtime, client) = (WebSocketLimits::runtime(), WebSocketLimits::client());
        assert_eq!((runtime.message, client.message), (1 << 20, 2 << 20));
        assert_eq!(
            (runtime.first_message, runtime.fragments, runtime.read_buffer),
            (64 << 10, 1_024, 4 << 10)
        );
        let config = runtime.config();
        assert_eq!((config.max_message_size, config.max_frame_size), (Some(64 << 10), Some(64 << 10)));
        assert_eq!((config.read_buffer_size, config.write_buffer_size), (4 << 10, 32 << 10));
        assert_eq!(config.max_write_buffer_size, (32 << 10) + (1 << 20));
        assert_eq!([crate::lines::RUNTIME_LINE_LIMIT, crate::lines::CLIENT_LINE_LIMIT], [1 << 20, 2 << 20]);
    }
}
