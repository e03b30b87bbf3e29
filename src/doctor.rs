//! The server's end of `h2conn doctor`, for programs that are their own server (feature `doctor`).
//!
//! Boxes between a client and a server, such as proxies and balancers, may hold back, cut or change what passes. The
//! tool's command `h2conn doctor URL` finds out what they do, and names what to change. It needs somebody at the other
//! end who ends, resets and counts connections as it asks. [`Doctor`] is that end, at a path of the program's own
//! server, so that the way of the program's own connections is the one that is examined.

#[cfg(feature = "accept")]
mod hosted;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::Result;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::sync::oneshot;
use tokio::time::timeout;

#[cfg(feature = "accept")]
use crate::accept::Acceptor;
use crate::conn::Conn;
use crate::error::Reason;
use crate::listener::Incoming;
use crate::sync::{Mutex, lock};

/// The field that each response to a probe has.
pub const FIELD: &str = "h2conn-doctor";

/// The code with which the server resets the probe of a reset. No HTTP/2 implementation uses it by itself.
pub const RESET: Reason = Reason::from_code(0xd0c);

/// The reports that are kept for their clients.
const REPORTS: usize = 1000;

/// The longest report. A client reads no more than this.
const WORDS: usize = 200;

/// How long a client may wait for a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes that are counted of one request.
const MOST: u64 = 1 << 30;

/// The text for a path that is not one of a probe.
const NO_SUCH_PROBE: &str =
    "no such probe: this is the other end of `h2conn doctor`, which takes the URL of the folder\n";

/// Answers the probes of `h2conn doctor`. Cheap to clone, and the clones are one: a client may ask a clone about a
/// connection that another has served.
///
/// The last part of a request's path says what the probe is, so give it all paths below one of your own, and that path
/// itself. `h2conn doctor https://example.com/doctor/` then examines the way to it.
///
/// A probe is an echo, or a count of at most 1 GiB. **A client that reaches the path can use the server's bandwidth,
/// so let only those in that you know**, as by a bearer token (`h2conn doctor --token-file`, `-H`). It keeps 1,000 reports of
/// 200 bytes, and no content.
///
/// # Examples
///
/// A listener whose paths below `/doctor/` are the doctor's:
///
/// ```
/// use h2conn::Listener;
/// use h2conn::doctor::Doctor;
///
/// async fn serve(mut listener: Listener) {
///     let doctor = Doctor::default();
///     while let Some(incoming) = listener.accept().await {
///         if incoming.uri().path().starts_with("/doctor/") {
///             let doctor = doctor.clone();
///             tokio::spawn(async move { doctor.serve(incoming).await });
///         }
///         // All other requests are the program's.
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "accept"), derive(Default))]
pub struct Doctor {
    reports: Arc<Reports>,
    #[cfg(feature = "accept")]
    acceptor: Acceptor,
}

#[cfg(feature = "accept")]
impl Default for Doctor {
    fn default() -> Doctor {
        Doctor { reports: Arc::default(), acceptor: hosted::acceptor() }
    }
}

impl Doctor {
    /// Serves a request that a [`Listener`](crate::Listener) has received, to its end. Returns the name of the probe, for
    /// a log.
    ///
    /// A path that is no probe's is answered with 404.
    ///
    /// # Errors
    ///
    /// The connection's own ([`Error::from_io`](crate::Error::from_io)). Where all is well, the probe of a client's reset
    /// ends with one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the connection without a proper end.
    pub async fn serve(&self, incoming: Incoming) -> Result<&'static str> {
        let asked = Asked::of(incoming.uri().path());
        let mut response = Response::new(());
        response.headers_mut().insert(FIELD, HeaderValue::from_static("1"));
        let Some(asked) = asked else {
            let mut refusal = response.map(|()| NO_SUCH_PROBE);
            *refusal.status_mut() = StatusCode::NOT_FOUND;
            incoming.reject_with(refusal);
            return Ok("unknown");
        };
        let conn = incoming.accept_with(response)?;
        self.reports.act(&asked, conn).await.map(|()| asked.probe.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The server sends every byte back.
    Echo,
    /// The client ends its side first. The server says how much has come.
    Count,
    /// The server ends its side first, and reports how much has come after that.
    EndsFirst,
    /// The server resets the connection when the client has a part of the answer.
    Resets,
    /// The client resets the connection. The server reports how that looked.
    Hears,
    /// The client asks for the report on another connection.
    Report,
}

impl Probe {
    const ALL: [Probe; 6] =
        [Probe::Echo, Probe::Count, Probe::EndsFirst, Probe::Resets, Probe::Hears, Probe::Report];

