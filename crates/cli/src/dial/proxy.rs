//! Proxies: the choice of one, and the connection through it.

mod no_proxy;

use std::env;
use std::io::{self, Error};

use h2conn::Destination;
use h2conn::http::Uri;
use h2conn::http::uri::Authority;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::resolve::Addresses;
use crate::exit::{Failure, Result};

/// How much of a proxy's answer to CONNECT is read at most. Other clients read 8 or 16 KiB.
const MAX_HEAD: u64 = 16 * 1024;

/// A proxy that was chosen for a URL.
#[derive(Clone)]
pub(super) struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    intercept: Intercept,
    addresses: Addresses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    /// SOCKS5. The field says whether the proxy looks up names.
    Socks {
        names_are_its: bool,
    },
}

/// Chooses the proxy for `url`: `option` if it is given, otherwise the one in the environment.
pub(super) fn choose(
    url: &Uri,
    option: Option<&str>,
    addresses: &Addresses,
) -> Result<Option<Proxy>> {
    match option {
        Some("") => Ok(None),
        Some(given) => {
            let proxy = Proxy::new(given, addresses.clone())?;
            Ok(is_meant_for(url)?.then_some(proxy))
        }
        None => match named_for(url) {
            Some(named) if is_meant_for(url)? => Proxy::new(&named, addresses.clone()).map(Some),
            _ => Ok(None),
        },
    }
}

/// The proxy that the environment names for `url`. The text is not parsed yet, and may be invalid.
fn named_for(url: &Uri) -> Option<String> {
    let own = match url.scheme_str() {
        Some("https") => ["https_proxy", "HTTPS_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY"],
    };
    // A program of a web server gets a client's header field `Proxy` in HTTP_PROXY.
    if env::var_os("REQUEST_METHOD").is_some() {
        return None;
    }
    variable(own).or_else(|| variable(["all_proxy", "ALL_PROXY"])).map(|(_, value)| value)
}

/// Whether `url` goes through a proxy: NO_PROXY does not list it.
fn is_meant_for(url: &Uri) -> Result<bool> {
    // A URL without a host is refused when it is connected to.
    let Some(host) = url.host() else { return Ok(false) };
    let Some((variable, list)) = variable(["no_proxy", "NO_PROXY"]) else { return Ok(true) };
    let usual_port = if url.scheme_str() == Some("https") { 443 } else { 80 };
    match no_proxy::covers(&list, host, url.port_u16().unwrap_or(usual_port)) {
        Ok(covered) => Ok(!covered),
        // Report it, as for a proxy that cannot be parsed: the entry may have been meant for this
        // URL.
        Err(entry) => Err(Failure::usage(format_args!(
            "{variable} cannot be used: its entry {entry:?} is not known here; expected a domain, an \
             address, or a range of them as in 10.0.0.0/8, perhaps with :PORT behind the first two, \
             or * for all"
        ))),
    }
}

/// The first of these variables that is set and not empty. As in curl, the one in lower case comes
/// first.
fn variable(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let values = names.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
    let mut values = values.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    values.find(|(_, value)| !value.is_empty())
}

/// Builds the error for a proxy. The URL is not shown, because it may contain a password.
fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::usage(format_args!(
        "the proxy cannot be used: {what}; expected http://HOST:PORT, socks5://HOST:PORT or \
         socks5h://HOST:PORT (-x, or H2CONN_PROXY, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)"
    ))
}

