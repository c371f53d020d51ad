//! URLs of leases, beside another parser.

use arcp_proto::lease::canonical_url;
use url::{Host, ParseError, Url};

use super::meaning::decoded;

/// Reads the bytes as a URL. What is accepted means to an independent parser what it means here, and so does its one
/// spelling, which is accepted as it is (protocol §5.3, LEA-9).
pub fn lease_url(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        is_read_alike(text);
    }
}

/// Whether the URL is accepted, after both readings were compared.
pub fn is_read_alike(text: &str) -> bool {
    let Ok(canonical) = canonical_url(text) else { return false };
    assert_eq!(canonical_url(&canonical).as_ref(), Ok(&canonical), "{text:?}");
    assert!(canonical.is_ascii() && canonical.len() <= 4_096, "{text:?}");
    // What would have to be repaired is no URL.
    let path = text.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let odd = ["%2e", "%2f", "%5c", "%00", "%25", "\\", "/./", "/../"];
    assert!(odd.iter().all(|odd| !path.contains(odd)), "{text:?}");
    let asked = match Url::parse(text) {
        Ok(asked) => asked,
        // A name that stands for no characters of another script resolves to nothing.
        Err(ParseError::IdnaError) if canonical.contains("xn--") => return true,
        Err(error) => panic!("{text:?}: {error}"),
    };
    let judged = Url::parse(&canonical).unwrap_or_else(|error| panic!("{canonical:?}: {error}"));
    assert_eq!(asked.scheme(), judged.scheme(), "{text:?}");
    assert_eq!(asked.host(), judged.host(), "{text:?}");
    assert_eq!(asked.port_or_known_default(), judged.port_or_known_default(), "{text:?}");
    assert_eq!(decoded(asked.path()), judged.path(), "{text:?}");
    assert_eq!(asked.query().map(decoded), judged.query().map(str::to_owned), "{text:?}");
    assert_eq!((asked.username(), asked.password()), ("", None), "{text:?}");
    assert_eq!((judged.username(), judged.password(), judged.fragment()), ("", None, None), "{text:?}");
    // What is fetched is what was judged. The other parser spells mapped addresses and `'` in a query its own way.
    let mapped = matches!(judged.host(), Some(Host::Ipv6(address)) if address.to_ipv4_mapped().is_some());
    if !mapped {
        let spelled = match canonical.split_once('?') {
            Some((before, query)) => format!("{before}?{}", query.replace('\'', "%27")),
            None => canonical,
        };
        assert_eq!(judged.as_str(), spelled);
    }
    true
}
