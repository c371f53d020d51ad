//! Reading the values of arguments. The faults said here go into one line and show the value only where it is no secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arcp_driver::url::Endpoint;
use arcp_driver::{JobId, LeaseRequest, TraceId, UnixTime};
use arcp_proto::agent::AgentRef;
use arcp_proto::id::SessionKey;
use arcp_proto::lease::parse_budget;
use arcp_proto::runtime::JobState;

/// The longest `max_runtime_sec` (protocol §9).
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// `90`, `90s`, `1.5m`, `2h` or `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err("a duration is a number with the unit s, m, h or d, like 10s or 1.5m".into()),
    };
    let seconds = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        .then(|| number.parse::<f64>().ok())
        .flatten()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or("a duration is a number with the unit s, m, h or d, like 10s or 1.5m")?;
    if (Duration::from_secs(1)..=LONGEST).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("the duration must be from 1s to 365d".into())
    }
}

/// An idempotency key.
pub(crate) fn key(text: &str) -> Result<String, String> {
    if (1..=256).contains(&text.len()) { Ok(text.to_owned()) } else { Err("a key has 1 to 256 bytes".into()) }
}

/// `name` or `name@version`.
pub(crate) fn agent(text: &str) -> Result<String, String> {
    AgentRef::parse(text).map(|agent| agent.as_str().to_owned()).map_err(|error| error.to_string())
}

/// A state of a job.
pub(crate) fn status(text: &str) -> Result<String, String> {
    match JobState::parse(text) {
        Some(state) => Ok(state.as_str().to_owned()),
        None => Err("a status is pending, running, success, error, cancelled or timed_out".into()),
    }
}

/// One pattern of a lease.
pub(crate) fn lease(text: &str) -> Result<(String, String), String> {
    let (capability, pattern) = text
        .split_once('=')
        .ok_or("what a job may do is a capability, `=` and a pattern, like tool.call=search.*")?;
    let alone = LeaseRequest::default().grant(capability, [pattern]).to_json(UnixTime::from_millis(0));
    alone.map(|_| (capability.to_owned(), pattern.to_owned())).map_err(|error| {
        let prefix = format!("`lease_request.{capability}[0]`: ");
        error.message.strip_prefix(&prefix).unwrap_or(&error.message).to_owned()
    })
}

/// An amount of money.
pub(crate) fn budget(text: &str) -> Result<String, String> {
    parse_budget(text).map(|_| text.to_owned()).map_err(|refusal| refusal.to_string())
}

/// A trace id.
pub(crate) fn trace(text: &str) -> Result<TraceId, String> {
    TraceId::parse(text).ok_or_else(|| {
        "a trace is 32 lower-case hexadecimal digits, not all 0, or a whole traceparent".into()
    })
}

/// A point in time.
pub(crate) fn time(text: &str) -> Result<UnixTime, String> {
    UnixTime::parse_rfc3339(text)
        .ok_or_else(|| "a time is a date, `T`, a time and a zone, like 2026-08-14T09:30:00Z".into())
}

/// A point in time, or how long it is past.
pub(crate) fn past(text: &str) -> Result<UnixTime, String> {
    if let Some(time) = UnixTime::parse_rfc3339(text) {
        return Ok(time);
    }
    let ago = duration(text)
        .map_err(|_| "a time is like 2026-08-14T09:30:00Z, or how long ago, from 1s to 365d, like 10m")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(UnixTime::from_millis(0).after(now.saturating_sub(ago)))
}

/// A job's id.
pub(crate) fn job(text: &str) -> Result<JobId, String> {
    JobId::new(text).ok_or_else(|| "a job id has 1 to 128 bytes and no control characters".into())
}

pub(crate) fn session(text: &str) -> Result<SessionKey, String> {
    SessionKey::parse(text).ok_or_else(|| "a session's id is `sess_` and 26 characters".into())
}

/// The address of a runtime. The fault never shows it, since people put passwords into URLs.
pub(crate) fn url(text: &str) -> Result<Endpoint, String> {
    text.parse::<Endpoint>().map_err(|error| error.to_string())
}

/// `host:port`, where the port may be 0.
pub(crate) fn listen(text: &str) -> Result<String, String> {
    let fault = "an address is HOST:PORT, like 127.0.0.1:7777 or [::1]:7777 (port 0 picks a free one)";
    let (host, port) = text.rsplit_once(':').ok_or(fault)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) || port.starts_with('+') {
        return Err(fault.into());
    }
    port.parse::<u16>().map_err(|_| fault)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [("1", 1.0), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7_200.0), ("365d", 31_536_000.0)];
        for (text, seconds) in table {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in
            ["", "s", "0", "0.5s", "366d", "-1s", "+1s", "1e3", "inf", "nan", "10ms", "1 s", "1S", "10s s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:0", "localhost:7777", "[::1]:65535"] {
            assert_eq!(listen(text).unwrap(), text);
        }
        for text in
            ["", "7777", "localhost", ":7777", "::1:80", "localhost:", "localhost:65536", "localhost:+1"]
        {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn states_and_jobs() {
        for state in ["pending", "running", "success", "error", "cancelled", "timed_out"] {
            assert_eq!(status(state).unwrap(), state);
        }
        assert!(status("Running").is_err() && status("").is_err() && status("done").is_err());
        assert!(job("").is_err() && job("a\nb").is_err() && job(&"x".repeat(129)).is_err());
        assert!(job("job_1").is_ok());
    }

    #[test]
    fn leases_name_what_is_wrong_with_them() {
        assert_eq!(lease("net.fetch=https://a.example/?q=1").unwrap().1, "https://a.example/?q=1");
        assert_eq!(lease("tool.call=search.*").unwrap(), ("tool.call".into(), "search.*".into()));
        for (text, said) in [
            ("tool.call", "a capability, `=` and a pattern"),
            ("tools=x", "namespace other than fs.read"),
            ("fs.read=canary", "absolute"),
            ("cost.budget=canary", "an amount is"),
        ] {
            let refused = lease(text).unwrap_err();
            assert!(refused.contains(said) && !refused.contains("canary"), "{text}: {refused}");
            assert!(!refused.contains("lease_request.fs"), "{refused}");
        }
        assert!(budget("USD:1.00").is_ok() && budget("1.00").is_err() && budget("USD:-1").is_err());
    }

    #[test]
    fn times_and_traces() {
        assert_eq!(time("2026-08-14T11:30:00+02:00").unwrap(), past("2026-08-14T09:30:00Z").unwrap());
        assert!(
            time("10m").is_err() && time("2026-08-14").is_err() && past("0s").is_err() && past("x").is_err()
        );
        assert!(past("1d").unwrap() < past("1s").unwrap());
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace(trace_id).unwrap(), trace(&format!("00-{trace_id}-00f067aa0ba902b7-01")).unwrap());
        assert!(trace("4bf9").is_err() && trace(&"0".repeat(32)).is_err());
    }

    #[test]
    fn keys_and_agents() {
        assert!(key("").is_err() && key(&"x".repeat(257)).is_err() && key(&"x".repeat(256)).is_ok());
        assert!(agent("report@2.0.0").is_ok() && agent("Report").is_err() && agent("").is_err());
        assert!(!url("ws://me:canary@host/").unwrap_err().contains("canary"));
    }
}