    /// Its name in paths and logs.
    fn name(self) -> &'static str {
        match self {
            Probe::Echo => "echo",
            Probe::Count => "count",
            Probe::EndsFirst => "ends-first",
            Probe::Resets => "resets",
            Probe::Hears => "hears",
            Probe::Report => "report",
        }
    }

    /// Whether the client's token follows the name.
    fn has_token(self) -> bool {
        matches!(self, Probe::EndsFirst | Probe::Hears | Probe::Report)
    }
}

/// The probe that a path asks for, and the client's token, if the probe has one.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    probe: Probe,
    token: String,
}

impl Asked {
    fn of(path: &str) -> Option<Asked> {
        let mut parts = path.rsplit('/');
        let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_token = last.len() == 32 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (name, token) = match last {
            "" => (Probe::Echo.name(), ""),
            token if is_token => (before, token),
            name => (name, ""),
        };
        let is_asked = |probe: &Probe| probe.name() == name && probe.has_token() == is_token;
        let probe = Probe::ALL.into_iter().find(is_asked)?;
        Some(Asked { probe, token: token.to_owned() })
    }
}

/// The reports on connections at this end, by the tokens of their clients. The newest is the first.
#[derive(Debug, Default)]
struct Reports {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The reports with their tokens, the newest first.
    kept: VecDeque<(String, String)>,
    /// The requests that wait for a report. A report wakes those of its token only, so that many clients do not slow each
    /// other down.
    waiting: HashMap<String, Vec<oneshot::Sender<String>>>,
}

impl Reports {
    /// Does what is asked for, and keeps the report.
    async fn act(&self, asked: &Asked, conn: Conn) -> Result<()> {
        let done = self.act_on(asked, conn).await;
        if matches!(asked.probe, Probe::EndsFirst | Probe::Hears) {
            let text = match &done {
                Ok(text) => text.to_string(),
                Err(error) => cut(format!("error: {error}")),
            };
            self.keep(&asked.token, text);
        }
        done.map(drop)
    }

    /// Returns the words of the report.
    async fn act_on(&self, asked: &Asked, mut conn: Conn) -> Result<Cow<'static, str>> {
        match asked.probe {
            Probe::Echo => {
                while let Some(chunk) = conn.read_chunk().await? {
                    conn.write_chunk(chunk).await?;
                }
                conn.close().await?;
            }
            Probe::Count => {
                let bytes = count(&mut conn).await?;
                say(&mut conn, &format!("{bytes} bytes")).await?;
            }
            Probe::EndsFirst => {
                conn.write_all(b"all of it").await?;
                conn.shutdown().await?;
                return Ok(format!("{} bytes", count(&mut conn).await?).into());
            }
            Probe::Resets => {
                conn.write_all(b"a part").await?;
                // The client has the part when it says so.
                conn.read_exact(&mut [0]).await?;
                conn.reset(RESET);
            }
            Probe::Hears => {
                conn.write_all(b"a").await?;
                let bytes = count(&mut conn).await?;
                return Ok(format!("an end after {bytes} bytes").into());
            }
            Probe::Report => {
                let text = self.wait_for(&asked.token).await;
                say(&mut conn, &text).await?;
            }
        }
        Ok(asked.probe.name().into())
    }

    fn keep(&self, token: &str, text: String) {
        let mut state = lock(&self.state);
        for waits in state.waiting.remove(token).unwrap_or_default() {
            let _ = waits.send(text.clone());
        }
        state.kept.truncate(REPORTS - 1);
        state.kept.push_front((token.to_owned(), text));
    }

    async fn wait_for(&self, token: &str) -> String {
        let (sender, report) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(text) = state.find(token) {
                return text.to_owned();
            }
            state.waiting.entry(token.to_owned()).or_default().push(sender);
        }
        let mut waits = Waits { reports: self, token, report };
        match timeout(PATIENCE, &mut waits.report).await {
            Ok(Ok(text)) => text,
            _ => "nothing".to_owned(),
        }
    }
}

