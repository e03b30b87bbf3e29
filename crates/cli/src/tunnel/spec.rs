//! The values of `-L`, `-R` and `-D`, in the forms that ssh accepts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

use super::target::{Host, Target, parse_port};

/// `[BIND:]PORT:HOST:PORT`: an address to listen on, and the target of its connections. PORT alone
/// has the same port of `localhost`, on the other side, for its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) bind: Bind,
    pub(crate) target: Target,
}

/// `[BIND:]PORT`: an address to listen on. Without BIND it is 127.0.0.1, so that only users of this
/// machine can connect. `*` is 0.0.0.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

impl FromStr for Forward {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Forward> {
        let form = "expected [BIND:]PORT:HOST:PORT, as in 8080:web.example:80, or PORT for the same port of \
                    localhost on the other side";
        Forward::parse(text).map_err(|error| anyhow!("{error:#}; {form}"))
    }
}

impl FromStr for Bind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Bind> {
        let form = "expected [BIND:]PORT, as in 1080 or 127.0.0.1:1080";
        Bind::parse(text).map_err(|error| anyhow!("{error:#}; {form}"))
    }
}

impl Forward {
    fn parse(text: &str) -> Result<Forward> {
        let parts = split(text)?;
        let (bind, host, port) = match &*parts {
            [port] => (Bind::read(None, port)?, &"localhost", port),
            [port, host, target_port] => (Bind::read(None, port)?, host, target_port),
            [ip, port, host, target_port] => (Bind::read(Some(ip), port)?, host, target_port),
            _ => bail!("this has {} parts between colons", parts.len()),
        };
        let target = Target::from_segments(host, port)?;
        if target.port == 0 {
            bail!("there is no port 0 to connect to");
        }
        Ok(Forward { bind, target })
    }
}

impl Bind {
    fn parse(text: &str) -> Result<Bind> {
        match &*split(text)? {
            [port] => Bind::read(None, port),
            [ip, port] => Bind::read(Some(ip), port),
            parts => bail!("this has {} parts between colons", parts.len()),
        }
    }

    fn read(ip: Option<&&str>, port: &str) -> Result<Bind> {
        let ip = match ip.copied() {
            None | Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some("*") => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some(text) => match text.parse() {
                Ok(Host::Ip(ip)) => ip,
                _ => bail!(
                    "`{text}` is nothing to listen on: it has to be an address, localhost or *"
                ),
            },
        };
        Ok(Bind { ip, port: parse_port(port)? })
    }

    /// The address as a target, for the path of the request and for the rules.
    pub(crate) fn to_target(self) -> Target {
        Target { host: Host::Ip(self.ip), port: self.port }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_target(), f)
    }
}

/// The parts between colons. An IPv6 address must be in brackets.
fn split(text: &str) -> Result<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let end = match rest.strip_prefix('[') {
            Some(inside) => {
                let end = inside.find(']').context("a ] is missing")?;
                parts.push(&inside[..end]);
                &inside[end + 1..]
            }
            None => {
                let end = rest.find(':').unwrap_or(rest.len());
                parts.push(&rest[..end]);
                &rest[end..]
            }
        };
        match end.strip_prefix(':') {
            Some(next) => rest = next,
            None if end.is_empty() => return Ok(parts),
            None => bail!("there is something between a ] and the next colon"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn forwards_are_read_as_ssh_reads_them() {
        let table = [
            ("8080:web:80", "127.0.0.1:8080", "web:80"),
            ("localhost:0:10.0.0.1:80", "127.0.0.1:0", "10.0.0.1:80"),
            ("*:8080:web:80", "0.0.0.0:8080", "web:80"),
            ("0.0.0.0:8080:[::1]:80", "0.0.0.0:8080", "[::1]:80"),
            ("[::1]:8080:WEB.:80", "[::1]:8080", "web:80"),
            ("9999", "127.0.0.1:9999", "localhost:9999"),
        ];
        for (text, bind, target) in table {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.bind.to_string(), bind, "{text}");
            assert_eq!(forward.target.to_string(), target, "{text}");
        }
        let bind = |text: &str| text.parse::<Bind>().map(|bind| bind.to_string()).ok();
        assert_eq!(bind("1080").as_deref(), Some("127.0.0.1:1080"));
        assert_eq!(bind("[::1]:1080").as_deref(), Some("[::1]:1080"));
    }

    #[test]
    fn other_forms_are_refused_with_the_form_that_is_expected() {
        for text in [
            "",
            "0",
            "web",
            "65536",
            "80:web",
            "web:80",
            "80:web:",
            "80:web:0",
            ":web:80",
            "a:b:web:80",
            "1:2:3:4:5",
            "[::1:80:web:80",
            "[::1]80:web:80",
            "::1:80:web:80",
            "host.name:80:web:80",
            "80:we b:80",
        ] {
            let error = text.parse::<Forward>().expect_err(text);
            assert!(format!("{error:#}").contains("expected [BIND:]PORT:HOST:PORT"), "{error:#}");
        }
        for text in ["", "web", "web:80", "1:2:3", "-1"] {
            let error = text.parse::<Bind>().expect_err(text);
            assert!(format!("{error:#}").contains("expected [BIND:]PORT"), "{error:#}");
        }
    }
}
