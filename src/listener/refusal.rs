//! Refusing a client in its own protocol.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
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
            Ok(send_away(io, seen, |_, _| (status, text)).await)
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
    send_away(io, seen, |line, head| match line {
        FirstLine::OtherVersion => http1::other_version(),
        _ => http1::answer(head, origins),
    })
    .await
}

/// Refuses a client that speaks HTTP/1, or a version of HTTP that nobody knows, with the status and
/// the text that `answer` makes of the request's head. The status may have fields after it. A client
/// that speaks TLS gets an alert.
async fn send_away(
    mut io: impl Socket + 'static,
    mut seen: BytesMut,
    answer: impl FnOnce(FirstLine, &[u8]) -> (&'static str, String),
) -> Refused {
    const TLS_HANDSHAKE: u8 = 0x16;
    /// A fatal alert, `unexpected_message` (RFC 8446 §6).
    const TLS_ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];

    if seen.first() == Some(&TLS_HANDSHAKE) {
        let message = "the client speaks TLS, and this port does not";
        return Refused::new(io, TLS_ALERT, message.to_owned());
    }
    let line = first_line(&mut io, &mut seen).await;
    if line == FirstLine::Other {
        let first = seen[..seen.len().min(32)].escape_ascii().to_string();
        let message = format!("the client does not speak HTTP/2: its first bytes are \"{first}\"");
        return Refused::new(io, Bytes::new(), message);
    }
    if line == FirstLine::Http1 {
        read_head(&mut io, &mut seen).await;
    }
    let (status, text) = answer(line, &seen);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let text = String::from_utf8_lossy(&seen);
    let message = format!("the client speaks HTTP/1: {:?}", text.lines().next().unwrap_or(""));
    Refused::new(io, answer, message)
}

/// The first line of a client that has not begun with HTTP/2's preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLine {
    /// A request of HTTP/1 (RFC 9112 §3), with faults or without.
    Http1,
    /// A request that names another version of HTTP, or none as in HTTP/0.9.
    OtherVersion,
    /// Another protocol.
    Other,
}

impl FirstLine {
    fn of(seen: &[u8]) -> FirstLine {
        let end = seen.iter().position(|byte| *byte == b'\n');
        let line = &seen[..end.unwrap_or(seen.len())];
        if line.windows(HTTP1.len()).any(|part| part == HTTP1) {
            return FirstLine::Http1;
        }
        let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
        // HTTP/2's preface is a request of the method PRI (RFC 9113 §3.4). This one has a fault.
        if method == b"PRI" || !method.iter().all(is_tchar) {
            return FirstLine::Other;
        }
        let begins = |word: &[u8], with: &[u8]| {
            word.get(..with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with))
        };
        let is_path = [&b"/"[..], b"http://", b"https://"].iter().any(|form| begins(target, form));
        match words.next() {
            // The end of a long line is still to come.
            _ if end.is_none() && seen.len() >= HTTP1_HEAD && is_path => FirstLine::Http1,
            Some(version) if begins(version, b"HTTP/") => FirstLine::OtherVersion,
            None if end.is_some() && method == b"GET" && is_path => FirstLine::OtherVersion,
            _ => FirstLine::Other,
        }
    }
}

/// A part of the first line.
const HTTP1: &[u8] = b" HTTP/1.";

