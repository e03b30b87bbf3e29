//! The client's side of the probes.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use h2conn::http::{Method, StatusCode};
use h2conn::{Client, Conn, Error, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::advice::{Fault, Who};
use super::{CODE, MARK, Way};
use crate::report::brief;

/// The bytes of an ordinary upload.
const UPLOAD: usize = 2 << 20;

/// The bytes that go both ways at once.
const BULK: usize = 8 << 20;

/// The bytes that are written or read at once.
const PIECE: usize = 64 << 10;

/// The longest time of a probe on a slow line.
const LONGEST: Duration = Duration::from_secs(600);

/// The most bytes that are read of the server's words.
const WORDS: u64 = 200;

/// How many times the time for a moment a whole probe may take.
const STEPS: u32 = 6;

/// The round trips that are measured.
const TRIPS: usize = 20;

/// The bytes that the client sends after the server's end.
const MORE: usize = 99_999;

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
struct Seen {
    grade: Grade,
    text: String,
    fault: Fault,
}

impl Seen {
    fn good(text: impl Into<String>) -> Seen {
        Seen { grade: Grade::Good, text: text.into(), fault: Fault::Silence }
    }

    fn fault(fault: Fault, text: impl Into<String>) -> Seen {
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
    pub(crate) who: Who,
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
    /// The other end answers no probes.
    Stranger,
    Examined,
}

impl Patient {
    pub(crate) fn new(
        client: Client,
        way: Way,
        base: String,
        patience: Duration,
        slow: bool,
    ) -> Patient {
        let (who, findings) = (Who::default(), Vec::new());
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
                    self.who = Who::of(headers);
                }
                let fault = fault_of(&error, self.way, &self.who);
                let seen = Seen::fault(fault, refusal(&error));
                self.note("a connection", seen);
                self.error = Some(error);
                return Outcome::Closed;
            }
        };
        self.who = Who::of(response.headers());
        let mut text = format!("{} in {millis:.1} ms from {}", response.status(), conn.peer_addr());
        if self.who.is_named() {
            let _ = write!(text, ", by {}", self.who);
        }
        let is_doctor = response.headers().contains_key(MARK);
        conn.reset(Reason::CANCEL);
        self.note("a connection", Seen::good(text));
        if !is_doctor {
            self.note(
                "the server",
                Seen {
                    grade: Grade::Note,
                    text: "it is no `h2conn listen --doctor`, so that there is nothing more to see: run one there, at this path"
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

    async fn open(&self, path: &str) -> io::Result<Conn> {
        Ok(self.client.open(format!("{}{path}", self.base)).await?)
    }

    /// When the answer comes: at once, with the first byte, or at the end of the request.
    async fn answers(&self) -> Seen {
        let began = Instant::now();
        let answered = async {
            let mut conn = self.open("echo").await?;
            if let Ok(response) = timeout(self.patience, conn.response()).await {
                response?;
                let millis = began.elapsed().as_secs_f64() * 1000.0;
                conn.reset(Reason::CANCEL);
                return Ok(Seen::good(format!("after {millis:.1} ms, before any byte")));
            }
            let seconds = self.patience.as_secs_f32();
            conn.write_all(b"a").await?;
            if let Ok(response) = timeout(self.patience, conn.response()).await {
                response?;
                conn.reset(Reason::CANCEL);
                let text = format!("not within {seconds} s, but with the first byte of the server");
                return Ok(Seen::fault(Fault::HeldAnswer, text));
            }
            conn.shutdown().await?;
            let at_the_end = timeout(self.patience, conn.response()).await;
            conn.reset(Reason::CANCEL);
            let text = match at_the_end {
                Ok(response) => {
                    response?;
                    "not before the request had ended: a box holds the request back".to_owned()
                }
                Err(_) => format!("not within {seconds} s, and not after the request's end either"),
            };
            io::Result::Ok(Seen::fault(Fault::HeldRequest, text))
        };
        answered.await.unwrap_or_else(|error| failed(Fault::HeldRequest, &error))
    }

    async fn lines(&self) -> io::Result<Seen> {
        let mut conn = self.open("echo").await?;
        let mut times = Vec::new();
        for index in 0..TRIPS {
            let began = Instant::now();
            echoed(&mut conn, format!("line {index}\n").as_bytes()).await?;
            times.push(began.elapsed());
        }
        conn.close().await?;
        times.sort_unstable();
        let median = times[TRIPS / 2].as_secs_f64() * 1000.0;
        Ok(Seen::good(format!("a round trip of {median:.2} ms (the median of {TRIPS})")))
    }

    async fn client_ends(&self) -> io::Result<Seen> {
        let mut conn = self.open("count").await?;
        conn.write_all(&[7; 1000]).await?;
        conn.shutdown().await?;
        let answer = words_of(&mut conn).await?;
        conn.close().await?;
        Ok(match answer.as_str() {
            "1000 bytes" => Seen::good("the answer comes after it"),
            other => {
                Seen::fault(Fault::HalfClose, format!("the server has {other:?} of 1000 bytes"))
            }
        })
    }

    async fn server_ends(&self) -> io::Result<Seen> {
        let token = token()?;
        let mut conn = self.open(&format!("ends-first/{token}")).await?;
        let mut all = Vec::new();
        let told = timeout(self.patience / 2, conn.read_to_end(&mut all)).await;
        let is_told = match told {
            Ok(read) => {
                read?;
                true
            }
            Err(_) => false,
        };
        // Some boxes end the request with the response, a moment later.
        let _ = timeout(Duration::from_millis(500), conn.closed()).await;
        let going_on = async {
            conn.write_all(&[7; MORE]).await?;
            conn.shutdown().await?;
            io::Result::Ok(conn.close().await?)
        };
        let gone_on = going_on.await;
        let told = self.report(&token).await?;
        let has_all = told == format!("{MORE} bytes");
        Ok(match (is_told, gone_on) {
            (true, Ok(())) if has_all => {
                Seen::good("the client goes on, and the server has everything")
            }
            (true, Err(error)) => {
                let text = format!("the client can send no more: {}", words(&error));
                Seen::fault(Fault::HalfClose, text)
            }
            (false, Ok(())) if has_all => {
                Seen::fault(Fault::HalfClose, "the client is told only when it ends its own side")
            }
            (_, _) => {
                let text = format!(
                    "of {MORE} bytes that the client sent after it, the server has: {told}"
                );
                Seen::fault(Fault::HalfClose, text)
            }
        })
    }

    async fn server_resets(&self) -> io::Result<Seen> {
        let mut conn = self.open("resets").await?;
        conn.read_exact(&mut [0; 6]).await?;
        conn.write_all(b"a").await?;
        let read = timeout(self.patience / 2, conn.read(&mut [0])).await;
        Ok(match read {
            Err(_) => Seen::fault(Fault::Reset, "the client is told nothing"),
            Ok(Ok(_)) => {
                let ended = timeout(self.patience / 2, conn.closed()).await;
                let text = match ended {
                    Ok(Err(error)) => format!("it looks like an end, and then: {}", brief(&error)),
                    _ => "it looks like an end".to_owned(),
                };
                Seen::fault(Fault::Reset, text)
            }
            Ok(Err(error)) => match Error::from_io(&error).and_then(Error::reason) {
                Some(reason) if reason.code() == CODE => Seen::good("the client sees its code"),
                Some(reason) => Seen {
                    grade: Grade::Note,
                    text: format!("the client is told, with another code: {reason}"),
                    fault: Fault::Reset,
                },
                None => Seen::fault(Fault::Reset, words(&error)),
            },
        })
    }

    async fn client_resets(&self) -> io::Result<Seen> {
        let token = token()?;
        let mut conn = self.open(&format!("hears/{token}")).await?;
        conn.write_all(&[7; 1000]).await?;
        // The server has heard of it.
        conn.read_exact(&mut [0]).await?;
        conn.reset(Reason::CANCEL);
        let told = self.report(&token).await?;
        Ok(match told.as_str() {
            told if told.starts_with("error") => Seen::good("the server is told"),
            "nothing" => Seen::fault(Fault::Reset, "the server is told nothing"),
            told => Seen::fault(Fault::Reset, format!("the server takes it for {told}")),
        })
    }

    async fn upload(&self) -> io::Result<Seen> {
        let mut conn = self.open("count").await?;
        self.send(&conn, UPLOAD).await?;
        let answer = words_of(&mut conn).await?;
        self.in_time(async { Ok(conn.close().await?) }).await?;
        Ok(match answer == format!("{UPLOAD} bytes") {
            true => Seen::good("all of it has come"),
            false => Seen::fault(Fault::Body, format!("the server has {answer:?} of it")),
        })
    }

    async fn bulk(&self) -> io::Result<Seen> {
        let conn = self.open("echo").await?;
        let began = Instant::now();
        let ((), back) = tokio::try_join!(self.send(&conn, BULK), self.receive(&conn))?;
        let rate = BULK as f64 / began.elapsed().as_secs_f64() / 1e6;
        self.in_time(async { Ok(conn.close().await?) }).await?;
        Ok(match back == BULK {
            true => Seen::good(format!("{rate:.1} MB/s each way")),
            false => Seen::fault(Fault::Body, format!("{back} of its bytes came back")),
        })
    }

    /// Sends so many bytes, and ends this side. Each piece must go on within the time of a probe, so that a slow line is
    /// no fault.
    async fn send(&self, mut conn: &Conn, bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let piece = &[7; PIECE][..left.min(PIECE)];
            self.in_time(conn.write_all(piece)).await?;
            left -= piece.len();
        }
        conn.shutdown().await
    }

    /// Reads to the end, and gives the number of bytes up to the first one that is another.
    async fn receive(&self, mut conn: &Conn) -> io::Result<usize> {
        let (mut all, mut piece) = (0, vec![0; PIECE]);
        loop {
            match self.in_time(conn.read(&mut piece)).await? {
                0 => return Ok(all),
                _ if all > BULK => return Ok(all),
                n => match piece[..n].iter().position(|byte| *byte != 7) {
                    None => all += n,
                    Some(at) => return Ok(all + at),
                },
            }
        }
    }

    async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let limit = STEPS * self.patience;
        let text = || format!("no byte has moved for {} s", limit.as_secs_f32());
        timeout(limit, step).await.unwrap_or_else(|_| Err(io::Error::other(text())))
    }

    async fn many(&self) -> io::Result<Seen> {
        let all = (0..20).map(|_| async {
            let mut conn = self.open("echo").await?;
            echoed(&mut conn, b"one of many").await?;
            io::Result::Ok(conn)
        });
        for conn in try_join_all(all).await? {
            conn.close().await?;
        }
        Ok(Seen::good("all are served"))
    }

    async fn silence(&self, seconds: u64) -> io::Result<Seen> {
        let mut conn = self.open("echo").await?;
        echoed(&mut conn, b"before").await?;
        sleep(Duration::from_secs(seconds)).await;
        echoed(&mut conn, b"behind").await?;
        conn.close().await?;
        Ok(Seen::good("it lives"))
    }

    /// The words of the server on what has become of a connection there.
    async fn report(&self, token: &str) -> io::Result<String> {
        let mut conn = self.open(&format!("report/{token}")).await?;
        conn.shutdown().await?;
        let text = words_of(&mut conn).await?;
        conn.close().await?;
        Ok(text)
    }
}

/// Makes a probe within a time.
async fn bounded(
    limit: Duration,
    fault: Fault,
    probe: impl Future<Output = io::Result<Seen>>,
) -> Seen {
    match timeout(limit, probe).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => failed(fault, &error),
        Err(_) => Seen::fault(fault, format!("not done within {} s", limit.as_secs_f32())),
    }
}

