//! Timestamps.

use arcp_proto::time::UnixTime;

use super::choices::Choices;

/// Reads the bytes as a timestamp, and as the numbers of one. What is read can be written and read again; what is put
/// together from numbers in range is read as what they say.
pub fn rfc3339(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(time) = UnixTime::parse_rfc3339(text)
    {
        assert!((20..=35).contains(&text.len()) && text.is_ascii(), "{text:?}");
        assert!((UnixTime::MIN..=UnixTime::MAX).contains(&time));
        let written = time.to_string();
        assert_eq!(written.len(), 24);
        assert_eq!(UnixTime::parse_rfc3339(&written), Some(time), "{text:?}");
        assert_eq!(UnixTime::parse_rfc3339(&written.to_ascii_lowercase()), Some(time), "{text:?}");
    }
    let mut choices = Choices::new(data);
    let mut digits = |bound: i64| i64::try_from(choices.number() % 10_000).unwrap_or(0) % bound;
    // Ends of months and of centuries are where calendars go wrong.
    let year = if digits(2) == 0 { digits(100) * 100 } else { digits(10_000) };
    let month = if digits(4) == 0 { 2 } else { digits(14) };
    let day = if digits(2) == 0 { 28 + digits(4) } else { digits(33) };
    let (hour, minute, second) = (digits(25), digits(61), digits(62));
    let (east, offset_hour, offset_minute) = (digits(2) == 0, digits(25), digits(61));
    let fraction = digits(10_000);
    let sign = if east { '+' } else { '-' };
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:04}{sign}{offset_hour:02}:{offset_minute:02}"
    );
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && (hour <= 23 && minute <= 59 && second <= 60)
        && (offset_hour <= 23 && offset_minute <= 59);
    let offset = (offset_hour * 60 + offset_minute) * if east { 1 } else { -1 };
    let seconds =
        (days_before(year, month) + day - 1) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    let millis = seconds * 1_000 + fraction / 10;
    let expected = (in_range && (UnixTime::MIN.as_millis()..=UnixTime::MAX.as_millis()).contains(&millis))
        .then(|| UnixTime::from_millis(millis));
    assert_eq!(UnixTime::parse_rfc3339(&text), expected, "{text}");
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    // The year 0 is a leap year, which the divisions do not count.
    let since_zero = if year == 0 { 0 } else { year * 365 + leaps(year - 1) + 1 };
    let months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    since_zero + months - 719_528
}
