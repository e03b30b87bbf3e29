//! `NO_PROXY`: the URLs that go through no proxy.
//!
//! The rules are those of curl (7.88, `lib/noproxy.c`). Entries that match nothing in curl follow
//! the rules of Go (`golang.org/x/net/http/httpproxy`):
//!
//! | entry | covers | as |
//! |---|---|---|
//! | `example.com`, `.example.com` | that name and all names under it | curl; Go takes the second for those under it alone |
//! | `*.example.com` | the names under it | Go |
//! | `10.0.0.1`, `::1` | that address, in any spelling | both |
//! | `10.0.0.0/8`, `fd00::/8` | a range; `/0` is all addresses of its kind | both; for curl `/0` is no range |
//! | `[::1]`, `HOST:PORT`, `[::1]:PORT` | the address; the host at this port only | Go |
//! | `*` | everything, also beside other entries | Go; curl has it alone |
//!
//! Neither case nor a dot at the end matters. Entries are separated by commas or white space, as in
//! curl; Go and newer versions of curl accept only commas. Only listed hosts are covered: Go always
//! adds `localhost` and loopback addresses, curl does not.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::tunnel::target::{parse_name, parse_port};

/// One entry of the list.
#[derive(Debug)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug)]
enum Hosts {
    All,
    Range(IpNet),
    /// A domain. The flag says whether it covers the domain itself, and not only the names under
    /// it.
    Domain(String, bool),
}

/// Whether a list covers a host, which may have brackets, and a port.
///
/// # Errors
///
/// The first entry that cannot be parsed, if no other entry covers the host.
pub(super) fn covers<'a>(list: &'a str, host: &str, port: u16) -> Result<bool, &'a str> {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let mut wrong = None;
    let separates = |c: char| c == ',' || c.is_whitespace();
    for text in list.split(separates).filter(|text| !text.is_empty()) {
        match parse(text) {
            Some(entry) if entry.covers(address, &name, port) => return Ok(true),
            Some(_) => {}
            None => wrong = wrong.or(Some(text)),
        }
    }
    wrong.map_or(Ok(false), Err)
}

impl Entry {
    fn covers(&self, address: Option<IpAddr>, name: &str, port: u16) -> bool {
        let host = match (&self.hosts, address) {
            (Hosts::All, _) => true,
            (Hosts::Range(range), Some(address)) => range.contains(&address),
            (Hosts::Domain(domain, itself), None) => match name.strip_suffix(domain.as_str()) {
                Some("") => *itself,
                Some(under) => under.ends_with('.'),
                None => false,
            },
            (Hosts::Range(_), None) | (Hosts::Domain(..), Some(_)) => false,
        };
        host && self.port.is_none_or(|own| own == port)
    }
}

fn parse(text: &str) -> Option<Entry> {
    if text == "*" {
        return Some(Entry { hosts: Hosts::All, port: None });
    }
    if let Some(range) = parse_range(text) {
        return Some(Entry { hosts: Hosts::Range(range), port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(parse_port(port).ok()?)),
        _ => (text, None),
    };
    let hosts = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']')?.parse().ok()? {
            IpAddr::V6(address) => Hosts::Range(IpAddr::V6(address).into()),
            IpAddr::V4(_) => return None,
        },
        None => match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Hosts::Range(IpAddr::V4(address).into()),
            // The last part of the address would be read as the port.
            Ok(IpAddr::V6(_)) => return None,
            Err(_) => parse_domain(host)?,
        },
    };
    Some(Entry { hosts, port })
}

