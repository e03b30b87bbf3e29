//! Builds a client from the options of a connection.

mod proxy;
mod resolve;

use std::env::{self, VarError};
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use h2conn::http::{HeaderName, Method, Response, Uri};
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, ClientBuilder, Conn, OnDrop};

use crate::args::{ConnectOptions, Field, has_scheme};
use crate::exit::{Failure, Result};
use crate::private;
use crate::report::{Report, Secrets, is_a_secret};
use crate::waiting;
use resolve::Addresses;

/// The variable with header fields that are sent in addition to those of the command line.
pub(crate) const HEADERS_VARIABLE: &str = "H2CONN_HEADERS";

/// Sets up a client that connects to `url` as the options say, and tells which header fields are
/// secrets. `method` is used where the options name none.
///
/// A command that fails leaves a reset behind: the peer must not take the failure for a clean end.
pub(crate) fn builder(
    url: &str,
    options: &ConnectOptions,
    method: Method,
    report: Report,
) -> Result<(ClientBuilder, Secrets)> {
    if !has_scheme(url) {
        // The command line leaves only those without a scheme that carry a user name. Do not show the URL:
        // it may contain a password, which only a scheme sets apart from other text.
        return Err(Failure::usage(
            "the URL carries a user name, which HTTP/2 does not; expected something like \
             https://host:port/path, and a name and password in a header field (-H @FILE)",
        ));
    }
    let (fields, secrets) = fields(&options.headers)?;
    let mut builder = Client::builder()
        .method(options.method.clone().unwrap_or(method))
        .tls(tls(options)?)
        .reach(options.reach.into())
        .on_drop(OnDrop::Reset);
    for (name, value) in fields {
        builder = builder.header(name, value);
    }
    if let Some(limit) = options.connect_timeout {
        builder = builder.connect_timeout(limit).handshake_timeout(limit).response_timeout(limit);
    }
    #[cfg(unix)]
    if let Some(path) = &options.unix_socket {
        return Ok((builder.unix_socket(path), secrets));
    }
    let addresses = Addresses::new(&options.resolve);
    // Text that is no URL at all is reported by the attempt to connect to it.
    let uri: Uri = url.parse().unwrap_or_default();
    match proxy::choose(&uri, options.proxy.as_deref(), &addresses)? {
        Some(proxy) => {
            report.note(format_args!("by the {}", proxy.name()));
            builder = builder.connector(move |to| proxy.clone().connect(to));
        }
        None => {
            for (host, port, ips) in addresses.iter() {
                builder = builder.resolve(host, port, ips.iter().copied());
            }
        }
    }
    Ok((builder, secrets))
}

/// The host, if anyone on the network path to it can read what is sent: an `http://` host that is
/// not this machine.
pub(crate) fn exposed_host(url: &str, options: &ConnectOptions) -> Option<String> {
    #[cfg(unix)]
    if options.unix_socket.is_some() {
        return None;
    }
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let given = Addresses::new(&options.resolve).of(&host, uri.port_u16().unwrap_or(80));
    let is_here = match (given, host.parse::<IpAddr>()) {
        (Some(addresses), _) => addresses.iter().all(|addr| addr.ip().to_canonical().is_loopback()),
        (None, Ok(ip)) => ip.to_canonical().is_loopback(),
        // RFC 6761 §6.3: these names always mean this machine.
        (None, Err(_)) => host == "localhost" || host.ends_with(".localhost"),
    };
    (!is_here).then_some(host)
}

/// A client that reports the connections that it opens, for `-v`. Clones share its links (HTTP/2
/// connections).
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    client: Client,
    report: Report,
    secrets: Secrets,
}

impl Caller {
    pub(crate) fn new(client: Client, report: Report, secrets: Secrets) -> Caller {
        Caller { client, report, secrets }
    }

    /// Like [`Client::connect`]. A long wait is explained on standard error.
    pub(crate) async fn connect(&self, url: &str) -> h2conn::Result<(Conn, Response<()>)> {
        self.finish(self.client.connect(url), url, "more of the request").await
    }

