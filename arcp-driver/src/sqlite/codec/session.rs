//! Rows of sessions.

use arcp_proto::feature::Features;
use arcp_proto::id::SessionKey;
use arcp_proto::runtime::rows::SessionRow;
use arcp_proto::runtime::store::SessionRecord;
use arcp_proto::secret::TokenHash;
use arcp_proto::wire::peer::{PeerProfile, TransportKind};

use super::{Decoder, Encoder, Malformed, Result};

const VERSION: u8 = 1;

/// Appends a session's row without its key. Of its tokens only hashes are known here.
pub(crate) fn encode_session(row: &SessionRow, into: &mut Vec<u8>) {
    let SessionRow { record, numbers } = row;
    let mut out = Encoder(into);
    out.byte(VERSION);
    out.text(&record.principal);
    out.number(u64::from(record.features.bits()));
    out.byte(record.profile.code());
    out.byte(match record.transport {
        TransportKind::WebSocket => 0,
        TransportKind::Lines => 1,
        TransportKind::Memory => 2,
    });
    out.number(record.epoch);
    out.array(record.current.as_bytes());
    out.flag(record.confirmed);
    out.option(record.previous.as_ref(), |out, hash| out.array(hash.as_bytes()));
    out.option(record.dead_since, Encoder::time);
    out.range(numbers);
}

/// The row that [`encode_session`] wrote.
pub(crate) fn decode_session(key: SessionKey, bytes: &[u8]) -> Result<SessionRow> {
    let mut from = Decoder(bytes);
    from.version(VERSION)?;
    let record = SessionRecord {
        key,
        principal: from.text()?.into(),
        features: Features::from_bits(
            u16::try_from(from.number()?).map_err(|_| Malformed("it has features that are unknown"))?,
        ),
        profile: PeerProfile::from_code(from.byte()?),
        transport: match from.byte()? {
            0 => TransportKind::WebSocket,
            1 => TransportKind::Lines,
            2 => TransportKind::Memory,
            _ => return Err(Malformed("its transport is unknown")),
        },
        epoch: from.number()?,
        current: TokenHash::from_bytes(from.array()?),
        confirmed: from.flag()?,
        previous: from.option(|from| from.array().map(TokenHash::from_bytes))?,
        dead_since: from.option(Decoder::time)?,
    };
    let row = SessionRow { record, numbers: from.range()? };
    from.end()?;
    Ok(row)
}
