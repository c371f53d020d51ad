//! Randomness that repeats.

use std::ops::Range;
use std::time::Duration;

use arcp_proto::entropy::Entropy;

/// SplitMix64: short, well mixed, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

/// What a stream of numbers is for. Each has its own, so that one draw more of one kind leaves the others as they were.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Schedule,
    Scenario,
    Store,
    Crash,
    Link(u32),
    Client(u32),
    Runtime(u32),
}

impl Random {
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        let (kind, number) = match stream {
            Stream::Schedule => (1, 0),
            Stream::Scenario => (2, 0),
            Stream::Store => (3, 0),
            Stream::Crash => (4, 0),
            Stream::Link(number) => (5, number),
            Stream::Client(number) => (6, number),
            Stream::Runtime(number) => (7, number),
        };
        let mut mixer = Self(seed);
        let mixed = mixer.next() ^ (u64::from(number) << 8 | kind);
        Self(Self(mixed).next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range; its start if it is empty.
    pub(super) fn of(&mut self, range: &Range<u64>) -> u64 {
        match range.end.saturating_sub(range.start) {
            0 => range.start,
            width => range.start + self.next() % width,
        }
    }

    /// A place in a list of so many, which is not empty.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.of(&(0..len as u64))).unwrap_or(0)
    }

    /// A span of the range, to the microsecond; its start if it is empty.
    pub(super) fn span(&mut self, range: &Range<Duration>) -> Duration {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.of(&(micros(range.start)..micros(range.end))))
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

/// Ids and tokens of one endpoint.
pub(super) struct SeededEntropy {
    public: Random,
    secret: Random,
}

impl SeededEntropy {
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        let mut public = Random::new(seed, stream);
        let secret = Random(public.next());
        Self { public, secret }
    }
}

impl Entropy for SeededEntropy {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        fill(&mut self.public, bytes);
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        fill(&mut self.secret, bytes);
    }
}

fn fill(random: &mut Random, bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(8) {
        piece.copy_from_slice(&random.next().to_le_bytes()[..piece.len()]);
    }
}