/// A range of addresses, or one address.
fn parse_range(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

fn parse_domain(text: &str) -> Option<Hosts> {
    let (domain, itself) = match text.strip_prefix("*.") {
        Some(domain) => (domain, false),
        None => (text.strip_prefix('.').unwrap_or(text), true),
    };
    Some(Hosts::Domain(parse_name(domain).ok()?, itself))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_covers_what_it_says_and_nothing_beside() {
        let table = [
            ("*", "any.example", 443, true),
            ("*", "[::1]", 80, true),
            (" * ", "any.example", 443, true),
            ("x,*", "any.example", 443, true),
            ("", "any.example", 443, false),
            (" , ,", "any.example", 443, false),
            // Names.
            ("example.com", "example.com", 443, true),
            ("example.com", "www.example.com", 443, true),
            ("example.com", "a.www.example.com", 443, true),
            ("example.com", "nonexample.com", 443, false),
            ("example.com", "example.com.evil.net", 443, false),
            ("example.com", "com", 443, false),
            ("www.example.com", "example.com", 443, false),
            (".example.com", "example.com", 443, true),
            (".example.com", "www.example.com", 443, true),
            (".example.com", "nonexample.com", 443, false),
            ("*.example.com", "www.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", "nonexample.com", 443, false),
            ("com", "www.example.com", 443, true),
            ("localhost", "localhost", 443, true),
            ("localhost", "127.0.0.1", 443, false),
            ("127.0.0.1", "localhost", 443, false),
            // Dots at the end, and case.
            ("example.com.", "www.example.com", 443, true),
            (".example.com.", "example.com", 443, true),
            ("example.com", "www.example.com.", 443, true),
            ("EXAMPLE.com", "www.example.COM", 443, true),
            // Addresses.
            ("127.0.0.1", "127.0.0.1", 7198, true),
            ("127.0.0.1", "127.0.0.2", 7198, false),
            ("127.0.0.1", "1.127.0.0.1", 7198, false),
            ("0.0.1", "127.0.0.1", 7198, false),
            ("::1", "[::1]", 443, true),
            ("0:0::1", "[::1]", 443, true),
            ("::1", "[::2]", 443, false),
            ("[::1]", "[::1]", 443, true),
            ("[::1]", "[::2]", 443, false),
            ("FE80::A", "[fe80::a]", 443, true),
            // Ranges.
            ("127.0.0.0/8", "127.1.2.3", 443, true),
            ("127.0.0.1/8", "127.1.2.3", 443, true),
            ("127.0.0.0/8", "128.0.0.1", 443, false),
            ("192.168.0.0/23", "192.168.1.1", 443, true),
            ("192.168.0.0/24", "192.168.1.1", 443, false),
            ("192.168.0.0/32", "192.168.0.1", 443, false),
            ("0.0.0.0/0", "10.0.0.1", 443, true),
            ("0.0.0.0/0", "[::1]", 443, false),
            ("0.0.0.0/0", "example.com", 443, false),
            ("fd00::/8", "[fd12::1]", 443, true),
            ("fd00::/8", "[fe12::1]", 443, false),
            ("2001:db8::/33", "[2001:db8:7fff::1]", 443, true),
            ("2001:db8::/33", "[2001:db8:8000::1]", 443, false),
            ("::/0", "[::1]", 443, true),
            ("::/0", "10.0.0.1", 443, false),
            // Ports.
            ("127.0.0.1:7198", "127.0.0.1", 7198, true),
            ("127.0.0.1:7198", "127.0.0.1", 7199, false),
            ("[::1]:7198", "[::1]", 7198, true),
            ("[::1]:7198", "[::1]", 443, false),
            ("example.com:443", "example.com", 443, true),
            ("example.com:443", "www.example.com", 443, true),
            ("example.com:443", "www.example.com", 8443, false),
            (".example.com:443", "www.example.com", 443, true),
            ("*.example.com:443", "example.com", 443, false),
            ("example.com.:443", "example.com", 443, true),
            // Lists.
            ("b,example.com", "www.example.com", 443, true),
            ("b example.com", "www.example.com", 443, true),
            ("b\t, ,,\n example.com ,", "www.example.com", 443, true),
            ("b,c", "example.com", 443, false),
        ];
        for (list, host, port, expected) in table {
            assert_eq!(covers(list, host, port), Ok(expected), "{list:?} for {host}:{port}");
        }
    }

    #[test]
    fn an_entry_that_says_nothing_clear_is_told_unless_another_covers_the_host() {
        for wrong in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/8:443",
            "fd00::/129",
            "[fd00::]/8",
            "[10.0.0.1]",
            "[::1",
            "::1]",
            "[::1]:",
            "host:",
            "host:99999",
            "host:http",
            ":443",
            "*:443",
            "10.*",
            "a*.example",
            ".",
            "..example.com",
            "http://host",
            "host/path",
            "<local>",
            "bücher.example",
            "\u{fffd}",
        ] {
            let list = format!("a, {wrong} ,b,%");
            assert_eq!(covers(&list, "example.com", 443), Err(wrong));
            assert_eq!(covers(&list, "b", 443), Ok(true), "{wrong}");
        }
    }
}
