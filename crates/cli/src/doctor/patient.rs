//! The examination of one way: its probes in their order, and their findings.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use h2conn::http::{HeaderMap, Method, header};
use h2conn::{Client, Error, ErrorKind, Reason, doctor};

use super::Way;
use super::advice::{Fault, Middlebox};
use super::probes::{LONGEST, STEPS, bounded};
use crate::report::brief;

/// How long a connection is silent in the slow probes, in seconds: just beyond limits that are common.
const SILENCES: [u64; 3] = [65, 105, 310];

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    Good,
    /// A promise that the way does not keep.
    Fault,
    /// A fact, or a probe that could not be made.
    Note,
}

/// The result of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) probe: String,
    pub(crate) way: Way,
    pub(crate) grade: Grade,
    pub(crate) seen: String,
    /// The change that would help, for a fault.
    pub(crate) advice: Option<String>,
}

/// The outcome of a probe. `fault` says what is wrong, where something is.
pub(super) struct Seen {
    pub(super) grade: Grade,
    pub(super) text: String,
    pub(super) fault: Fault,
}

impl Seen {
    pub(super) fn good(text: impl Into<String>) -> Seen {
        Seen { grade: Grade::Good, text: text.into(), fault: Fault::Silence }
    }

    pub(super) fn fault(fault: Fault, text: impl Into<String>) -> Seen {
        Seen { grade: Grade::Fault, text: text.into(), fault }
    }
}

/// The way to a server that is examined.
pub(crate) struct Patient {
    pub(crate) client: Client,
    pub(crate) way: Way,
    /// The URL that paths are added to, with a slash at its end.
    pub(crate) base: String,
    /// How long something may take that takes a moment.
    pub(crate) patience: Duration,
    pub(crate) slow: bool,
    pub(crate) who: Middlebox,
    pub(crate) findings: Vec<Finding>,
    is_held: bool,
    /// Why there is no connection.
    pub(crate) error: Option<Error>,
}

/// How far an examination has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is no connection.
    Closed,
    /// The way passes, and the server refuses.
    Denied,
    /// The other end answers no probes.
    Stranger,
    Examined,
}

impl Patient {
    /// `who` is the box that was met before, on another way.
    pub(crate) fn new(
        client: Client,
        way: Way,
        base: String,
        patience: Duration,
        slow: bool,
        who: Middlebox,
    ) -> Patient {
        let findings = Vec::new();
        Patient { client, way, base, patience, slow, who, findings, is_held: false, error: None }
    }

    fn note(&mut self, probe: &str, seen: Seen) {
        let advice = (seen.grade == Grade::Fault).then(|| self.who.advice(seen.fault, self.way));
        let (probe, way) = (probe.to_owned(), self.way);
        self.findings.push(Finding { probe, way, grade: seen.grade, seen: seen.text, advice });
    }

