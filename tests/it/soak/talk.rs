//! A conversation: numbered messages with a checksum, in both directions at once. Each end knows
//! every byte that it must receive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use anyhow::{bail, ensure};
use h2conn::{Client, Conn, Error, ErrorKind, Incoming, ReadHalf, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::faults::Dice;
use crate::support::{Site, TestResult, noise, ours};

/// The beginning of a client's bytes: the seed, and how many messages each end sends.
const HEAD: usize = 16;

/// The result of a conversation. If faults cannot explain an error, or a byte is wrong, the test
/// fails instead.
#[derive(Debug)]
pub(super) struct Talked {
    /// Bytes that arrived, and were the expected ones.
    pub(super) bytes: u64,
    pub(super) error: Option<Error>,
}

/// The `number`th message of one direction.
fn message(seed: u64, number: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed ^ number << 20);
    // Most messages are small, and some are larger than a frame.
    let len = if dice.below(8) == 0 { dice.below(100_000) } else { dice.below(2_000) };
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(len.to_be_bytes());
    bytes.extend(noise(len as usize, seed ^ number));
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes.extend(sum.to_be_bytes());
    bytes
}

/// The client's part: sends this many messages, and receives as many or twice as many.
pub(super) async fn hold(
    client: &Client,
    site: &Site,
    seed: u64,
    messages: u64,
) -> TestResult<Talked> {
    let conn = match client.connect(site.url("/soak")).await {
        Ok((conn, _)) => conn,
        Err(error) => {
            explained(&error, true)?;
            return Ok(Talked { bytes: 0, error: Some(error) });
        }
    };
    let mut head = seed.to_be_bytes().to_vec();
    head.extend(messages.to_be_bytes());
    talk(conn, head, (seed, messages), (!seed, answers(seed, messages))).await
}

/// The server's part.
pub(super) async fn serve(incoming: Incoming) -> TestResult<Talked> {
    let conn = match incoming.accept() {
        Ok(conn) => conn,
        Err(error) => {
            explained(&error, false)?;
            return Ok(Talked { bytes: 0, error: Some(error) });
        }
    };
    let mut head = [0; HEAD];
    if let Err(error) = (&conn).read_exact(&mut head).await {
        ensure!(h2conn::Error::from_io(&error).is_some(), "an end before the head");
        let error = ours(&error).clone();
        explained(&error, false)?;
        return Ok(Talked { bytes: 0, error: Some(error) });
    }
    let (seed, messages) = head.split_at(8);
    let seed = u64::from_be_bytes(seed.try_into()?);
    let messages = u64::from_be_bytes(messages.try_into()?);
    talk(conn, Vec::new(), (!seed, answers(seed, messages)), (seed, messages)).await
}

fn answers(seed: u64, messages: u64) -> u64 {
    messages * (1 + seed % 2)
}

/// Runs both directions at once, each to its end.
async fn talk(conn: Conn, head: Vec<u8>, out: (u64, u64), back: (u64, u64)) -> TestResult<Talked> {
    let (reader, writer) = conn.into_split();
    let is_client = !head.is_empty();
    let (wrote, read) = tokio::join!(write(writer, head, out), read(reader, back));
    let (bytes, read) = read?;
    let error = read.or(wrote);
    if let Some(error) = &error {
        explained(error, is_client)?;
    }
    Ok(Talked { bytes, error })
}

async fn write(
    mut writer: WriteHalf,
    head: Vec<u8>,
    (seed, messages): (u64, u64),
) -> Option<Error> {
    let all = async {
        writer.write_all(&head).await?;
        for number in 0..messages {
            writer.write_all(&message(seed, number)).await?;
        }
        writer.shutdown().await
    };
    all.await.err().map(|error| ours(&error).clone())
}

/// Reads exactly the expected bytes, and their end.
async fn read(reader: ReadHalf, (seed, messages): (u64, u64)) -> TestResult<(u64, Option<Error>)> {
    let (mut bytes, mut number, mut next) = (0, 0, Vec::new());
    let mut at = 0;
    loop {
        let chunk = match reader.read_chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                ensure!(
                    at == next.len() && number == messages,
                    "an end before {messages} messages"
                );
                return Ok((bytes, None));
            }
            Err(error) => return Ok((bytes, Some(error))),
        };
        bytes += chunk.len() as u64;
        let mut chunk = &chunk[..];
        while !chunk.is_empty() {
            if at == next.len() {
                ensure!(number < messages, "{} bytes after the last message", chunk.len());
                (next, at) = (message(seed, number), 0);
                number += 1;
            }
            let n = chunk.len().min(next.len() - at);
            if chunk[..n] != next[at..at + n] {
                bail!("message {number} of {messages} is another from byte {at} on");
            }
            (at, chunk) = (at + n, &chunk[n..]);
        }
    }
}

/// Fails if neither the network nor a drain can be the cause of this error.
fn explained(error: &Error, is_client: bool) -> TestResult {
    use ErrorKind::{Aborted, Closed, Connect, Refused, Reset, TimedOut, Tls, Truncated};
    match error.kind() {
        // These occur during a handshake.
        Connect | Tls if is_client => Ok(()),
        Truncated | Closed | TimedOut => Ok(()),
        // The listener's time to drain has passed, or the client no longer waits for a response.
        Refused if is_client => Ok(()),
        Reset => Ok(()),
        Aborted if !is_client => Ok(()),
        kind => bail!("{kind:?}, which no fault explains: {}", crate::support::chain(error)),
    }
}

/// Counts conversations.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    whole: u64,
    bytes: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn add(&self, talked: TestResult<Talked>) -> TestResult {
        let Talked { bytes, error } = talked?;
        let mut counts = self.0.lock().expect("nobody panics with it");
        counts.bytes += bytes;
        match error {
            None => counts.whole += 1,
            Some(error) => *counts.errors.entry(format!("{:?}", error.kind())).or_default() += 1,
        }
        Ok(())
    }

    /// The counts since the last call.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it"))
    }
}

impl Counts {
    /// The ends that received everything.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// The ends that did not.
    pub(super) fn cut(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { whole, bytes, errors } = self;
        write!(f, "{whole} ends of whole Conns, others {errors:?}, {} MiB", bytes >> 20)
    }
}
