//! Paths of leases.

use std::path::{Component, Path};

use arcp_proto::lease::canonical_path;

/// Reads the bytes as a path. What is accepted is the path as it stands, but for one `/` at its end, and is one on any
/// system: absolute, with no segment that leads elsewhere. Exactly what the rules of protocol §5.3 refuse is refused, so
/// that no repair makes a bad path a good one.
pub fn lease_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let accepted = canonical_path(text, false);
    if text.is_ascii() {
        assert_eq!(accepted.is_ok(), is_path(text), "{text:?}: {accepted:?}");
    } else {
        assert!(accepted.is_err() || is_path(text), "{text:?}");
    }
    let on_windows = canonical_path(text, true);
    assert!(on_windows.is_err() || on_windows == accepted, "{text:?}");
    let Ok(canonical) = accepted else { return };
    assert!(text == canonical || *text == format!("{canonical}/"), "{text:?}");
    assert_eq!(canonical_path(&canonical, false).as_ref(), Ok(&canonical));
    assert_eq!(canonical_path(&canonical, true).is_ok(), on_windows.is_ok(), "{text:?}");
    let mut components = Path::new(&canonical).components();
    assert_eq!(components.next(), Some(Component::RootDir));
    let mut rebuilt = String::new();
    for component in components {
        let Component::Normal(name) = component else { panic!("{canonical:?}: {component:?}") };
        rebuilt.push('/');
        rebuilt.push_str(name.to_str().expect("a part of a text"));
    }
    assert_eq!(if rebuilt.is_empty() { "/" } else { &rebuilt }, canonical);
    if on_windows.is_ok() {
        assert!(canonical.split('/').all(|segment| !is_windows_name(segment)), "{text:?}");
    }
}

/// The rules, but for the form of characters beyond ASCII.
fn is_path(text: &str) -> bool {
    let invisible = |c: char| {
        c.is_control()
            || "\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}"
                .contains(c)
            || "\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}".contains(c)
    };
    let Some(body) = text.strip_prefix('/') else { return false };
    let segments: Vec<&str> = body.strip_suffix('/').unwrap_or(body).split('/').collect();
    let lower = text.to_ascii_lowercase();
    text.len() <= 4_096
        && !text.contains(invisible)
        && !text.contains('\\')
        && ["%2e", "%2f", "%5c"].iter().all(|encoded| !lower.contains(encoded))
        && segments.len() <= 256
        && segments.iter().all(|segment| segment.len() <= 255 && ![".", ".."].contains(segment))
        && (text == "/" || segments.iter().all(|segment| !segment.is_empty()))
}

/// Whether such a segment names something else on Windows.
fn is_windows_name(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let device = |name: &&str| stem.eq_ignore_ascii_case(name);
    segment.contains(':')
        || segment.ends_with(' ')
        || segment.ends_with('.')
        || ["CON", "PRN", "AUX", "NUL", "COM1", "COM9", "LPT1", "LPT9", "CONIN$", "CONOUT$"]
            .iter()
            .any(device)
}
