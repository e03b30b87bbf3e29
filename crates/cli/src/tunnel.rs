//! The protocol of `forward` and `serve`, in which each TCP connection is one connection of a link
//! (an HTTP/2 connection). `docs/protocol.md` describes it for peers in other languages.

pub(crate) mod bind;
pub(crate) mod dial;
pub(crate) mod local;
mod names;
mod pulse;
pub(crate) mod remote;
pub(crate) mod rules;
pub(crate) mod socks;
pub(crate) mod spec;
pub(crate) mod target;
pub(crate) mod tcp;
pub(crate) mod token;
pub(crate) mod unreached;

use std::time::Duration;

use anyhow::anyhow;
use h2conn::http::StatusCode;
use h2conn::{Conn, Error};

use crate::dial::Caller;
use crate::exit::Failure;
use target::Target;

/// The field of a response that names the address on which the server listens.
pub(crate) const BOUND: &str = "h2conn-bound";

/// The client's end of tunnels through a server that runs `serve`. Clones share its links.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    caller: Caller,
    /// It ends with a slash.
    base: String,
    /// The idle timeout of `caller`.
    idle_timeout: Option<Duration>,
}

impl Tunnel {
    /// Tunnels through the server at `url`. `idle_timeout` is that of the caller.
    pub(crate) fn new(caller: Caller, url: &str, idle_timeout: Option<Duration>) -> Tunnel {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        Tunnel { caller, base: format!("{}/", path.trim_end_matches('/')), idle_timeout }
    }

    /// Checks that the server is there and accepts the token. The request is complete, because some
    /// proxies do not pass on an answer to an open one.
    pub(crate) async fn check(&self) -> h2conn::Result<()> {
        let (conn, _) = self.caller.ask(&format!("{}check", self.base)).await?;
        conn.close().await
    }

    /// Opens a connection that the server relays to `target`.
    pub(crate) async fn to(&self, target: &Target) -> h2conn::Result<Conn> {
        self.open(&format!("tcp/{}", target.to_segments())).await
    }

    async fn open(&self, path: &str) -> h2conn::Result<Conn> {
        let (conn, _) = self.caller.connect(&format!("{}{path}", self.base)).await?;
        Ok(conn)
    }
}

/// Makes an error for the user. A refusal has the server's own words, which name the rule. A page of HTML, or the status
/// alone, comes from a proxy, of which the library's error tells more.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    match own_words(&error) {
        Some((status, line)) => anyhow!("the server answered {}: {line}", status.as_u16()),
        None => error.into(),
    }
}

/// The status and the first line of a refusal by `serve` itself.
fn own_words(error: &Error) -> Option<(StatusCode, String)> {
    let (status, text) = (error.status()?, String::from_utf8_lossy(error.body()?));
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let line: String = line.chars().take(1000).collect();
    let is_a_page = line.starts_with('<');
    let words = line.trim_start_matches(status.as_str()).trim();
    let is_status = words.is_empty() || status.canonical_reason() == Some(words);
    (!is_a_page && !is_status).then_some((status, line))
}

/// The same failure; a refusal has the server's own words.
pub(crate) fn explained(failure: Failure) -> Failure {
    match failure.library_error().cloned() {
        Some(error) if own_words(&error).is_some() => Failure::new(failure.code(), explain(error)),
        _ => failure,
    }
}
