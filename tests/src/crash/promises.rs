//! What a recorded runtime showed its clients, and since when.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::recording::{Recording, Step};

/// One session, as its client saw it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The step at which its welcome was sent, and the token in it.
    pub(super) welcome: Option<(usize, String)>,
    /// Numbered frames by number: when each was sent, and its text.
    pub(super) frames: BTreeMap<u64, (usize, String)>,
    /// Jobs that were accepted, and when that was said.
    pub(super) accepted: Vec<(usize, String)>,
}

/// All sessions, by id.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) sessions: BTreeMap<String, Seen>,
}

/// The bytes of a connection that are not understood yet, and the step that brought the first of them.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// Where each piece begins, and its step.
    pieces: Vec<(usize, usize)>,
    is_open: bool,
}

impl Promises {
    /// Reads what a recording sent over WebSockets.
    ///
    /// # Errors
    /// Something that is no frame of a server, or no envelope.
    pub(super) fn read(recording: &Recording) -> Result<Self, String> {
        let mut promises = Self::default();
        let mut streams: HashMap<&str, Stream> = HashMap::new();
        for (at, step) in recording.steps.iter().enumerate() {
            let Step::Sent { socket, data } = step else { continue };
            let stream = streams.entry(socket).or_default();
            stream.pieces.push((stream.bytes.len(), at));
            stream.bytes.extend_from_slice(data);
            while let Some((step, text)) = stream.next()? {
                promises.hear(step, &text)?;
            }
        }
        Ok(promises)
    }

    fn hear(&mut self, at: usize, text: &str) -> Result<(), String> {
        let frame: Value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = self.sessions.entry(of(&frame["session_id"])).or_default();
        match frame["type"].as_str().unwrap_or_default() {
            "session.welcome" => seen.welcome = Some((at, of(&frame["payload"]["resume_token"]))),
            "job.accepted" => seen.accepted.push((at, of(&frame["job_id"]))),
            "job.event" | "job.result" | "job.error" => {
                let seq = frame["event_seq"].as_u64().ok_or("a numbered frame without a number")?;
                seen.frames.insert(seq, (at, text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Stream {
    /// The next text message of a server, and the step that sent its first byte.
    fn next(&mut self) -> Result<Option<(usize, String)>, String> {
        if !self.is_open {
            let Some(end) = self.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(None);
            };
            self.take(end + 4);
            self.is_open = true;
        }
        loop {
            let Some(head) = self.bytes.first_chunk::<2>().copied() else { return Ok(None) };
            let (start, length): (usize, usize) = match head[1] {
                length @ ..126 => (2, usize::from(length)),
                126 => match self.bytes.get(2..4) {
                    Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
                    None => return Ok(None),
                },
                127 => match self.bytes.get(2..10).and_then(|bytes| bytes.first_chunk::<8>()) {
                    Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX)),
                    None => return Ok(None),
                },
                _ => return Err("a server masks its frames".to_owned()),
            };
            if self.bytes.len() < start.saturating_add(length) {
                return Ok(None);
            }
            // A piece that was taken whole may still stand before the one that begins here.
            let step = self.pieces.iter().rfind(|(start, _)| *start == 0).map_or(0, |(_, step)| *step);
            let message = self.take(start + length).split_off(start);
            match head[0] {
                0x81 => {
                    let text = String::from_utf8(message)
                        .map_err(|error| format!("text that is not UTF-8: {error}"))?;
                    return Ok(Some((step, text)));
                }
                // Control frames say nothing of sessions.
                0x88..=0x8a => {}
                other => return Err(format!("a frame that begins with {other:#x}")),
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(length);
        let taken = std::mem::replace(&mut self.bytes, rest);
        // The piece that the rest begins in, and those behind it.
        let within = self.pieces.iter().rposition(|(start, _)| *start <= length).unwrap_or(0);
        self.pieces.drain(..within);
        for (start, _) in &mut self.pieces {
            *start = start.saturating_sub(length);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap();
        let mut bytes = vec![0x81, 126];
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.bytes());
        bytes
    }

    #[test]
    fn frames_count_from_their_first_byte() {
        let mut bytes = b"HTTP/1.1 101\r\n\r\n".to_vec();
        bytes
            .extend(message(r#"{"type":"session.welcome","session_id":"s","payload":{"resume_token":"t"}}"#));
        let first = bytes.len();
        bytes.extend(message(r#"{"type":"job.event","session_id":"s","event_seq":1,"payload":{}}"#));
        bytes.extend(message(r#"{"type":"job.accepted","session_id":"s","job_id":"j","payload":{}}"#));
        let sent =
            |range: std::ops::Range<usize>| Step::Sent { socket: "a".into(), data: bytes[range].to_vec() };
        let sync = Step::Sync { file: 0, covers: 0 };
        // The event begins in step 1 and ends in step 3.
        let steps = vec![sent(0..5), sent(5..first + 9), sync, sent(first + 9..bytes.len())];
        let promises = Promises::read(&Recording { files: Vec::new(), folder: None, steps }).unwrap();
        let seen = &promises.sessions["s"];
        assert_eq!(seen.welcome, Some((1, "t".to_owned())));
        assert_eq!(seen.frames[&1].0, 1);
        assert_eq!(seen.accepted, [(3, "j".to_owned())]);
    }
}
