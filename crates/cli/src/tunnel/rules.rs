//! The rules for what clients may reach through a server. Without a rule, they can reach nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;

use super::target::{Host, Target, parse_name, parse_port};

/// `HOST:PORTS`. HOST is a name, `*.name` for all names under it, an address, a range of addresses
/// such as `10.0.0.0/8`, or `*`. PORTS is a port, two ports with a hyphen between them, or `*`.
///
/// Names are compared with what the client asks for, **before** it is resolved. Addresses and
/// ranges are compared **after** that, with each address that a name has. A rule that denies a name
/// therefore stops only that spelling, and no other way to the same host.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    text: String,
    host: Pattern,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Any,
    Name(String),
    /// All names that end with a dot and this name.
    Under(String),
    Range(IpNet),
}

/// The rules of one server. A rule of `deny` overrides all rules of `allow`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) allow: Vec<Rule>,
    pub(crate) deny: Vec<Rule>,
}

/// The result of the check of a target before it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All of its addresses may be used, except those that are denied.
    ByName,
    /// Only those of its addresses may be used that a range allows.
    ByAddress,
}

/// The reason why a target cannot be reached, for the user at the other end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This rule denies it.
    Denied(String),
    /// No rule allows it; these are all rules.
    NotAllowed(Vec<String>),
}

impl Rules {
    /// Checks a target before its name is resolved. A name that no rule can allow is not looked up.
    pub(crate) fn check(&self, target: &Target) -> Result<Allowed, Refusal> {
        let named = |rule: &&Rule| rule.covers_name(&target.host) && rule.covers_port(target.port);
        if let Some(rule) = self.deny.iter().find(named) {
            return Err(Refusal::Denied(rule.text.clone()));
        }
        if self.allow.iter().any(|rule| named(&rule)) {
            return Ok(Allowed::ByName);
        }
        let ranged = |rule: &Rule| rule.is_range() && rule.covers_port(target.port);
        if self.allow.iter().any(ranged) { Ok(Allowed::ByAddress) } else { Err(self.not_allowed()) }
    }

    /// The addresses of a target that may be used: at least one.
    pub(crate) fn filter(
        &self,
        allowed: Allowed,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let mut denied = None;
        let mut usable = Vec::new();
        for address in addresses {
            if let Some(rule) = self.deny.iter().find(|rule| rule.covers_address(address)) {
                denied = Some(rule.text.clone());
            } else if allowed == Allowed::ByName
                || self.allow.iter().any(|rule| rule.covers_address(address))
            {
                usable.push(address);
            }
        }
        match denied {
            _ if !usable.is_empty() => Ok(usable),
            Some(rule) => Err(Refusal::Denied(rule)),
            None => Err(self.not_allowed()),
        }
    }

    fn not_allowed(&self) -> Refusal {
        Refusal::NotAllowed(self.allow.iter().map(|rule| rule.text.clone()).collect())
    }
}

impl Rule {
    fn is_range(&self) -> bool {
        matches!(self.host, Pattern::Range(_))
    }

    fn covers_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    fn covers_name(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Pattern::Any, _) => true,
            (Pattern::Name(name), Host::Name(host)) => host == name,
            (Pattern::Under(domain), Host::Name(host)) => {
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            }
            (Pattern::Range(_) | Pattern::Name(_) | Pattern::Under(_), _) => false,
        }
    }

    fn covers_address(&self, address: SocketAddr) -> bool {
        match &self.host {
            Pattern::Range(range) => {
                range.contains(&address.ip().to_canonical()) && self.covers_port(address.port())
            }
            Pattern::Any | Pattern::Name(_) | Pattern::Under(_) => false,
        }
    }

    fn parse(text: &str) -> Result<Rule> {
        let (host, ports) = text.rsplit_once(':').context("there is no port")?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inside = rest.strip_suffix(']').context("a ] is missing")?;
                match parse_host(inside)? {
                    range @ Pattern::Range(IpNet::V6(_)) => range,
                    _ => bail!("brackets are for IPv6 addresses"),
                }
            }
            None if host.contains(':') => bail!("an IPv6 address takes brackets"),
            None => parse_host(host)?,
        };
        Ok(Rule { text: text.to_owned(), host, ports: parse_ports(ports)? })
    }

    /// Parses a rule for addresses to listen on, which are never resolved.
    pub(crate) fn parse_for_bind(text: &str) -> Result<Rule> {
        let rule: Rule = text.parse()?;
        match rule.host {
            Pattern::Any | Pattern::Range(_) => Ok(rule),
            Pattern::Name(_) | Pattern::Under(_) => {
                bail!(
                    "`{text}` has a name; expected an address to listen on, a range of them, or *"
                )
            }
        }
    }
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Rule> {
        let form = "expected HOST:PORTS, as in db.example:5432, *.example:80-90, 10.0.0.0/8:* or \
                    [::1]:22";
        Rule::parse(text).map_err(|error| anyhow!("{error:#}; {form}"))
    }
}