    /// The same, with a request that has no content. The connection can only be read.
    pub(crate) async fn ask(&self, url: &str) -> h2conn::Result<(Conn, Response<()>)> {
        let request = self.client.request(url).without_content();
        self.finish(request.connect(), url, "something else").await
    }

    async fn finish(
        &self,
        connecting: impl Future<Output = h2conn::Result<(Conn, Response<()>)>>,
        url: &str,
        more: &str,
    ) -> h2conn::Result<(Conn, Response<()>)> {
        let began = Instant::now();
        let (conn, response) = waiting::explained(connecting, &self.client, url, more).await?;
        self.report.opened(&conn, began.elapsed(), &self.secrets);
        self.report.response(conn.peer_addr(), &response);
        Ok((conn, response))
    }

    /// Like [`Client::close_within`].
    pub(crate) async fn close_within(&self, deadline: Duration) -> Result {
        Ok(self.client.close_within(deadline).await?)
    }
}

fn tls(options: &ConnectOptions) -> Result<ClientTls> {
    let mut tls = ClientTls::new();
    if let Some(file) = &options.cacert {
        tls = tls.only_root_certificates(read(file, "--cacert")?);
    }
    for fingerprint in &options.fingerprint {
        tls = tls.pinned(fingerprint);
    }
    if let Some((cert, key)) = options.cert.as_ref().zip(options.key.as_ref()) {
        tls = tls.identity(Identity::from_pem_files(cert, key)?);
        private::warn_if_open(key, "the private key");
    }
    if options.insecure {
        tls = tls.dangerous_accept_any_certificate();
    }
    Ok(tls)
}

/// The fields to send, and the names of the fields whose values must not be shown.
fn fields(given: &[Field]) -> Result<(Vec<(String, String)>, Secrets)> {
    let mut secret = match env::var(HEADERS_VARIABLE) {
        Ok(text) => parse_lines(&text, HEADERS_VARIABLE)?,
        Err(VarError::NotPresent) => Vec::new(),
        Err(VarError::NotUnicode(_)) => {
            return Err(Failure::usage(format_args!("{HEADERS_VARIABLE} is not UTF-8 text")));
        }
    };
    let mut open = Vec::new();
    for field in given {
        match field {
            Field::Given(name, value) => open.push((name.clone(), value.clone())),
            Field::Nothing => {}
            Field::File(path) => {
                let text = String::from_utf8(read(path, "-H")?).map_err(|_| {
                    Failure::usage(format_args!("{} of -H is not UTF-8 text", path.display()))
                })?;
                let of_file = parse_lines(&text, path.display())?;
                // Other fields can be secrets too, but a warning of what is none would be in the way.
                if of_file.iter().any(|(name, _)| is_a_secret(&name.to_ascii_lowercase())) {
                    private::warn_if_open(path, "a secret header field");
                }
                secret.extend(of_file);
            }
        }
    }
    let names = secret.iter().filter_map(|(name, _)| name.parse().ok()).collect();
    secret.append(&mut open);
    Ok((secret, Secrets(names)))
}

/// Parses the fields of a text. Its lines may be secrets, so errors do not show them.
fn parse_lines(text: &str, whose: impl fmt::Display) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        match line.parse() {
            Ok(Field::Given(name, value)) if name.parse::<HeaderName>().is_ok() => {
                fields.push((name, value));
            }
            Ok(Field::Nothing) => {}
            Ok(_) | Err(_) => {
                return Err(Failure::usage(format_args!(
                    "line {number} of {whose} is no header field; expected 'name: value'"
                )));
            }
        }
    }
    Ok(fields)
}

/// Reads a file that an option names.
pub(crate) fn read(file: &Path, option: &str) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| {
        Failure::usage(format_args!("cannot read {} for {option}: {error}", file.display()))
    })
}