impl State {
    fn find(&self, token: &str) -> Option<&str> {
        self.kept.iter().find(|(of, _)| of == token).map(|(_, text)| text.as_str())
    }
}

/// A request that waits for a report.
struct Waits<'a> {
    reports: &'a Reports,
    token: &'a str,
    report: oneshot::Receiver<String>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.report.close();
        let waiting = &mut lock(&self.reports.state).waiting;
        let Some(of_token) = waiting.get_mut(self.token) else { return };
        of_token.retain(|waits| !waits.is_closed());
        if of_token.is_empty() {
            waiting.remove(self.token);
        }
    }
}

/// Reads to the end, or as far as it is counted.
async fn count(conn: &mut Conn) -> Result<u64> {
    copy(&mut conn.take(MOST), &mut sink()).await
}

async fn say(conn: &mut Conn, words: &str) -> Result<()> {
    conn.write_all(words.as_bytes()).await?;
    Ok(conn.close().await?)
}

/// As much of a text as a client reads.
fn cut(mut text: String) -> String {
    let mut end = text.len().min(WORDS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(probe: Probe, token: &str) -> Option<Asked> {
        Some(Asked { probe, token: token.to_owned() })
    }

    #[test]
    fn the_end_of_the_path_says_which_probe_it_is() {
        assert_eq!(Asked::of("/"), asked(Probe::Echo, ""));
        assert_eq!(Asked::of("/a/b/"), asked(Probe::Echo, ""));
        assert_eq!(Asked::of("/echo"), asked(Probe::Echo, ""));
        assert_eq!(Asked::of("/a/count"), asked(Probe::Count, ""));
        let token = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(Asked::of(&format!("/a/hears/{token}")), asked(Probe::Hears, token));
        assert_eq!(Asked::of(&format!("/hears/{token}0")), None);
        assert_eq!(Asked::of(&format!("/count/{token}")), None);
        assert_eq!(Asked::of("/hears/no-token-of-thirty-two-digits-no"), None);
        assert_eq!(Asked::of("/hears"), None);
        assert_eq!(Asked::of("/a/report/"), asked(Probe::Echo, ""));
        assert_eq!(Asked::of("/favicon.ico"), None);
    }

    #[test]
    fn a_report_is_as_long_as_a_client_reads_and_the_oldest_go() {
        let reports = Reports::default();
        for index in 0..=REPORTS {
            reports.keep(&index.to_string(), cut("ü".repeat(150)));
        }
        let state = lock(&reports.state);
        assert_eq!(state.find("0"), None);
        assert_eq!(state.find("1").expect("it is kept").len(), WORDS);
        assert_eq!(state.kept.len(), REPORTS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_tells_those_who_wait_for_it_and_nobody_stays() {
        let reports = Reports::default();
        let (first, second, other, ()) = tokio::join!(
            reports.wait_for("a"),
            reports.wait_for("a"),
            timeout(PATIENCE / 2, reports.wait_for("b")),
            async { reports.keep("a", "said".to_owned()) },
        );
        assert_eq!((first.as_str(), second.as_str()), ("said", "said"));
        assert!(other.is_err(), "the report is not its own");
        assert_eq!(reports.wait_for("a").await, "said");
        assert_eq!(reports.wait_for("c").await, "nothing");
        assert!(lock(&reports.state).waiting.is_empty());
    }
}
