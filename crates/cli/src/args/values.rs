//! Values of options that are more than text.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use h2conn::Reach;

/// A header field, or a file of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Given(String, String),
    File(PathBuf),
    /// An empty line, in the text of a variable or file.
    Nothing,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Field, String> {
        let text = text.trim_end_matches('\r');
        if let Some(path) = text.strip_prefix('@') {
            return Ok(Field::File(path.into()));
        }
        if text.trim().is_empty() {
            return Ok(Field::Nothing);
        }
        let (name, value) = text.split_once(':').ok_or("expected 'name: value' or @FILE")?;
        if name.trim().is_empty() {
            return Err("it has no name before the colon; expected 'name: value'".to_owned());
        }
        Ok(Field::Given(name.trim().to_owned(), value.trim().to_owned()))
    }
}

/// Addresses for a host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolve {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Resolve, String> {
        let expected = "expected HOST:PORT:ADDRESS, with more addresses after commas";
        // A host in brackets has colons of its own.
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or(expected)?,
            None => text.split_once(':').ok_or(expected)?,
        };
        let (port, addresses) = rest.split_once(':').ok_or(expected)?;
        if host.is_empty() {
            return Err(format!("its host is empty; {expected}"));
        }
        let port = port.parse().map_err(|_| format!("{port:?} is no port; {expected}"))?;
        let addresses = addresses.split(',').map(|address| {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            bare.parse().map_err(|_| format!("{address:?} is no IP address; {expected}"))
        });
        let addresses = addresses.collect::<Result<_, _>>()?;
        Ok(Resolve { host: host.to_ascii_lowercase(), port, addresses })
    }
}

/// A place to listen on or to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Destination, String> {
        let expected = "expected HOST:PORT or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(format!("it has no path; {expected}")),
                _ if cfg!(not(unix)) => Err("there are no Unix domain sockets here".to_owned()),
                path => Ok(Destination::Unix(path.into())),
            };
        }
        if text.contains("://") {
            return Err(format!("it is a URL; {expected}"));
        }
        let (host, port) = text.rsplit_once(':').ok_or(format!("it has no port; {expected}"))?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port; {expected}"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address needs brackets, as in [::1]:8000".to_owned());
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err(format!("it has no host; {expected}, with 0.0.0.0 for all addresses"));
        }
        Ok(Destination::Tcp { host: host.to_owned(), port })
    }
}

/// An address to listen on. A port alone is that port of all IPv4 addresses: with ncat, too, other machines
/// can connect then.
pub(crate) fn listen_addr(text: &str) -> Result<Destination, String> {
    match text.parse() {
        // Not `[::]`: systems differ in whether such a socket accepts IPv4 as well.
        Ok(port) if is_port(text) => Ok(Destination::Tcp { host: "0.0.0.0".to_owned(), port }),
        _ if is_port(text) => Err(format!("{text:?} is no port; expected 0 to 65535")),
        _ => text
            .parse()
            .map_err(|error| format!("{error}; PORT alone is that port of all IPv4 addresses")),
    }
}

/// A URL. One without a scheme is one of `https://`.
///
/// Most of what else is wrong with it is found when it is connected to. A URL that carries a password is not
/// refused here, for the error would show it.
pub(crate) fn url(text: &str) -> Result<String, String> {
    let (authority, _) = text.split_once(['/', '?', '#']).unwrap_or((text, ""));
    if has_scheme(text) || authority.contains('@') {
        return Ok(text.to_owned());
    }
    let expected = "expected https://HOST:PORT/PATH, or HOST:PORT/PATH, which means the same";
    match authority {
        // The rest can be a user name with a password. The text of this error would show it.
        "" | "http:" | "https:" if text.contains('@') => Ok(text.to_owned()),
        "" => Err(format!("it has no host; {expected}")),
        "http:" | "https:" => Err(format!("it has no // after {authority}; {expected}")),
        port if is_port(port) => Err(format!("it is a port without a host; {expected}")),
        ip if ip.parse::<Ipv6Addr>().is_ok() => {
            Err("an IPv6 address needs brackets, as in [::1]:8000".to_owned())
        }
        _ => Ok(format!("https://{text}")),
    }
}

/// Whether a URL says by which scheme it is reached (RFC 3986 §3.1).
pub(crate) fn has_scheme(url: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    url.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(is_of_it))
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Destination::Tcp { host, port } => write!(f, "{host}:{port}"),
            Destination::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How statistics are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsFormat {
    /// Readable text on one line.
    Text,
    /// A JSON object on one line.
    Json,
}

/// The ways to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReachBy {
    /// HTTP/2 only.
    Http2,
    /// A WebSocket over HTTP/1.1 only.
    Websocket,
    /// HTTP/2, and a WebSocket if HTTP/2 does not pass.
    Auto,
}

impl From<ReachBy> for Reach {
    fn from(reach: ReachBy) -> Reach {
        match reach {
            ReachBy::Http2 => Reach::Http2,
            ReachBy::Websocket => Reach::WebSocket,
            ReachBy::Auto => Reach::Auto,
        }
    }
}

/// A time limit that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Never,
    After(Duration),
}

impl Limit {
    pub(crate) fn time(self) -> Option<Duration> {
        match self {
            Limit::Never => None,
            Limit::After(time) => Some(time),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        match text {
            "0" | "none" => Ok(Limit::Never),
            text => duration(text)
                .map(Limit::After)
                .map_err(|expected| format!("{expected}, or 0 or none for no limit")),
        }
    }
}

/// Parses a size: a number of bytes, perhaps with a unit. `none` is the largest size there is.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match text {
        "none" => Ok(u64::MAX),
        text => text.parse().map(|ByteSize(bytes)| bytes).map_err(|_| {
            "expected a number of bytes such as 1000000, 500MB or 10GiB, or none".to_owned()
        }),
    }
}