/// Whether methods may have this byte (RFC 9110 §5.6.2, §9.1).
fn is_tchar(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Reads the first line of a client that does not speak HTTP/2, as far as it comes and is not too
/// long. Drops the empty lines before it (RFC 9112 §2.2).
pub(super) async fn first_line(io: &mut impl Socket, seen: &mut BytesMut) -> FirstLine {
    let mut dropped = 0;
    loop {
        let empty = seen.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        seen.advance(empty);
        dropped += empty;
        match seen.first() {
            Some(first) if !is_tchar(first) => return FirstLine::Other,
            Some(_) if seen.contains(&b'\n') || seen.len() >= HTTP1_HEAD => break,
            None if dropped >= HTTP1_HEAD => return FirstLine::Other,
            _ => {}
        }
        match io.read_buf(seen).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    FirstLine::of(seen)
}

/// Reads the rest of a request's head over HTTP/1 (RFC 9112 §2.1), as far as it comes and is not too
/// long. A line may end with LF alone (§2.2).
pub(super) async fn read_head(io: &mut impl Socket, seen: &mut BytesMut) {
    let is_whole = |seen: &[u8]| {
        [&b"\n\r\n"[..], b"\n\n"].iter().any(|end| seen.windows(end.len()).any(|part| part == *end))
    };
    while !is_whole(seen) && seen.len() < HTTP1_HEAD {
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

    #[tokio::test]
    async fn requests_are_told_from_other_protocols_by_their_first_line() {
        use FirstLine::{Http1, Other, OtherVersion};
        let long = "a".repeat(HTTP1_HEAD);
        let rows = [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), Http1),
            ("GET / HTTP/1.0\n\n".to_owned(), Http1),
            ("\r\nGET / HTTP/1.1\r\n".to_owned(), Http1),
            ("\n\r\n\r\nGET / HTTP/1.1\r\n".to_owned(), Http1),
            ("get / HTTP/1.1\r\n".to_owned(), Http1),
            ("x-2!*. / HTTP/1.1\r\n".to_owned(), Http1),
            ("M@THOD / HTTP/1.1\r\n".to_owned(), Http1),
            (format!("GET /{long}{long} HTTP/1.1\r\n"), Http1),
            (format!("post http://a/{long}"), Http1),
            ("GET /\r\n".to_owned(), OtherVersion),
            ("GET / HTTP/2.0\r\n".to_owned(), OtherVersion),
            ("OPTIONS * HTTP/3\r\n".to_owned(), OtherVersion),
            ("GET / http/1.1\r\n".to_owned(), OtherVersion),
            (String::new(), Other),
            ("\r\n\r\n".to_owned(), Other),
            ("\r\n".repeat(HTTP1_HEAD), Other),
            ("GET /".to_owned(), Other),
            ("GET\r\n".to_owned(), Other),
            ("get /\r\n".to_owned(), Other),
            (long, Other),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_owned(), Other),
            ("SSH-2.0-OpenSSH_9.6 Debian-1\r\n".to_owned(), Other),
            ("EHLO a\r\n".to_owned(), Other),
            ("OPTIONS rtsp://a/ RTSP/1.0\r\n".to_owned(), Other),
            ("\u{16}\u{3}\u{1}\n".to_owned(), Other),
            ("{\"a\": 1}\n".to_owned(), Other),
        ];
        for (sent, expected) in rows {
            let (mut io, mut client) = duplex(1 << 20);
            client.write_all(sent.as_bytes()).await.expect("room for all");
            drop(client);
            let begins: String = sent.chars().take(40).collect();
            assert_eq!(first_line(&mut io, &mut BytesMut::new()).await, expected, "{begins:?}");
        }
    }

    /// A client of another protocol may wait for an answer before it says more.
    #[tokio::test]
    async fn a_byte_that_begins_no_request_is_enough() {
        let (mut io, mut client) = duplex(100);
        client.write_all(b"\r\n{").await.expect("room for all");
        assert_eq!(first_line(&mut io, &mut BytesMut::new()).await, FirstLine::Other);
        drop(client);
    }

    #[tokio::test]
    async fn a_head_ends_with_an_empty_line_of_either_form() {
        for head in
            ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n", "GET / HTTP/1.1\n\r\n"]
        {
            // The client stays, so only the empty line ends the reading.
            let (mut io, mut client) = duplex(100);
            client.write_all(head.as_bytes()).await.expect("room for all");
            let mut seen = BytesMut::new();
            read_head(&mut io, &mut seen).await;
            assert_eq!(seen, head);
            drop(client);
        }
    }

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
