//! Both clocks as plain integers. The core reads neither: every call brings a [`Now`].

use core::fmt;
use core::time::Duration;

/// A point on the driver's monotonic clock, in microseconds since an epoch the driver chose.
///
/// Used for heartbeats, windows, grace periods and run-time limits. Never goes to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);

    /// The instant `micros` microseconds after the driver's epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the driver's epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The instant `span` later; stays at the end of the range instead of wrapping (584 000 years away).
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// How long `earlier` lies back; zero if it does not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A point on the wall clock, in milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// `Display` writes the one form ARCP sends: RFC 3339, UTC, three fraction digits, `Z` (protocol §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(i64);

const DAY_MS: i64 = 86_400_000;

impl UnixTime {
    /// 0000-01-01T00:00:00.000Z, the earliest time RFC 3339 can name.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-31T23:59:59.999Z, the latest time RFC 3339 can name.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The time `millis` milliseconds after 1970, brought into the range RFC 3339 can name.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time `span` later, rounded down to milliseconds, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long `earlier` lies back; zero if it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads any RFC 3339 date-time: 0 to 9 fraction digits, any offset, `t` and `z` in lower case, second 60
    /// (as the next second), years 0000 to 9999. Fractions are rounded down to milliseconds. `None` for anything
    /// else (protocol §1.3).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        if let Some(time) = <&[u8; 24]>::try_from(text.as_bytes()).ok().and_then(Self::parse_own_form) {
            return Some(time);
        }
        let mut reader = Reader(text.as_bytes());
        let year = reader.number(4)?;
        reader.byte(b"-")?;
        let month = reader.number(2)?;
        reader.byte(b"-")?;
        let day = reader.number(2)?;
        reader.byte(b"Tt")?;
        let hour = reader.number(2)?;
        reader.byte(b":")?;
        let minute = reader.number(2)?;
        reader.byte(b":")?;
        let second = reader.number(2)?;
        let millis = reader.fraction()?;
        let offset = reader.offset()?;
        if !(1..=12).contains(&month)
            || !(1..=days_in_month(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
            || !reader.0.is_empty()
        {
            return None;
        }
        let seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60;
        let total = seconds * 1_000 + millis;
        (Self::MIN.0..=Self::MAX.0).contains(&total).then_some(Self(total))
    }

    /// The form [`UnixTime::to_rfc3339`] writes, without looking for any other: nearly all that is ever read.
    fn parse_own_form(text: &[u8; 24]) -> Option<Self> {
        const SEPARATORS: [(usize, u8); 7] =
            [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
        if SEPARATORS.iter().any(|(at, byte)| text[*at] != *byte) {
            return None;
        }
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_i64, |value, digit| {
                digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'))
            })
        };
        let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
        let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
        // Days that not every month has, and the leap second, take the long way.
        if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(seconds * 1_000 + number(&text[20..23])?))
    }

    /// The 24 bytes that `Display` writes.
    #[must_use]
    pub fn to_rfc3339(self) -> [u8; 24] {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        // Every part fits 32 bits, whose divisions cost less.
        let part = |value: i64| u32::try_from(value).unwrap_or(0);
        let (year, month, day) = (part(year), part(month), part(day));
        let rest = part(self.0.rem_euclid(DAY_MS));
        let (seconds, millis) = (rest / 1_000, rest % 1_000);
        let (minutes, second) = (seconds / 60, seconds % 60);
        let (hour, minute) = (minutes / 60, minutes % 60);
        let mut out = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, value: u32| out[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        put(0, year / 1_000);
        put(1, year / 100);
        put(2, year / 10);
        put(3, year);
        put(20, millis / 100);
        for (at, value) in [(5, month), (8, day), (11, hour), (14, minute), (17, second), (21, millis)] {
            put(at, value / 10);
            put(at + 1, value);
        }
        out
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.to_rfc3339()).unwrap_or_default())
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        allowed.contains(first).then_some(*first)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let mut value = 0;
        for _ in 0..digits {
            value = value * 10 + i64::from(self.byte(b"0123456789")? - b'0');
        }
        Some(value)
    }

    fn fraction(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.0 = &self.0[1..];
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let (text, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some((0..3).fold(0, |millis, at| millis * 10 + text.get(at).map_or(0, |b| i64::from(b - b'0'))))
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.byte(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        self.byte(b":")?;
        let minutes = self.number(2)?;
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted from March so that a leap day ends a year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Both clocks at the moment of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock; must not go backwards from call to call.
    pub mono: Instant,
    /// The wall clock; may jump.
    pub unix: UnixTime,
}

impl Now {
    /// Both clocks `span` later; what a test does instead of waiting.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self { mono: self.mono.after(span), unix: self.unix.after(span) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn formats_known_times() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_786_699_800_120, "2026-08-14T09:30:00.120Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (UnixTime::MIN.0, "0000-01-01T00:00:00.000Z"),
            (UnixTime::MAX.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(UnixTime(millis).to_string(), text);
            assert_eq!(UnixTime::parse_rfc3339(text), Some(UnixTime(millis)));
        }
    }

    #[test]
    fn every_day_of_ten_thousand_years_round_trips() {
        let mut days = UnixTime::MIN.0.div_euclid(DAY_MS);
        let mut previous = civil_from_days(days);
        assert_eq!(previous, (0, 1, 1));
        while days < UnixTime::MAX.0.div_euclid(DAY_MS) {
            days += 1;
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            let follows = (year, month, day) == (previous.0, previous.1, previous.2 + 1)
                || (day == 1 && previous.2 == days_in_month(previous.0, previous.1));
            assert!(follows, "{previous:?} then {:?}", (year, month, day));
            previous = (year, month, day);
        }
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_does() {
        let is_in_range = |range: core::ops::RangeInclusive<u8>, part| range.contains(&part);
        for (year, month, day) in
            (0..=14).flat_map(|month| (0..=32).map(move |day| (2_024 + u16::from(month % 2), month, day)))
        {
            for (hour, minute, second) in
                [(0, 0, 0), (23, 59, 59), (24, 0, 0), (0, 60, 0), (0, 0, 60), (7, 8, 9)]
            {
                let stem = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.345");
                let long = UnixTime::parse_rfc3339(&format!("{stem}+00:00"));
                assert_eq!(UnixTime::parse_rfc3339(&format!("{stem}Z")), long, "{stem}");
                let text: [u8; 24] = format!("{stem}Z").into_bytes().try_into().unwrap();
                let is_common = is_in_range(1..=12, month)
                    && is_in_range(1..=28, day)
                    && is_in_range(0..=23, hour)
                    && is_in_range(0..=59, minute)
                    && is_in_range(0..=59, second);
                assert_eq!(UnixTime::parse_own_form(&text), long.filter(|_| is_common), "{stem}");
            }
        }
    }

    #[test]
    fn reads_what_others_send() {
        let half_past_nine = UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").unwrap();
        for text in [
            "2026-08-14t09:30:00z",
            "2026-08-14T11:30:00+02:00",
            "2026-08-14T09:29:60Z",
            "2026-08-14T09:30:00.000999999-00:00",
        ] {
            assert_eq!(UnixTime::parse_rfc3339(text), Some(half_past_nine), "{text}");
        }
        for text in [
            "2026-08-14",
            "2026-08-14T09:30:00",
            "2026-08-14 09:30:00Z",
            "2026-02-29T00:00:00Z",
            "2026-08-14T24:00:00Z",
            "2026-08-14T09:60:00Z",
            "2026-08-14T09:30:61Z",
            "2026-08-14T09:30:00.Z",
            "2026-08-14T09:30:00.0123456789Z",
            "2026-08-14T09:30:00,5Z",
            "2026-08-14T09:30:00+24:00",
            "2026-08-14T09:30:00+01:60",
            "2026-08-14T09:30:00Z ",
            "10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00+00:01",
            "٢٠٢٦-08-14T11:00:00Z",
            "",
        ] {
            assert_eq!(UnixTime::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn instants_do_not_wrap() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(end.after(Duration::MAX), end);
        assert_eq!(Instant::ZERO.since(end), Duration::ZERO);
        assert_eq!(UnixTime::MAX.after(Duration::MAX), UnixTime::MAX);
    }
}