/// Parses the size of a message.
pub(crate) fn message_size(text: &str) -> Result<usize, String> {
    const MOST: u64 = 1 << 30;
    match size(text) {
        Ok(bytes @ 1..=MOST) => Ok(bytes as usize),
        _ => Err("expected a size from 1 to 1GiB, such as 500kB or 64MiB".to_owned()),
    }
}

/// Parses a time: a number of seconds, or a number with the unit ms, s, m, h or d.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a time above 0 such as 5, 0.5, 500ms, 2m, 1h or 1d";
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let number: f64 = number.parse().map_err(|_| expected.to_owned())?;
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("its unit {unit:?} is not known; {expected}")),
    };
    match Duration::try_from_secs_f64(number * scale) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(expected.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_header_field_is_a_name_and_a_value_or_a_file() {
        let given = |name: &str, value: &str| Field::Given(name.into(), value.into());
        assert_eq!("x-token:  a:b ".parse(), Ok(given("x-token", "a:b")));
        assert_eq!("empty:".parse(), Ok(given("empty", "")));
        assert_eq!("@secret.txt".parse(), Ok(Field::File("secret.txt".into())));
        assert_eq!("\r".parse(), Ok(Field::Nothing));
        for bad in ["no colon", ": value"] {
            bad.parse::<Field>().unwrap_err();
        }
    }

    #[test]
    fn resolve_takes_hosts_and_addresses_of_both_kinds() {
        let resolve: Resolve = "Example.com:443:127.0.0.1,[::1],::2".parse().unwrap();
        assert_eq!((resolve.host.as_str(), resolve.port), ("example.com", 443));
        assert_eq!(resolve.addresses.len(), 3);
        let resolve: Resolve = "[::1]:80:10.0.0.1".parse().unwrap();
        assert_eq!((resolve.host.as_str(), resolve.port), ("::1", 80));
        for bad in ["", "host", "host:80", "host:http:1.2.3.4", ":80:1.2.3.4", "host:80:name"] {
            bad.parse::<Resolve>().unwrap_err();
        }
    }

    #[test]
    fn a_destination_is_a_host_with_a_port_or_a_path() {
        let shown = |text: &str| text.parse::<Destination>().unwrap().to_string();
        for text in ["localhost:0", "127.0.0.1:65535", "[::1]:8000"] {
            assert_eq!(shown(text), text);
        }
        #[cfg(unix)]
        assert_eq!(shown("unix:/run/x.sock"), "unix:/run/x.sock");
        for bad in ["", "host", "host:", "host:65536", ":80", "::1:80", "unix:", "http://host:80"] {
            bad.parse::<Destination>().unwrap_err();
        }
    }

    #[test]
    fn a_port_alone_listens_on_all_addresses() {
        let shown = |text: &str| listen_addr(text).map(|addr| addr.to_string());
        assert_eq!(shown("9445").as_deref(), Ok("0.0.0.0:9445"));
        assert_eq!(shown("0").as_deref(), Ok("0.0.0.0:0"));
        assert_eq!(shown("127.0.0.1:9445").as_deref(), Ok("127.0.0.1:9445"));
        for bad in ["", "65536", "-1", "+1", "host", ":80", "::1:80", "https://host:80/"] {
            shown(bad).unwrap_err();
        }
    }

    #[test]
    fn a_url_without_a_scheme_is_one_of_https() {
        let table = [
            ("localhost", "https://localhost"),
            ("host:9445", "https://host:9445"),
            ("[::1]:9445/a?b#c", "https://[::1]:9445/a?b#c"),
            ("host/a@b", "https://host/a@b"),
            ("host:1/see?http://other", "https://host:1/see?http://other"),
            ("user:hunter2@host:1", "user:hunter2@host:1"),
            ("http://host/", "http://host/"),
            ("ftp://host/", "ftp://host/"),
        ];
        for (text, read) in table {
            assert_eq!(url(text).as_deref(), Ok(read));
        }
        for bad in ["", "/echo", "?a", "9445", "http:/host", "https:/host", "::1", "::1/x"] {
            url(bad).unwrap_err();
        }
    }

    #[test]
    fn a_limit_is_a_time_or_none() {
        assert_eq!("0".parse(), Ok(Limit::Never));
        assert_eq!("none".parse(), Ok(Limit::Never));
        assert_eq!("2m".parse(), Ok(Limit::After(Duration::from_secs(120))));
        assert!("never".parse::<Limit>().unwrap_err().contains("or none"));
    }

    #[test]
    fn a_size_is_in_bytes_unless_it_says_otherwise() {
        let table = [("0", 0), ("1000", 1000), ("500MB", 500_000_000), ("10GiB", 10 << 30)];
        for (text, bytes) in table {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(size("none"), Ok(u64::MAX));
        for bad in ["", "-1", "much", "10 potatoes"] {
            size(bad).unwrap_err();
        }
    }

    #[test]
    fn a_message_has_a_size_that_memory_can_hold() {
        assert_eq!(message_size("64MiB"), Ok(64 << 20));
        assert_eq!(message_size("1GiB"), Ok(1 << 30));
        for bad in ["0", "2GiB", "none", "much"] {
            message_size(bad).unwrap_err();
        }
    }

    #[test]
    fn a_time_is_in_seconds_unless_it_says_otherwise() {
        let table = [
            ("5", 5000),
            ("0.5", 500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ];
        for (text, millis) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0", "-1", "5x", "s", "1e9", "nan", "99999999999999999999"] {
            duration(bad).unwrap_err();
        }
    }
}
