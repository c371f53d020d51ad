//! Randomness of the operating system.

use arcp_proto::entropy::Entropy;

/// Bytes read at a time, for each stream. An id takes ten, a token 32.
const READ: usize = 512;

/// The operating system's random numbers, read in blocks: one stream for ids, another for tokens.
///
/// Bytes are wiped once they have been handed out.
pub struct OsEntropy {
    public: Stream,
    secret: Stream,
}

/// The operating system has no random numbers to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct NoEntropy(#[from] getrandom::Error);

impl OsEntropy {
    /// Opens both streams.
    ///
    /// # Errors
    /// [`NoEntropy`] where the operating system gives no random numbers, as in a sandbox that forbids the call.
    pub fn new() -> Result<Self, NoEntropy> {
        Ok(Self { public: Stream::new()?, secret: Stream::new()? })
    }
}

impl std::fmt::Debug for OsEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OsEntropy(…)")
    }
}

impl Entropy for OsEntropy {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        self.public.fill(bytes);
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        self.secret.fill(bytes);
    }
}

struct Stream {
    block: Box<[u8; READ]>,
    used: usize,
}

impl Stream {
    fn new() -> Result<Self, getrandom::Error> {
        let mut stream = Self { block: Box::new([0; READ]), used: 0 };
        stream.read()?;
        Ok(stream)
    }

    fn read(&mut self) -> Result<(), getrandom::Error> {
        getrandom::fill(&mut *self.block)?;
        self.used = 0;
        Ok(())
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == READ
                && let Err(error) = self.read()
            {
                // An operating system that has answered once goes on answering. If it did not, tokens could be
                // guessed; stopping is the only safe answer.
                panic!("the operating system stopped giving random numbers: {error}");
            }
            let fresh = &mut self.block[self.used..];
            let take = fresh.len().min(bytes.len());
            let (now, rest) = bytes.split_at_mut(take);
            now.copy_from_slice(&fresh[..take]);
            fresh[..take].fill(0);
            self.used += take;
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_joined_and_never_repeat() {
        let mut entropy = OsEntropy::new().unwrap();
        let mut first = [0; 3 * READ + 7];
        let mut second = [0; 3 * READ + 7];
        entropy.fill_public(&mut first);
        entropy.fill_public(&mut second);
        for window in first.windows(16) {
            assert!(window.iter().any(|byte| *byte != 0));
            assert!(!second.windows(16).any(|other| other == window));
        }
    }

    #[test]
    fn what_was_handed_out_is_wiped() {
        let mut entropy = OsEntropy::new().unwrap();
        entropy.fill_secret(&mut [0; 100]);
        assert_eq!(entropy.secret.block[..100], [0; 100]);
        assert_eq!(entropy.secret.used, 100);
        assert_eq!(entropy.public.used, 0);
    }
}
