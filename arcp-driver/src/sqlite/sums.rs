//! Checksums: of each event and row with where it belongs, and along each session's stream.

use arcp_proto::id::{JobKey, SessionKey, Ulid};
use crc32c::{crc32c, crc32c_append};

/// What a session's chain begins with.
pub(super) const CHAIN_START: u32 = 0;

/// Of an event with its place.
pub(super) fn event(job: JobKey, position: u64, origin: u64, data: &[u8]) -> u32 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(&id(job.ulid()));
    place[16..24].copy_from_slice(&position.to_be_bytes());
    place[24..].copy_from_slice(&origin.to_be_bytes());
    crc32c_append(crc32c(&place), data)
}

/// The next link of a session's chain: which event it was given under which number, after all before it.
pub(super) fn link(chain: u32, seq: u64, job: JobKey, position: u64, event: u32) -> u32 {
    let mut link = [0; 36];
    link[..8].copy_from_slice(&seq.to_be_bytes());
    link[8..24].copy_from_slice(&id(job.ulid()));
    link[24..32].copy_from_slice(&position.to_be_bytes());
    link[32..].copy_from_slice(&event.to_be_bytes());
    crc32c_append(chain, &link)
}

/// Of a session's row and chain.
pub(super) fn session(key: SessionKey, chain: u32, row: &[u8]) -> u32 {
    crc32c_append(crc32c_append(crc32c(&id(key.ulid())), &chain.to_be_bytes()), row)
}

/// Of any other row.
pub(super) fn row(key: Ulid, row: &[u8]) -> u32 {
    crc32c_append(crc32c(&id(key)), row)
}

/// An id as a key of a table: its order is that of the bytes.
pub(super) const fn id(ulid: Ulid) -> [u8; 16] {
    ulid.bits().to_be_bytes()
}
