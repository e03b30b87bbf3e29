//! A host and a port on the other side of the tunnel.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// The destination of a TCP connection, as the client has named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A name that the server has yet to resolve, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    /// Never an IPv4 address in the form of IPv6, which would bypass the rules for IPv4.
    Ip(IpAddr),
}

impl Target {
    /// The target in a request's path, which is `/WHAT/HOST/PORT`.
    pub(crate) fn from_segments(host: &str, port: &str) -> Result<Target> {
        Ok(Target { host: host.parse()?, port: parse_port(port)? })
    }

    /// The text that [`from_segments`](Target::from_segments) reads. It needs no escaping in a
    /// path, because a host has only letters, digits, and `-._:`.
    pub(crate) fn to_segments(&self) -> String {
        format!("{}/{}", self.host, self.port)
    }
}

impl FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Host> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip.to_canonical()));
        }
        parse_name(text).map(Host::Name)
    }
}

/// A host name in the form in which names are compared.
pub(crate) fn parse_name(text: &str) -> Result<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    // This accepts more than DNS does, for the names in hosts files and of containers.
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() > 253 || !name.split('.').all(is_part) {
        bail!("`{text}` is no host name; expected letters, digits, hyphens and dots");
    }
    Ok(name.to_ascii_lowercase())
}

pub(crate) fn parse_port(text: &str) -> Result<u16> {
    // `parse` also accepts a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("`{text}` is no port; expected a number from 0 to 65535");
    }
    text.parse().map_err(|_| anyhow!("`{text}` is no port; expected a number from 0 to 65535"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(ip) => fmt::Display::fmt(ip, f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_target_survives_its_way_through_a_path() {
        for (host, port) in [("db.example", "5432"), ("10.0.0.1", "0"), ("::1", "65535")] {
            let target = Target::from_segments(host, port).unwrap();
            assert_eq!(target.to_segments(), format!("{host}/{port}"));
        }
    }

    #[test]
    fn hosts_that_mean_the_same_are_equal() {
        for (text, plain) in
            [("DB.Example.", "db.example"), ("::FFFF:10.0.0.1", "10.0.0.1"), ("0:0::1", "::1")]
        {
            assert_eq!(text.parse::<Host>().unwrap(), plain.parse::<Host>().unwrap());
        }
    }

    #[test]
    fn what_is_no_host_or_port_is_refused() {
        let long = "a".repeat(64);
        for host in ["", ".", "a..b", "a b", "a/b", "%2e", "fe80::1%eth0", "[::1]", "bücher", &long]
        {
            assert!(host.parse::<Host>().is_err(), "{host}");
        }
        for port in ["", "-1", "+80", "65536", "http", "80 "] {
            assert!(parse_port(port).is_err(), "{port}");
        }
    }
}
