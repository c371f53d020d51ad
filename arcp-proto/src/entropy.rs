//! Randomness as a constructor argument.

/// Where an endpoint's random bytes come from. There is no other source in this crate.
///
/// The two methods must draw from independent streams: whoever sees ids must learn nothing about tokens.
pub trait Entropy {
    /// Bytes that go to the wire in the clear: ids and nonces.
    fn fill_public(&mut self, bytes: &mut [u8]);

    /// Bytes that nobody but the receiver of a token may know: 256 bits for each resume token.
    fn fill_secret(&mut self, bytes: &mut [u8]);
}

impl<E: Entropy + ?Sized> Entropy for alloc::boxed::Box<E> {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        (**self).fill_public(bytes);
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        (**self).fill_secret(bytes);
    }
}
