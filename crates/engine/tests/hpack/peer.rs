//! A program that encodes and decodes as the lines say that it gets.

use std::cell::RefCell;
use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Field, Indexing};
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use crate::lists::{Item, Step, cases, steps};

/// A line is answered within this, or the program hangs.
const ANSWER: Duration = Duration::from_secs(20);

/// A field as the program has decoded it: name, value, and whether it must never be indexed.
pub(crate) type Decoded = (Vec<u8>, Vec<u8>, bool);

/// The program as it runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Peer {
    runtime: Runtime,
    pipes: RefCell<Pipes>,
}

#[derive(Debug)]
struct Pipes {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Result<Peer> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let pipes = runtime.block_on(async {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            let input = child.stdin.take().context("no input")?;
            let output = BufReader::new(child.stdout.take().context("no output")?);
            anyhow::Ok(RefCell::new(Pipes { input, output, _child: child }))
        })?;
        Ok(Peer { runtime, pipes })
    }

    /// Begins a connection.
    pub(crate) fn reset(&self) -> Result<()> {
        self.ask("reset").map(drop)
    }

    /// We have announced a limit for the program's encoder.
    pub(crate) fn limit(&self, size: u32) -> Result<()> {
        self.ask(&format!("limit {size}")).map(drop)
    }

    /// We have acknowledged a limit that the program has announced for our encoder.
    pub(crate) fn allow(&self, size: u32) -> Result<()> {
        self.ask(&format!("allow {size}")).map(drop)
    }

    pub(crate) fn encode(&self, list: &[Item]) -> Result<Vec<u8>> {
        let mut line = String::from("encode");
        for (name, value, how) in list {
            let never = u8::from(*how == Indexing::Never);
            write!(line, " {}/{}/{never}", digits(name), digits(value))?;
        }
        bytes(&self.ask(&line)?)
    }

    pub(crate) fn decode(&self, block: &[u8]) -> Result<Vec<Decoded>> {
        let answer = self.ask(&format!("decode {}", digits(block)))?;
        let field = |text: &str| {
            let mut parts = text.split('/');
            let mut part = || parts.next().context("no field");
            Ok((bytes(part()?)?, bytes(part()?)?, part()? == "1"))
        };
        answer.split_whitespace().map(field).collect()
    }

    fn ask(&self, line: &str) -> Result<String> {
        let mut pipes = self.pipes.borrow_mut();
        let Pipes { input, output, .. } = &mut *pipes;
        let answer = self.runtime.block_on(async {
            timeout(ANSWER, async {
                input.write_all(format!("{line}\n").as_bytes()).await?;
                let mut answer = String::new();
                output.read_line(&mut answer).await?;
                anyhow::Ok(answer)
            })
            .await
        });
        let answer = answer.with_context(|| format!("no answer to {line}"))??;
        match answer.trim_end().split_once(' ') {
            None if answer.trim_end() == "ok" => Ok(String::new()),
            Some(("ok", said)) => Ok(said.into()),
            _ => bail!("{}", answer.trim_end()),
        }
    }
}

/// The program decodes what our encoder makes of random lists.
pub(crate) fn their_decoder_takes_our_blocks(peer: &Peer) -> Result<()> {
    TestRunner::new(cases(100)).run(&steps(), |steps| {
        peer.reset().map_err(failed)?;
        let mut encoder = Encoder::new();
        for step in &steps {
            let list = match step {
                Step::Limit(limit) => {
                    encoder.set_limit(*limit);
                    peer.allow(*limit).map_err(failed)?;
                    continue;
                }
                Step::Block(list) => list,
            };
            let decoded = peer.decode(&encoded(&mut encoder, list)).map_err(failed)?;
            let sent: Vec<Decoded> = list
                .iter()
                .map(|(name, value, how)| (name.clone(), value.clone(), *how == Indexing::Never))
                .collect();
            if decoded != sent {
                return Err(TestCaseError::fail(format!("{decoded:?}")));
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Our decoder takes what the program makes of random lists.
pub(crate) fn our_decoder_takes_their_blocks(peer: &Peer) -> Result<()> {
    TestRunner::new(cases(100)).run(&steps(), |steps| {
        peer.reset().map_err(failed)?;
        let mut decoder = Decoder::new(4096);
        for step in &steps {
            let list = match step {
                Step::Limit(limit) => {
                    decoder.set_limit(*limit);
                    peer.limit(*limit).map_err(failed)?;
                    continue;
                }
                Step::Block(list) => list,
            };
            let block = peer.encode(list).map_err(failed)?;
            decoded_as(&mut decoder, &block, list).map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn decoded_as(decoder: &mut Decoder, block: &[u8], list: &[Item]) -> Result<()> {
    let fields = decoded(decoder, block)?;
    ensure!(fields.len() == list.len(), "{fields:?}");
    for (field, (name, value, how)) in fields.iter().zip(list) {
        ensure!((&field.0, &field.1) == (name, value), "{field:?}");
        // Python's encoder refers to an entry even for a field that must never be one.
        ensure!(!field.2 || *how == Indexing::Never, "{field:?}");
    }
    Ok(())
}

pub(crate) fn encoded(encoder: &mut Encoder, list: &[Item]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value, how) in list {
        encoder.field(name, value, *how, &mut block);
    }
    block
}

pub(crate) fn decoded(
    decoder: &mut Decoder,
    block: &[u8],
) -> Result<Vec<Decoded>, h2conn_engine::fuzzing::hpack::Error> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |field: Field<'_>| {
        fields.push((field.name.to_vec(), field.value.to_vec(), field.never_indexed));
    })?;
    Ok(fields)
}

pub(crate) fn failed(error: anyhow::Error) -> TestCaseError {
    TestCaseError::fail(format!("{error:#}"))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    ensure!(digits.len().is_multiple_of(2) && digits.is_ascii(), "no bytes: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| Ok(u8::from_str_radix(&digits[at..at + 2], 16)?))
        .collect()
}
