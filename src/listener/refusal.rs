//! Refusing a client in its own protocol.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::handshake::{Spoken, read_preface};
use super::http1;
use super::limits::Cap;
use super::parting::part;
use crate::config::Origins;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Socket;

/// The most bytes that a client that speaks HTTP/1 may send before its answer.
const HTTP1_HEAD: usize = 16 << 10;

/// A client that is sent away.
pub(super) struct Refused {
    io: Box<dyn Socket>,
    word: Bytes,
    /// The error to log.
    pub(super) error: Error,
}

impl Refused {
    fn new(io: impl Socket + 'static, word: impl Into<Bytes>, message: String) -> Refused {
        let error = Error::new(ErrorKind::Unsupported, message);
        Refused { io: Box::new(io), word: word.into(), error }
    }

    /// Sends the last word, and waits until the client has ended, for about `limit` at most.
    pub(super) async fn tell(mut self, limit: Duration) {
        if let Ok(Ok(())) = timeout(limit, self.io.write_all(&self.word)).await {
            part(&mut self.io, limit).await;
        }
    }
}

/// Refuses a client that is over a cap, through a GOAWAY that excludes every request
/// (RFC 9113 §6.8), or through 503. The reason is NO_ERROR: with another reason, some clients (Go's
/// is one) treat an unseen request as a failed one.
pub(super) async fn over_cap<T: Socket + 'static>(mut io: T, cap: Cap) -> Result<Refused> {
    match read_preface(&mut io).await? {
        Spoken::Http2(_) => {
            let text = cap.to_string();
            Ok(Refused::new(io, goaway(&text), text))
        }
        Spoken::Other(seen) => {
            let text = format!("This is an h2conn server, and {cap}. Try again later.\n");
            let status = "503 Service Unavailable\r\nretry-after: 1";
            Ok(send_away(io, seen, |_| (status, text)).await)
        }
    }
}

/// Empty SETTINGS and a GOAWAY with a text (RFC 9113 §6.5, §6.8).
fn goaway(text: &str) -> BytesMut {
    const SETTINGS: [u8; 9] = [0, 0, 0, 0x4, 0, 0, 0, 0, 0];
    let mut frames = BytesMut::from(&SETTINGS[..]);
    // The last stream and the reason have 4 bytes each. Then comes the text.
    frames.put_uint(8 + text.len() as u64, 3);
    frames.put_slice(&[0x7, 0, 0, 0, 0, 0]);
    frames.put_u64(0);
    frames.put_slice(text.as_bytes());
    frames
}

/// Refuses a client that does not speak HTTP/2.
pub(super) async fn not_http2(
    io: impl Socket + 'static,
    seen: BytesMut,
    origins: &Origins,
) -> Refused {
    send_away(io, seen, |head| http1::answer(head, origins)).await
}

/// Refuses a client that speaks HTTP/1 with the status and the text that `answer` makes of the
/// request's head. The status may have fields after it. A client that speaks TLS gets an alert.
async fn send_away(
    mut io: impl Socket + 'static,
    mut seen: BytesMut,
    answer: impl FnOnce(&[u8]) -> (&'static str, String),
) -> Refused {
    const TLS_HANDSHAKE: u8 = 0x16;
    /// A fatal alert, `unexpected_message` (RFC 8446 §6).
    const TLS_ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];

    if seen.first() == Some(&TLS_HANDSHAKE) {
        let message = "the client speaks TLS, and this port does not";
        return Refused::new(io, TLS_ALERT, message.to_owned());
    }
    if !speaks_http1(&mut io, &mut seen).await {
        let first = seen[..seen.len().min(32)].escape_ascii().to_string();
        let message = format!("the client does not speak HTTP/2: its first bytes are \"{first}\"");
        return Refused::new(io, Bytes::new(), message);
    }
    read_head(&mut io, &mut seen).await;
    let (status, text) = answer(&seen);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let text = String::from_utf8_lossy(&seen);
    let message = format!("the client speaks HTTP/1: {:?}", text.lines().next().unwrap_or(""));
    Refused::new(io, answer, message)
}

/// Reads the first line of a client that does not speak HTTP/2, and tells whether it is one of
/// HTTP/1 (RFC 9112 §3).
pub(super) async fn speaks_http1(io: &mut impl Socket, seen: &mut BytesMut) -> bool {
    /// A part of the line.
    const HTTP1: &[u8] = b" HTTP/1.";

    // Methods are in capitals (RFC 9110 §9.1).
    if !seen.first().is_some_and(u8::is_ascii_uppercase) {
        return false;
    }
    while !seen.contains(&b'\n') && seen.len() < HTTP1_HEAD {
        match io.read_buf(seen).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let line = seen[..].split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    line.windows(HTTP1.len()).any(|part| part == HTTP1)
}

/// Reads the rest of a request's head over HTTP/1 (RFC 9112 §2.1), as far as it comes and is not too
/// long.
pub(super) async fn read_head(io: &mut impl Socket, seen: &mut BytesMut) {
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") && seen.len() < HTTP1_HEAD {
        match io.read_buf(seen).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::sleep;

    use super::*;

    /// The time of a line bounds the word no more than what follows it.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_gets_the_whole_word() {
        let (io, mut client) = duplex(10);
        let refused = Refused::new(io, &b"a word that is longer than the line"[..], String::new());
        let told = tokio::spawn(refused.tell(Duration::from_secs(30)));
        let mut heard = Vec::new();
        loop {
            sleep(Duration::from_secs(3)).await;
            if client.read_buf(&mut heard).await.expect("no failure") == 0 {
                break;
            }
        }
        assert_eq!(heard, b"a word that is longer than the line");
        drop(client);
        told.await.expect("no panic");
    }
}
