//! The client's side of the probes.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use h2conn::http::StatusCode;
use h2conn::{Conn, Error, Reason, doctor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::advice::Fault;
use super::patient::{Grade, Patient, Seen};
use crate::report::brief;

/// The bytes of an ordinary upload.
const UPLOAD: usize = 2 << 20;

/// The bytes that go both ways at once.
const BULK: usize = 8 << 20;

/// The bytes that are written or read at once.
const PIECE: usize = 64 << 10;

/// The longest time of a probe on a slow line.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// The most bytes that the server's words may have.
const WORDS: u64 = 200;

/// How many times the time for a moment a whole probe may take.
pub(super) const STEPS: u32 = 6;

/// The round trips that are measured.
const TRIPS: usize = 20;

/// The bytes that the client sends after the server's end.
const MORE: usize = 99_999;

impl Patient {
    async fn open(&self, path: &str) -> io::Result<Conn> {
        Ok(self.client.open(format!("{}{path}", self.base)).await?)
    }

    /// When the answer comes: at once, with the first byte, or at the end of the request.
    pub(super) async fn answers(&self) -> Seen {
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

    pub(super) async fn lines(&self) -> io::Result<Seen> {
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

    pub(super) async fn client_ends(&self) -> io::Result<Seen> {
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

    pub(super) async fn server_ends(&self) -> io::Result<Seen> {
        let token = token()?;
        let mut conn = self.open(&format!("ends-first/{token}")).await?;
        let told = timeout(self.patience / 2, words_of(&mut conn)).await;
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

    pub(super) async fn server_resets(&self) -> io::Result<Seen> {
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
                Some(reason) if reason == doctor::RESET => Seen::good("the client sees its code"),
                Some(reason) => Seen {
                    grade: Grade::Note,
                    text: format!("the client is told, with another code: {reason}"),
                    fault: Fault::Reset,
                },
                None => Seen::fault(Fault::Reset, words(&error)),
            },
        })
    }

    pub(super) async fn client_resets(&self) -> io::Result<Seen> {
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

    pub(super) async fn upload(&self) -> io::Result<Seen> {
        let mut conn = self.open("count").await?;
        self.send(&conn, UPLOAD).await?;
        let answer = words_of(&mut conn).await?;
        self.in_time(async { Ok(conn.close().await?) }).await?;
        Ok(match answer == format!("{UPLOAD} bytes") {
            true => Seen::good("all of it has come"),
            false => Seen::fault(Fault::Body, format!("the server has {answer:?} of it")),
        })
    }

    pub(super) async fn bulk(&self) -> io::Result<Seen> {
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

    pub(super) async fn many(&self) -> io::Result<Seen> {
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

    pub(super) async fn silence(&self, seconds: u64) -> io::Result<Seen> {
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
pub(super) async fn bounded(
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

/// The words of the server, to the end. More than [`WORDS`] bytes are an error: a hostile server could
/// fill the memory with them.
async fn words_of(conn: &mut Conn) -> io::Result<String> {
    let mut words = Vec::new();
    conn.take(WORDS + 1).read_to_end(&mut words).await?;
    match words.len() as u64 > WORDS {
        true => Err(io::Error::other(format!("the server says more than {WORDS} bytes"))),
        false => Ok(String::from_utf8_lossy(&words).into_owned()),
    }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use h2conn::{Client, Listener};

    use super::*;
    use crate::doctor::{Middlebox, Way};

    /// Much more than the library keeps for a connection that is not read.
    const MUCH: usize = 256 << 20;

    #[tokio::test]
    async fn a_server_that_says_more_than_its_words_is_a_fault_and_is_not_read_on() {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr());
        let hour = Duration::from_secs(3600);
        let client = Client::builder().build().unwrap();
        let way = Way::Http2;
        let patient = Patient::new(client, way, base, hour, false, Middlebox::default());
        let serving = async {
            let mut conn = listener.accept().await.unwrap().accept().unwrap();
            let mut said = 0;
            while said < MUCH && conn.write_all(&[b'x'; PIECE]).await.is_ok() {
                said += PIECE;
            }
            said
        };
        let probing = bounded(hour, Fault::HalfClose, patient.server_ends());
        let both = async { tokio::join!(probing, serving) };
        let (seen, said) = timeout(Duration::from_secs(300), both).await.expect("it hangs");
        assert_eq!((seen.grade, seen.fault), (Grade::Fault, Fault::HalfClose), "{}", seen.text);
        assert!(seen.text.contains("more than 200 bytes"), "{}", seen.text);
        assert!(said < MUCH, "all {said} bytes were read");
    }
}
