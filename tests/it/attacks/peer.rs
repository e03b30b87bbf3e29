//! The parts that the scripted peers of the attacks share.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, split};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::TestResult;
use crate::support::raw::{
    ACK, DATA, END_HEADERS, GOAWAY, HEADERS, PING, REQUEST, RST_STREAM, Raw, frame, read_frame,
    request,
};

/// The error codes of the attacks (RFC 9113 §7).
pub(crate) const NO_ERROR: u32 = 0x0;
pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

/// The frames that an attacker has received, up to the end of the link or the answer to its last
/// PING.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The last GOAWAY: its reason and its text.
    pub(crate) goaway: Option<(u32, String)>,
    /// How many streams were reset with each reason.
    pub(crate) resets: BTreeMap<u32, usize>,
    pub(crate) heads: usize,
    /// The first bytes of the last head.
    pub(crate) head: Vec<u8>,
    pub(crate) data: usize,
    /// The link still worked after everything.
    pub(crate) survived: bool,
}

impl Heard {
    /// The link was ended with ENHANCE_YOUR_CALM, and its text names `what`.
    pub(crate) fn ensure_calmed(&self, what: &str) -> TestResult {
        let (reason, text) = self.goaway.as_ref().with_context(|| self.to_string())?;
        ensure!(*reason == ENHANCE_YOUR_CALM && text.contains(what), "{self}");
        Ok(())
    }

    /// The link was cut off because of this many requests that came to nothing. On a machine so busy
    /// that it handles few more of them than are forgiven, the link lives. `took` is the time that
    /// they took.
    pub(crate) fn ensure_cut_off(&self, requests: u32, took: Duration) -> TestResult {
        const AT_ONCE: f64 = 24_576.0;
        const FORGIVEN_A_SECOND: f64 = 1_000.0;
        if self.survived {
            let allowed = AT_ONCE + FORGIVEN_A_SECOND * took.as_secs_f64();
            ensure!(f64::from(requests) <= allowed, "after {requests} in {took:?}: {self}");
            return Ok(());
        }
        let (reason, text) = self.goaway.as_ref().with_context(|| self.to_string())?;
        // Many resets have a limit of their own.
        let limits = ["RST_STREAM frames", "requests that are refused or taken back pile up"];
        let is_named = limits.iter().any(|limit| text.contains(limit));
        ensure!(*reason == ENHANCE_YOUR_CALM && is_named, "{self}");
        Ok(())
    }

    /// How many streams were reset.
    pub(crate) fn reset(&self) -> usize {
        self.resets.values().sum()
    }

    /// The link was ended with this error code.
    pub(crate) fn ensure_ended(&self, with: u32) -> TestResult {
        ensure!(self.goaway.as_ref().is_some_and(|(reason, _)| *reason == with), "{self}");
        Ok(())
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.goaway {
            Some((reason, text)) => write!(f, "GOAWAY {reason:#x} \"{text}\"")?,
            None if self.survived => f.write_str("the link lives")?,
            None => f.write_str("the transport ended")?,
        }
        for (reason, count) in &self.resets {
            write!(f, ", {count} × RST_STREAM {reason:#x}")?;
        }
        Ok(())
    }
}

/// A client that has sent its preface.
pub(crate) async fn client(addr: SocketAddr) -> TestResult<Raw<TcpStream>> {
    let io = TcpStream::connect(addr).await?;
    io.set_nodelay(true)?;
    Ok(Raw::client(io).await?)
}

/// The payloads of two PINGs. The answer to the first can overtake work of the same turn.
const LAST: [&[u8; 8]; 2] = [b"the last", b"the end."];

/// Sends the pieces that `next` returns, as fast as the peer takes them, and reads at the same
/// time.
pub(crate) async fn play<T: AsyncRead + AsyncWrite>(
    raw: Raw<T>,
    next: impl FnMut() -> Option<Vec<u8>>,
) -> Heard {
    play_to(raw, 0, next).await
}

/// Like [`play`], and reads until so many requests have a head or a reset. The answer to a PING can
/// overtake the handlers.
pub(crate) async fn play_to<T: AsyncRead + AsyncWrite>(
    raw: Raw<T>,
    requests: usize,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> Heard {
    let (read, mut write) = split(raw.io);
    let mut read = BufReader::with_capacity(64 << 10, read);
    let (mut heard, answered) = (Heard::default(), Notify::new());
    let writing = async {
        while let Some(bytes) = next() {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        for last in LAST {
            let _ = write.write_all(&frame(PING, 0, 0, last)).await;
            answered.notified().await;
        }
        std::future::pending().await
    };
    let reading = async {
        while let Ok(Some(frame)) = read_frame(&mut read).await {
            let code = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            match frame.kind {
                GOAWAY => {
                    let text = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                    heard.goaway = Some((code(&frame.payload[4..]), text));
                }
                RST_STREAM => *heard.resets.entry(code(&frame.payload)).or_default() += 1,
                HEADERS => {
                    heard.heads += 1;
                    heard.head = frame.payload;
                }
                DATA => heard.data += frame.payload.len(),
                PING if frame.flags & ACK != 0 && frame.payload == LAST[0] => answered.notify_one(),
                PING if frame.flags & ACK != 0 && frame.payload == LAST[1] => heard.survived = true,
                _ => {}
            }
            if heard.survived && heard.heads + heard.reset() >= requests {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    heard
}

/// `count` pieces, which `piece` makes from their numbers.
pub(crate) fn pieces(
    count: u32,
    mut piece: impl FnMut(u32) -> Vec<u8>,
) -> impl FnMut() -> Option<Vec<u8>> {
    const AT_ONCE: u32 = 100;
    let mut number = 0;
    move || {
        let end = (number + AT_ONCE).min(count);
        let bytes: Vec<u8> = (number..end).flat_map(&mut piece).collect();
        number = end;
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// The stream of the client's request with this number.
pub(crate) fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Opens a stream with this request.
pub(crate) fn open(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request(path))
}

/// Fields of a request, in addition to the four that every request has. At most 100 are accepted.
const FIELDS: u8 = 96;

/// The first request of a link, which puts 60 fields with names of two letters into the table. Also
/// the request that later names `FIELDS` fields, each with one byte.
pub(crate) fn bomb() -> (Vec<u8>, Vec<u8>) {
    let names = (0..60).map(|n| [b'a' + n / 10, b'a' + n % 10]);
    let first = names.flat_map(|name| [&b"\x40\x02"[..], &name, b"\x00"].concat());
    // The authority is in the table as well, as the oldest entry.
    let first = [REQUEST.to_vec(), first.collect()].concat();
    let again = (0..FIELDS).map(|n| 0x80 | (62 + n % 60));
    (first, [b"\x83\x86\x84\x01\x01x".to_vec(), again.collect()].concat())
}

/// Sends data to the echo on `stream`, which is open, and waits for the answer.
pub(crate) async fn ask(raw: &mut Raw<TcpStream>, stream: u32) -> TestResult {
    raw.send(DATA, 0, stream, b"still there?").await?;
    ensure!(raw.wait_for(DATA, stream).await?.payload == b"still there?");
    Ok(())
}