    /// Whether the answer waits for the server's first byte.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether no fault was found.
    pub(crate) fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.grade != Grade::Fault)
    }

    /// Makes all probes. `tell` gets each finding as it comes.
    pub(crate) async fn examine(&mut self, mut tell: impl FnMut(&Finding)) -> Outcome {
        let mut told = 0;
        let mut tell_news = |findings: &[Finding]| {
            findings[told..].iter().for_each(&mut tell);
            told = findings.len();
        };
        let outcome = self.meet().await;
        tell_news(&self.findings);
        if outcome != Outcome::Examined {
            return outcome;
        }
        let answered = self.answers().await;
        self.is_held = answered.grade == Grade::Fault && answered.fault == Fault::HeldAnswer;
        let is_open = answered.grade != Grade::Fault || self.is_held;
        self.note("an answer before the end of the request", answered);
        tell_news(&self.findings);
        if !is_open {
            return Outcome::Closed;
        }
        macro_rules! probe {
            ($name:expr, $fault:expr, $seen:expr) => {
                let seen = bounded(STEPS * self.patience, $fault, $seen).await;
                self.note($name, seen);
                tell_news(&self.findings);
            };
        }
        probe!("an echo, line by line", Fault::HeldRequest, self.lines());
        probe!("the client ends its side first", Fault::HalfClose, self.client_ends());
        probe!("the server ends its side first", Fault::HalfClose, self.server_ends());
        probe!("a reset by the server", Fault::Reset, self.server_resets());
        probe!("a reset by the client", Fault::Reset, self.client_resets());
        // These go on as long as bytes move, and no longer than this.
        let seen = bounded(LONGEST, Fault::Body, self.upload()).await;
        self.note("an upload of 2 MiB", seen);
        tell_news(&self.findings);
        let seen = bounded(LONGEST, Fault::Body, self.bulk()).await;
        self.note("8 MiB each way at once", seen);
        tell_news(&self.findings);
        probe!("20 connections at once", Fault::Many, self.many());
        if self.slow {
            // Side by side: they only wait.
            let silences = SILENCES.map(|seconds| {
                let limit = Duration::from_secs(seconds) + STEPS * self.patience;
                bounded(limit, Fault::Silence, self.silence(seconds))
            });
            let seen = futures_util::future::join_all(silences).await;
            for (seconds, seen) in SILENCES.into_iter().zip(seen) {
                self.note(&format!("silent for {seconds} s"), seen);
                tell_news(&self.findings);
            }
        }
        Outcome::Examined
    }

    /// A box that does not name itself is the one that was met before.
    fn meet_box(&mut self, headers: &HeaderMap) {
        let who = Middlebox::of(headers);
        if who.is_named() || !self.who.is_named() {
            self.who = who;
        }
    }

    /// The first request, which ends with its head. `Examined` if there is more to see.
    async fn meet(&mut self) -> Outcome {
        let began = Instant::now();
        let url = format!("{}echo", self.base);
        let asking = match self.way {
            Way::Http2 => {
                self.client.request(url).method(Method::GET).without_content().connect().await
            }
            Way::WebSocket => self.client.connect(url).await,
        };
        let millis = began.elapsed().as_secs_f64() * 1000.0;
        let (conn, response) = match asking {
            Ok(connected) => connected,
            Err(error) => {
                if let Some(headers) = error.headers() {
                    self.meet_box(headers);
                }
                let fault = fault_of(&error, self.way, &self.who);
                let seen = Seen::fault(fault, refusal(&error));
                self.note("a connection", seen);
                self.error = Some(error);
                return if fault == Fault::Denied { Outcome::Denied } else { Outcome::Closed };
            }
        };
        self.meet_box(response.headers());
        let mut text = format!("{} in {millis:.1} ms from {}", response.status(), conn.peer_addr());
        if self.who.is_named() {
            let _ = write!(text, ", by {}", self.who);
        }
        let is_doctor = response.headers().contains_key(doctor::FIELD);
        conn.reset(Reason::CANCEL);
        self.note("a connection", Seen::good(text));
        if !is_doctor {
            self.note(
                "the server",
                Seen {
                    grade: Grade::Note,
                    text: "there is no doctor at this path, so that there is nothing more to see: run `h2conn listen --doctor` there, or have your server answer by `h2conn::doctor`"
                        .to_owned(),
                    fault: Fault::Silence,
                },
            );
            return Outcome::Stranger;
        }
        if self.way == Way::Http2 {
            let limit = self.client.stats().origins.first().and_then(|origin| origin.limit);
            let text = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
            self.note(
                "streams that it allows on a link",
                Seen { grade: Grade::Note, text, fault: Fault::Silence },
            );
        }
        Outcome::Examined
    }
}

/// The kind of fault, where there is no connection at all.
fn fault_of(error: &Error, way: Way, who: &Middlebox) -> Fault {
    let Some(status) = error.status() else {
        return match error.kind() {
            ErrorKind::Tls => Fault::Tls,
            ErrorKind::Connect => Fault::Unreachable,
            _ => Fault::Refused(way),
        };
    };
    let is_servers_own = match (way, status.as_u16()) {
        (_, 426) => false,
        (Way::Http2, 400) => !who.is_named(),
        (Way::Http2, code) => code < 500,
        (Way::WebSocket, 403) => !who.refuses_upgrades_by_403(),
        // Other statuses may be those of a plain GET, of which a box has taken the upgrade.
        (Way::WebSocket, code) => matches!(code, 300..=399 | 401 | 404 | 407 | 410 | 429),
    };
    if is_servers_own { Fault::Denied } else { Fault::Refused(way) }
}

/// A refusal by its status, the URL that it sends elsewhere, and the beginning of its text; or another error by its own
/// text.
fn refusal(error: &Error) -> String {
    const MOST: usize = 120;
    let Some(status) = error.status() else { return brief(error) };
    let mut text = status.to_string();
    if let Some(location) = error.headers().and_then(|headers| headers.get(header::LOCATION)) {
        let _ = write!(text, " to {:?}", String::from_utf8_lossy(location.as_bytes()));
    }
    let body = String::from_utf8_lossy(error.body().map_or(&[][..], |body| body)).into_owned();
    let line: String = body.lines().next().unwrap_or_default().chars().take(MOST).collect();
    if !line.is_empty() {
        let _ = write!(text, ", {line:?}");
    }
    text
}
