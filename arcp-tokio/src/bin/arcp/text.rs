//! Texts of others, made harmless for a terminal and a log.

use std::fmt::Write;
use std::time::Duration;

/// One line: line ends, control characters and those that change the direction of writing are shown as escapes, so
/// that a peer can neither begin a line of its own nor command the terminal.
pub(crate) fn escape(text: &str) -> String {
    escaped(text, |_| false)
}

/// As [`escape`], for texts of several lines.
pub(crate) fn escape_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, passes: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if passes(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_invisible(c) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The beginning of a text, at most this many characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// `1 event`, `2 events`, `1,234 events`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// With commas between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As people say it: `212 ms`, `2.71 s`.
pub(crate) fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.2} s", span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_peer_reaches_the_terminal_as_a_command() {
        assert_eq!(escape("a\x1b[31mb\r\nc\u{9b}d"), "a\\u{1b}[31mb\\r\\nc\\u{9b}d");
        assert_eq!(escape("\u{202e}\u{2066}\u{200b}\u{7f}"), "\\u{202e}\\u{2066}\\u{200b}\\u{7f}");
        assert_eq!(escape("Grüße, 世界 🎉"), "Grüße, 世界 🎉");
        assert_eq!(escape_lines("a\n\tb\rc"), "a\n\tb\\rc");
    }

    #[test]
    fn numbers_and_texts_are_readable() {
        let numbers = [0, 7, 999, 1_000, 123_456, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
        assert_eq!((count(1, "event"), count(2, "event")), ("1 event".into(), "2 events".into()));
        assert_eq!((shortened("abc", 3), shortened("ab c", 3)), ("abc".into(), "ab…".into()));
        assert_eq!(span(Duration::from_millis(212)), "212 ms");
        assert_eq!(span(Duration::from_millis(2_714)), "2.71 s");
    }
}