impl Proxy {
    fn new(text: &str, addresses: Addresses) -> Result<Proxy> {
        // Any URL works here: it is already known that `url` goes through a proxy.
        let any = Uri::from_static("https://host/");
        let intercept = Matcher::builder().all(text).build().intercept(&any);
        let intercept =
            intercept.ok_or_else(|| wrong("it is no URL of a kind that is known here"))?;
        let uri = intercept.uri();
        let (kind, usual_port) = match uri.scheme_str() {
            Some("http") => (Kind::Http, 80),
            Some("socks5") => (Kind::Socks { names_are_its: false }, 1080),
            Some("socks5h") => (Kind::Socks { names_are_its: true }, 1080),
            scheme => {
                let scheme = scheme.unwrap_or_default();
                return Err(wrong(format_args!("its scheme {scheme:?} is not known here")));
            }
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = uri.authority().and_then(Authority::port_u16).unwrap_or(usual_port);
        Ok(Proxy { kind, host, port, intercept, addresses })
    }

    /// The name that `-v` prints.
    pub(super) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Http => "HTTP",
            Kind::Socks { .. } => "SOCKS5",
        };
        format!("{kind} proxy {}:{}", self.host, self.port)
    }

    /// A stream to `to` through the proxy.
    pub(super) async fn connect(self, to: Destination) -> io::Result<BufReader<TcpStream>> {
        let socket = self.dial().await.map_err(|error| {
            Error::new(error.kind(), format!("cannot connect to the {}: {error}", self.name()))
        })?;
        let through = match self.kind {
            Kind::Http => self.by_connect(socket, &to).await,
            Kind::Socks { names_are_its } => self.by_socks(socket, &to, names_are_its).await,
        };
        through.map_err(|error| Error::new(error.kind(), format!("{}: {error}", self.name())))
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let socket = match self.addresses.of(&self.host, self.port) {
            Some(addresses) => TcpStream::connect(&*addresses).await?,
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
        };
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// HTTP CONNECT (RFC 9110 §9.3.6). The server may send first, right behind the proxy's answer.
    /// Bytes that were read together with that answer stay in the buffer.
    async fn by_connect(
        &self,
        socket: TcpStream,
        to: &Destination,
    ) -> io::Result<BufReader<TcpStream>> {
        let mut stream = BufReader::new(socket);
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n").into_bytes();
        if let Some(credentials) = self.intercept.basic_auth() {
            request.extend_from_slice(b"proxy-authorization: ");
            request.extend_from_slice(credentials.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        let mut head = (&mut stream).take(MAX_HEAD);
        let mut status = Vec::new();
        head.read_until(b'\n', &mut status).await?;
        let status = status_of(&status)?;
        loop {
            let mut line = Vec::new();
            head.read_until(b'\n', &mut line).await?;
            match &*line {
                b"\r\n" | b"\n" => break,
                [.., b'\n'] => {}
                _ if head.limit() == 0 => {
                    let message = format!("its answer to CONNECT is longer than {MAX_HEAD} bytes");
                    return Err(Error::new(io::ErrorKind::InvalidData, message));
                }
                _ => return Err(ended()),
            }
        }
        match status.split_whitespace().next() {
            Some(code) if code.len() == 3 && code.starts_with('2') => Ok(stream),
            Some("407") => {
                let message = format!(
                    "it answered {status}: it wants a name and password; expected them before the \
                     host of its URL, as USER:PASSWORD@HOST:PORT (in H2CONN_PROXY)"
                );
                Err(Error::new(io::ErrorKind::PermissionDenied, message))
            }
            _ => {
                let message = format!("it answered {status} to CONNECT {to}");
                Err(Error::new(io::ErrorKind::ConnectionRefused, message))
            }
        }
    }

    /// SOCKS5 (RFC 1928). Nothing is read past the proxy's answer.
    async fn by_socks(
        &self,
        socket: TcpStream,
        to: &Destination,
        names_are_its: bool,
    ) -> io::Result<BufReader<TcpStream>> {
        let failed = |error: tokio_socks::Error| match error {
            tokio_socks::Error::Io(error) => error,
            other => Error::new(io::ErrorKind::ConnectionRefused, other.to_string()),
        };
        let target = match names_are_its {
            true => (to.host().to_owned(), to.port()),
            false => {
                let address = match self.addresses.of(to.host(), to.port()) {
                    Some(addresses) => addresses.first().copied(),
                    None => tokio::net::lookup_host((to.host(), to.port())).await?.next(),
                };
                let address = address.ok_or_else(|| {
                    let message = format!("no address is known for {:?}", to.host());
                    Error::new(io::ErrorKind::NotFound, message)
                })?;
                (address.ip().to_string(), to.port())
            }
        };
        // Send an address as an address, and not as a name.
        let target = (target.0.as_str(), target.1);
        let stream = match self.intercept.raw_auth() {
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(socket, target, user, password).await
            }
            None => Socks5Stream::connect_with_socket(socket, target).await,
        };
        Ok(BufReader::new(stream.map_err(failed)?.into_inner()))
    }
}

/// The status code and its phrase, from an HTTP/1 response.
fn status_of(line: &[u8]) -> io::Result<String> {
    if line.is_empty() {
        return Err(ended());
    }
    let line = String::from_utf8_lossy(line);
    let status = line.trim_end().split_once(' ').filter(|(version, status)| {
        version.starts_with("HTTP/1.")
            && status.get(..3).is_some_and(|code| code.parse::<u16>().is_ok())
    });
    match status {
        Some((_, status)) => Ok(status.to_owned()),
        None => {
            let seen: String = line.trim_end().chars().take(60).collect();
            let message =
                format!("it does not answer in HTTP/1, but with {seen:?}; is it an HTTP proxy?");
            Err(Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

fn ended() -> Error {
    let message = "it closed the connection before it had answered CONNECT";
    Error::new(io::ErrorKind::UnexpectedEof, message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn proxy(text: &str) -> Result<Option<Proxy>> {
        choose(&Uri::from_static("https://example.com/"), Some(text), &Addresses::default())
    }

    #[test]
    fn a_proxy_is_told_by_its_url() {
        let table = [
            ("http://[::1]:3128", Kind::Http, "::1", 3128),
            ("proxy", Kind::Http, "proxy", 80),
            ("socks5://p", Kind::Socks { names_are_its: false }, "p", 1080),
            ("socks5h://u:p@p:9", Kind::Socks { names_are_its: true }, "p", 9),
        ];
        for (text, kind, host, port) in table {
            let proxy = proxy(text).unwrap().unwrap();
            assert_eq!((proxy.kind, proxy.host.as_str(), proxy.port), (kind, host, port), "{text}");
        }
        assert!(proxy("").unwrap().is_none());
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_and_its_password_not_shown() {
        for text in ["https://u:hunter2@p:1", "ftp://u:hunter2@p", "http://u:hunter2@:1", "::::"] {
            let Err(failure) = proxy(text) else { panic!("{text} is taken") };
            let text = failure.to_string();
            assert!(text.contains("expected http://") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_status_line_is_http_1_or_named() {
        assert_eq!(status_of(b"HTTP/1.1 200 Fine\r\n").unwrap(), "200 Fine");
        assert_eq!(status_of(b"HTTP/1.0 407\r\n").unwrap(), "407");
        for bad in ["SSH-2.0-OpenSSH\r\n", "HTTP/2 200\r\n", "HTTP/1.1 OK\r\n", "HTTP/1.1 é€ x\n"]
        {
            let error = status_of(bad.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("is it an HTTP proxy"), "{error}");
        }
    }
}
