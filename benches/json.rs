//! JSON in pieces: the cost of reading small values that arrive a few bytes at a time. It is
//! compared with the same values in one piece, with tokio-util's `LinesCodec`, and with no decoder
//! at all.
//!
//! Nothing is sent. A decoder gets its bytes as from a `FramedRead`: a piece is appended to the
//! buffer, and then `decode` is called until it returns nothing more.

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::time::Instant;

use anyhow::ensure;
use bytes::BytesMut;
use clap::Parser;
use h2conn::codec::Json;
use serde_json::Deserializer;
use tokio_util::codec::{Decoder, LinesCodec};

use support::{Message, Rounds};

/// The whole text comes first, because all others are compared with it.
const PIECES: [(&str, usize); 4] =
    [("one piece", usize::MAX), ("64 KiB", 64 * 1024), ("7 bytes", 7), ("1 byte", 1)];

#[derive(Parser)]
struct Options {
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many millions of bytes are decoded each time.
    #[arg(long, default_value_t = 100)]
    megabytes: usize,
    /// Given by `cargo bench`. Without it, as with `cargo test`, this program only checks that it
    /// runs.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let (rounds, size) =
        if options.bench { (options.rounds.max(1), options.megabytes * 1_000_000) } else { (1, 1) };
    let text = Text::new(size)?;
    let megabytes = text.bytes.len() as f64 / 1e6;
    println!(
        "{megabytes:.0} MB, {} values; medians of {rounds} rounds (least to most)",
        text.values
    );

    let mut json: [Rounds; PIECES.len()] = Default::default();
    let (mut decoding, mut lines, mut appending) = (json.clone(), json.clone(), json.clone());
    let mut stream = Rounds::default();
    // The line feeds are not part of the lines.
    let bytes_of_lines = text.bytes.len() as u64 - text.values;
    for _ in 0..rounds {
        stream.push(text.deserialize()?);
        for (column, (_, size)) in PIECES.into_iter().enumerate() {
            let codec = LinesCodec::new_with_max_length(1 << 20);
            lines[column].push(text.decode(codec, size, bytes_of_lines, |line| line.len() as u64)?);
            let time = text.decode(Json::<(), Message>::new(), size, text.sum_of_ids, |v| v.id)?;
            let without = text.decode(NoDecoder, size, 0, |_| 0)?;
            json[column].push(time);
            appending[column].push(without);
            decoding[column].push(time - without);
        }
    }

    println!("\n{:<32}{:>6}{:>8}   time to Json's of one piece", "", "ms", "MB/s");
    let row = |name: &str, piece: &str, time: &Rounds| {
        let (ms, speed) = (time.median() * 1e3, megabytes / time.median());
        println!("{name:<20}{piece:<12}{ms:>6.0}{speed:>8.0}   {}", time.ratio_to(&json[0]));
    };
    row("StreamDeserializer", "one piece", &stream);
    let tables = [
        ("Json", &json[..]),
        ("  less appending", &decoding[1..]),
        ("LinesCodec", &lines[..]),
        ("appending alone", &appending[1..]),
    ];
    for (name, times) in tables {
        let pieces = &PIECES[PIECES.len() - times.len()..];
        for ((piece, _), time) in pieces.iter().zip(times) {
            row(name, piece, time);
        }
    }
    Ok(())
}

/// Small values, and the expected results.
struct Text {
    bytes: Vec<u8>,
    values: u64,
    sum_of_ids: u64,
}

impl Text {
    /// One value per line, as `Json` and Go write them.
    fn new(size: usize) -> serde_json::Result<Text> {
        let mut text = Text { bytes: Vec::new(), values: 0, sum_of_ids: 0 };
        while text.bytes.len() < size {
            serde_json::to_writer(&mut text.bytes, &Message::new(text.values))?;
            text.bytes.push(b'\n');
            text.sum_of_ids += text.values;
            text.values += 1;
        }
        Ok(text)
    }

    /// The seconds that a decoder takes. Fails unless the decoded items add up to `expected`.
    fn decode<D>(
        &self,
        mut decoder: D,
        piece: usize,
        expected: u64,
        count: impl Fn(D::Item) -> u64,
    ) -> anyhow::Result<f64>
    where
        D: Decoder<Error: Error + Send + Sync + 'static>,
    {
        let mut pieces = self.bytes.chunks(piece);
        // The single piece is in the buffer before the clock starts. The others must be appended.
        let mut src = match piece {
            usize::MAX => pieces.next().unwrap_or_default().into(),
            _ => BytesMut::with_capacity(8 * 1024),
        };
        let start = Instant::now();
        let mut counted = 0;
        loop {
            while let Some(item) = decoder.decode(&mut src)? {
                counted += count(item);
            }
            let Some(piece) = pieces.next() else { break };
            src.extend_from_slice(piece);
        }
        let time = start.elapsed();
        ensure!(counted == expected, "{counted} came out, and not {expected}");
        Ok(time.as_secs_f64())
    }

    fn deserialize(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        let mut sum = 0;
        for value in Deserializer::from_slice(&self.bytes).into_iter::<Message>() {
            sum += value?.id;
        }
        let time = start.elapsed();
        ensure!(sum == self.sum_of_ids, "{sum} came out, and not {}", self.sum_of_ids);
        Ok(time.as_secs_f64())
    }
}

/// Drops each line at its end and returns nothing. This measures the cost of the appending and the
/// calls.
struct NoDecoder;

impl Decoder for NoDecoder {
    type Item = Infallible;
    type Error = io::Error;

    #[inline(never)]
    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Infallible>> {
        if src.last() == Some(&b'\n') {
            src.clear();
        }
        Ok(None)
    }
}
