//! Which addresses a permitted fetch may connect to (protocol §5.3, T-13).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::operation::Canonical;

impl Canonical {
    /// Whether a permitted fetch may connect to this address of its host. An address that is not of the public internet
    /// (private, loopback, link-local and the like) is permitted only where the lease names the host literally: a name
    /// behind a wildcard may be made to resolve to anything.
    ///
    /// Judge the address that is connected to, not one that was looked up before.
    #[must_use]
    pub fn permits_address(&self, address: IpAddr) -> bool {
        self.names_one_host() || is_public(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, private, shared, loopback, link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..]
        // Protocol assignments, documentation, benchmarks.
        | [192, 0, 0 | 2, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _]
        // Multicast, reserved, broadcast.
        | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // Addresses that stand for one of the older kind: mapped, compatible, translated, tunnelled. Unspecified and
        // loopback are among the second.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(embedded(high, low))
        }
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Local translation, discard, documentation.
        [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Teredo and other protocol assignments.
        [0x2001, 0..=0x1ff, ..] => false,
        // Only this eighth of the space is assigned as global unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Features;
    use crate::lease::{Capability, Circumstances, Lease, Operation, Policy};
    use crate::time::Now;
    use crate::wire::RawJson;

    const PUBLIC: [&str; 9] = [
        "1.1.1.1",
        "100.63.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ];
    const INWARD: [&str; 30] = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "ff02::1",
    ];

    fn permitted(pattern: &str, url: &str) -> Canonical {
        let request = RawJson::parse(alloc::format!(r#"{{"net.fetch":["{pattern}"]}}"#)).unwrap();
        let now = Now::default();
        let lease = Lease::parse(Some(&request), None, Features::EVERY, now.unix).unwrap();
        let operation = Operation { capability: Capability::NetFetch, target: url };
        let circumstances = Circumstances { running: true, expiry: None, now, exhausted: None };
        lease.authorize(&operation, &circumstances, Policy::default()).unwrap()
    }

    #[test]
    fn only_public_addresses_are_reached_through_a_wildcard() {
        let wide = permitted("https://*.example.com/**", "https://a.example.com/");
        for address in PUBLIC {
            assert!(wide.permits_address(address.parse().unwrap()), "{address}");
        }
        for address in INWARD {
            assert!(!wide.permits_address(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_host_that_is_named_may_be_anywhere() {
        let named = permitted("http://intranet.example.com/**", "http://intranet.example.com/a");
        for address in PUBLIC.into_iter().chain(INWARD) {
            assert!(named.permits_address(address.parse().unwrap()), "{address}");
        }
    }
}