fn parse_host(text: &str) -> Result<Pattern> {
    let range = match text.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(ip)),
        Err(_) if text.contains('/') => {
            Some(text.parse().with_context(|| format!("`{text}` is no range of addresses"))?)
        }
        Err(_) => None,
    };
    match range {
        Some(IpNet::V6(range)) if range.addr().to_ipv4_mapped().is_some() => {
            // Addresses are compared in their shortest form, so this rule would cover nothing.
            bail!("`{text}` is IPv4 in the form of IPv6: write it as IPv4")
        }
        Some(range) => Ok(Pattern::Range(range.trunc())),
        None if text == "*" => Ok(Pattern::Any),
        None => match text.strip_prefix("*.") {
            Some(domain) => Ok(Pattern::Under(parse_named(domain)?)),
            None => Ok(Pattern::Name(parse_named(text)?)),
        },
    }
}

/// Parses a name, and rejects the short forms of an IPv4 address: resolvers accept these, and a
/// user who writes one means the address.
fn parse_named(text: &str) -> Result<String> {
    let name = parse_name(text)?;
    let last = name.rsplit('.').next().unwrap_or(&name);
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if last.strip_prefix("0x").is_some_and(is_hex) || last.bytes().all(|byte| byte.is_ascii_digit())
    {
        bail!("`{text}` ends like an address and is none: write its four numbers in decimal");
    }
    Ok(name)
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>> {
    if text == "*" {
        return Ok(0..=u16::MAX);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (parse_port(from)?, parse_port(to)?);
    if from > to {
        bail!("the ports {from}-{to} are in the wrong order");
    }
    Ok(from..=to)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Denied(rule) => write!(f, "denied by the server's rule {rule}"),
            Refusal::NotAllowed(rules) if rules.is_empty() => {
                f.write_str("not allowed: the server has no rule that allows anything")
            }
            Refusal::NotAllowed(rules) => {
                write!(f, "not allowed by any of the server's rules: {}", rules.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Rules { allow: parse(allow), deny: parse(deny) }
    }

    /// The addresses at which a target that has these addresses may be reached.
    fn reach(
        rules: &Rules,
        host: &str,
        port: u16,
        addresses: &[&str],
    ) -> Result<Vec<IpAddr>, Refusal> {
        let allowed = rules.check(&Target { host: host.parse().unwrap(), port })?;
        let addresses = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        Ok(rules.filter(allowed, addresses)?.iter().map(SocketAddr::ip).collect())
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        let none = rules(&[], &[]);
        assert_eq!(reach(&none, "localhost", 22, &["127.0.0.1"]), Err(Refusal::NotAllowed(vec![])));
    }

    #[test]
    fn each_pattern_covers_what_it_says_and_nothing_beside() {
        let table = [
            ("db.example:5432", "db.example", 5432, "10.0.0.1", true),
            ("db.example:5432", "DB.EXAMPLE.", 5432, "10.0.0.1", true),
            ("db.example:5432", "db.example", 5433, "10.0.0.1", false),
            ("db.example:5432", "xdb.example", 5432, "10.0.0.1", false),
            ("db.example:5432", "10.0.0.1", 5432, "10.0.0.1", false),
            ("1.0xy:1", "1.0xy", 1, "10.0.0.1", true),
            ("*.example:80-90", "a.b.example", 90, "10.0.0.1", true),
            ("*.example:80-90", "a.b.example", 91, "10.0.0.1", false),
            ("*.example:80-90", "example", 80, "10.0.0.1", false),
            ("*.example:80-90", "badexample", 80, "10.0.0.1", false),
            ("*:443", "anything", 443, "10.0.0.1", true),
            ("*:443", "10.0.0.1", 443, "10.0.0.1", true),
            ("*:443", "anything", 444, "10.0.0.1", false),
            ("127.0.0.1:*", "127.0.0.1", 1, "127.0.0.1", true),
            ("127.0.0.1:*", "localhost", 1, "127.0.0.1", true),
            ("127.0.0.1:*", "localhost", 1, "::1", false),
            ("10.0.0.0/8:22", "inside", 22, "10.255.0.1", true),
            ("10.0.0.0/8:22", "outside", 22, "11.0.0.1", false),
            ("10.0.0.0/8:22", "mapped", 22, "::ffff:10.0.0.1", true),
            ("[::1]:22", "::1", 22, "::1", true),
            ("[fd00::/8]:22", "six", 22, "fd12::1", true),
            ("[fd00::/8]:22", "six", 22, "fe12::1", false),
        ];
        for (rule, host, port, address, expected) in table {
            let got = reach(&rules(&[rule], &[]), host, port, &[address]);
            assert_eq!(got.is_ok(), expected, "{rule} for {host}:{port}, {address}: {got:?}");
            if let Err(refusal) = got {
                assert!(refusal.to_string().contains(rule), "{refusal}");
            }
        }
    }

    #[test]
    fn a_denied_range_beats_an_allowed_name_however_the_name_resolves() {
        let rules = rules(&["*:80"], &["169.254.0.0/16:*", "*.internal:*"]);
        assert!(reach(&rules, "good", 80, &["192.0.2.1"]).is_ok());
        for address in ["169.254.169.254", "::ffff:169.254.169.254"] {
            let denied = Err(Refusal::Denied("169.254.0.0/16:*".to_owned()));
            assert_eq!(reach(&rules, "rebound", 80, &[address]), denied);
            assert_eq!(reach(&rules, address, 80, &[address]), denied);
        }
        let denied = Err(Refusal::Denied("*.internal:*".to_owned()));
        assert_eq!(reach(&rules, "db.internal", 80, &["192.0.2.1"]), denied);
        // A denied name is only one spelling. The host has others.
        assert!(reach(&rules, "192.0.2.1", 80, &["192.0.2.1"]).is_ok());
    }

    #[test]
    fn of_several_addresses_only_those_are_used_that_are_allowed() {
        let some = rules(&["10.0.0.0/8:22"], &["10.9.0.0/16:*"]);
        let got = reach(&some, "many", 22, &["192.0.2.1", "10.9.0.1", "10.1.0.1"]);
        assert_eq!(got, Ok(vec!["10.1.0.1".parse().unwrap()]));
    }

    #[test]
    fn a_name_that_no_rule_can_allow_is_not_looked_up() {
        let named = rules(&["db.example:5432", "10.0.0.0/8:22"], &[]);
        let check = |host: &str, port| named.check(&Target { host: host.parse().unwrap(), port });
        assert_eq!(check("other", 22), Ok(Allowed::ByAddress));
        assert!(check("other", 5432).is_err());
    }

    #[test]
    fn rules_that_say_nothing_clear_are_refused_with_what_is_expected() {
        for text in [
            "",
            "host",
            "host:",
            ":22",
            "host:99999",
            "host:9-1",
            "::1:22",
            "[::1:22",
            "[host]:22",
            "10.0.0.0/33:1",
            "a*:1",
            "*.*:1",
            "ho st:1",
            "::ffff:10.0.0.1:1",
            "[::ffff:10.0.0.1]:1",
            "127.1:*",
            "010.0.0.1:*",
            "0x7f000001:*",
            "2130706433:*",
            "*.0:1",
            "host.0X1.:1",
        ] {
            let error = text.parse::<Rule>().expect_err(text);
            assert!(format!("{error:#}").contains("expected"), "{error:#}");
        }
        assert!(Rule::parse_for_bind("localhost:1").is_err());
        assert!(Rule::parse_for_bind("127.0.0.0/8:1024-65535").is_ok());
    }
}
