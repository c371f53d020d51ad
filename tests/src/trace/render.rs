//! One frame as one line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Members that differ from run to run, repeat what the envelope says, or concern nobody here.
const LEFT_OUT: [&str; 17] = [
    "accepted_at",
    "auth",
    "capabilities",
    "client",
    "client_name",
    "client_version",
    "completed_at",
    "created_at",
    "reply_to",
    "runtime",
    "runtime_name",
    "runtime_version",
    "sent_at",
    "submitted_at",
    "received_at",
    "trace_id",
    "ts",
];

/// The order in which members are shown; others follow by name.
const ORDER: [&str; 28] = [
    "final_status",
    "code",
    "session_id",
    "job_id",
    "agent",
    "resume_token",
    "last_event_seq",
    "input",
    "idempotency_key",
    "history",
    "from_pos",
    "kind",
    "body",
    "phase",
    "level",
    "current",
    "total",
    "result_id",
    "chunk_seq",
    "encoding",
    "data",
    "more",
    "result",
    "result_size",
    "message",
    "details",
    "retryable",
    "request_id",
];

/// Texts longer than this are cut.
const LONG: usize = 200;

const REQUESTS: [&str; 5] =
    ["job.submit", "job.cancel", "job.subscribe", "session.list_jobs", "session.hello"];

const PREFIXES: [&str; 8] = ["msg_", "job_", "sess_", "rt_", "res_", "idk_", "dlg_", "p_"];

/// Stable names for what is random.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Names {
    fn of(&mut self, text: &str) -> Option<String> {
        let prefix = PREFIXES.into_iter().find(|prefix| text.starts_with(prefix))?;
        if text.len() < prefix.len() + 16 {
            return None;
        }
        Some(self.named(prefix, text))
    }

    fn named(&mut self, prefix: &'static str, text: &str) -> String {
        if let Some(name) = self.known.get(text) {
            return name.clone();
        }
        let count = self.counts.entry(prefix).or_default();
        *count += 1;
        let name = format!("{prefix}{count}");
        self.known.insert(text.to_owned(), name.clone());
        name
    }
}

/// A frame: its type, its id if something refers to it, its number, and its payload.
pub(super) fn render(names: &mut Names, frame: &Value) -> String {
    let kind = frame["type"].as_str().unwrap_or("?");
    let payload = &frame["payload"];
    let mut out = kind.to_owned();
    if REQUESTS.contains(&kind)
        && let Some(id) = frame["id"].as_str().and_then(|id| names.of(id))
    {
        write!(out, " ({id})").unwrap();
    }
    if let Some(seq) = frame["event_seq"].as_u64() {
        write!(out, " #{seq}").unwrap();
    }
    if let Some(job) = frame["job_id"].as_str()
        && payload["job_id"].as_str() != Some(job)
    {
        let job = names.of(job).unwrap_or_else(|| job.to_owned());
        write!(out, " {job}").unwrap();
    }
    if let Some(pos) = payload["pos"].as_u64() {
        write!(out, " pos:{pos}").unwrap();
    }
    if kind == "job.event" {
        write!(out, " {} ", payload["kind"].as_str().unwrap_or("?")).unwrap();
        object(names, &payload["body"], &mut out);
        return out;
    }
    if payload.as_object().is_some_and(|members| members.keys().any(|name| shown(kind, payload, name))) {
        out.push(' ');
        members(names, kind, payload, &mut out);
    }
    out
}

/// A run of like events as one line.
pub(super) fn run(names: &mut Names, first: &Value, last: &Value) -> String {
    let job = first["job_id"].as_str().unwrap_or("?");
    let job = names.of(job).unwrap_or_else(|| job.to_owned());
    let kind = first["payload"]["kind"].as_str().unwrap_or("?");
    let (from, to) = (&first["event_seq"], &last["event_seq"]);
    let (pos, end) = (&first["payload"]["pos"], &last["payload"]["pos"]);
    let mut out = format!("job.event #{from} … #{to} {job} pos:{pos} … {end} {kind} ");
    object(names, &first["payload"]["body"], &mut out);
    out.push_str(" … ");
    object(names, &last["payload"]["body"], &mut out);
    out
}

fn shown(kind: &str, payload: &Value, name: &str) -> bool {
    if LEFT_OUT.contains(&name) || name == "pos" {
        return false;
    }
    match kind {
        // The other spellings of the resume block.
        "session.hello" => name == "resume",
        "job.accepted" | "job.subscribed" => {
            name != "lease" || payload[name].as_object().is_none_or(|lease| !lease.is_empty())
        }
        _ => true,
    }
}

fn members(names: &mut Names, kind: &str, payload: &Value, out: &mut String) {
    let Some(map) = payload.as_object() else {
        return value(names, payload, out);
    };
    let mut keys: Vec<&String> = map.keys().filter(|name| shown(kind, payload, name)).collect();
    keys.sort_by_key(|name| {
        (ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()), (*name).clone())
    });
    out.push('{');
    for (index, name) in keys.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write!(out, "{name}:").unwrap();
        let member = &map[name];
        match (kind, name.as_str(), member.as_str()) {
            // Nonces are random without a prefix of their own.
            ("session.ping" | "session.pong", "nonce" | "ping_nonce", Some(nonce)) => {
                out.push_str(&names.named("p_", nonce));
            }
            // In the block the token is spelled twice for the sake of all peers.
            ("session.hello", "resume", _) => {
                let mut block = member.clone();
                if let Some(block) = block.as_object_mut() {
                    block.remove("token");
                }
                object(names, &block, out);
            }
            _ => value(names, member, out),
        }
    }
    out.push('}');
}

fn object(names: &mut Names, of: &Value, out: &mut String) {
    members(names, "", of, out);
}

fn value(names: &mut Names, of: &Value, out: &mut String) {
    match of {
        Value::Object(_) => object(names, of, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                value(names, item, out);
            }
            out.push(']');
        }
        Value::String(text) => match names.of(text) {
            Some(name) => out.push_str(&name),
            None if text.len() > LONG => {
                let start: String = text.chars().take(8).collect();
                write!(out, "{start:?}… ({} bytes)", text.len()).unwrap();
            }
            None => write!(out, "{of}").unwrap(),
        },
        _ => write!(out, "{of}").unwrap(),
    }
}