/// The kind of fault, where there is no connection at all.
fn fault_of(error: &Error, way: Way, who: &Who) -> Fault {
    match (error.kind(), error.status().map(|status| status.as_u16())) {
        (ErrorKind::Tls, _) => Fault::Tls,
        (ErrorKind::Connect, _) => Fault::Unreachable,
        // Envoy answers 403 to upgrades that it does not know.
        (_, Some(403)) if way == Way::WebSocket && who.is_named() => Fault::Refused(way),
        (_, Some(401 | 403 | 404 | 407 | 429)) => Fault::Denied,
        _ => Fault::Refused(way),
    }
}

/// The words of the server, to the end.
async fn words_of(conn: &mut Conn) -> io::Result<String> {
    let mut words = Vec::new();
    conn.take(WORDS).read_to_end(&mut words).await?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

/// A refusal by its status and the beginning of its text, or another error by its own text.
fn refusal(error: &Error) -> String {
    const MOST: usize = 120;
    let Some(status) = error.status() else { return brief(error) };
    let body = String::from_utf8_lossy(error.body().map_or(&[][..], |body| body)).into_owned();
    let line: String = body.lines().next().unwrap_or_default().chars().take(MOST).collect();
    if line.is_empty() { status.to_string() } else { format!("{status}, {line:?}") }
}

fn failed(fault: Fault, error: &io::Error) -> Seen {
    let status = Error::from_io(error).and_then(Error::status);
    let fault = if status == Some(StatusCode::PAYLOAD_TOO_LARGE) { Fault::Body } else { fault };
    Seen::fault(fault, words(error))
}

fn words(error: &io::Error) -> String {
    Error::from_io(error).map_or_else(|| error.to_string(), brief)
}

/// Sends some bytes, and reads them back.
async fn echoed(conn: &mut Conn, bytes: &[u8]) -> io::Result<()> {
    conn.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    conn.read_exact(&mut back).await?;
    match back == bytes {
        true => Ok(()),
        false => Err(io::Error::other("other bytes came back than were sent")),
    }
}

/// A name that no other client guesses.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    }))
}
