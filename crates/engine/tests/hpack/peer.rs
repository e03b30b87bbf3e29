//! A program that encodes and decodes as its input lines say (`interop/go/hpack.go`).

use std::cell::RefCell;
use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Error, Field, Indexing};
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use crate::lists::{Item, Step, cases, steps};

/// The program must answer the lines of a case within this time, or it hangs.
const ANSWERS: Duration = Duration::from_secs(60);

/// A field as a decoder returns it: name, value, and whether it must never be indexed.
pub(crate) type Decoded = (Vec<u8>, Vec<u8>, bool);

/// The running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Peer {
    runtime: Runtime,
    /// The pipes, or the reason why they are closed: late answers would be taken for the next ones.
    pipes: RefCell<Result<Pipes, String>>,
}

#[derive(Debug)]
struct Pipes {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
}

/// An order for the program.
#[derive(Debug)]
pub(crate) enum Order<'a> {
    /// Its encoder gets a limit that we have announced.
    Limit(u32),
    /// Its decoder gets a limit that we have acknowledged.
    Allow(u32),
    Encode(&'a [Item]),
    Decode(&'a [u8]),
}

/// The program's answer: the result of the order, or the reason why it failed.
#[derive(Debug)]
pub(crate) struct Answer(String);

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Result<Peer> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let pipes = runtime.block_on(async {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            let input = child.stdin.take().context("no input")?;
            let output = BufReader::new(child.stdout.take().context("no output")?);
            anyhow::Ok(Pipes { input, output, _child: child })
        })?;
        Ok(Peer { runtime, pipes: RefCell::new(Ok(pipes)) })
    }

    /// Sends orders all at once, as on a new connection. Each has an answer.
    pub(crate) fn play(&self, orders: &[Order<'_>]) -> Result<Vec<Answer>> {
        let lines: String = orders.iter().map(|order| format!("{}\n", order.line())).collect();
        let lines = format!("reset\n{lines}");
        let mut pipes = self.pipes.borrow_mut();
        let Pipes { input, output, .. } = match &mut *pipes {
            Ok(pipes) => pipes,
            Err(why) => bail!("{why}"),
        };
        let writing = async { Ok(input.write_all(lines.as_bytes()).await?) };
        let reading = async {
            let mut answers = Vec::new();
            for _ in lines.lines() {
                let mut answer = String::new();
                ensure!(output.read_line(&mut answer).await? != 0, "the program has ended");
                answers.push(Answer(answer.trim_end().into()));
            }
            Ok(answers)
        };
        let both = async { tokio::try_join!(writing, reading) };
        let result = self.runtime.block_on(async { timeout(ANSWERS, both).await? });
        match result {
            Ok(((), mut answers)) => {
                answers.remove(0).done()?;
                Ok(answers)
            }
            Err(error) => {
                let why = format!("no answers to {lines}: {error:#}");
                *pipes = Err(why.clone());
                bail!(why)
            }
        }
    }
}

impl Order<'_> {
    fn line(&self) -> String {
        match self {
            Order::Limit(size) => format!("limit {size}"),
            Order::Allow(size) => format!("allow {size}"),
            Order::Decode(block) => format!("decode {}", digits(block)),
            Order::Encode(list) => list.iter().fold("encode".into(), |line, (name, value, how)| {
                let never = u8::from(*how == Indexing::Never);
                format!("{line} {}/{}/{never}", digits(name), digits(value))
            }),
        }
    }
}

impl Answer {
    pub(crate) fn done(&self) -> Result<&str> {
        let done = self.0.strip_prefix("ok").map(str::trim_start);
        done.with_context(|| format!("the program says: {}", self.0))
    }

    pub(crate) fn block(&self) -> Result<Vec<u8>> {
        bytes(self.done()?)
    }

    pub(crate) fn fields(&self) -> Result<Vec<Decoded>> {
        let field = |text: &str| {
            let mut parts = text.split('/');
            let mut part = || parts.next().context("no field");
            Ok((bytes(part()?)?, bytes(part()?)?, part()? == "1"))
        };
        self.done()?.split_whitespace().map(field).collect()
    }
}

/// The program decodes random lists that our encoder has encoded.
pub(crate) fn their_decoder_takes_our_blocks(peer: &Peer) -> Result<()> {
    let case = |steps: Vec<Step>| {
        let mut encoder = Encoder::new();
        let blocks: Vec<Vec<u8>> = steps
            .iter()
            .map(|step| match step {
                Step::Block(list) => encoded(&mut encoder, list),
                Step::Limit(limit) => {
                    encoder.set_limit(*limit);
                    Vec::new()
                }
            })
            .collect();
        let order = |(step, block)| match step {
            &Step::Limit(limit) => Order::Allow(limit),
            Step::Block(_) => Order::Decode(block),
        };
        let orders: Vec<_> =
            steps.iter().zip(blocks.iter().map(Vec::as_slice)).map(order).collect();
        for (step, answer) in steps.iter().zip(peer.play(&orders)?) {
            let Step::Block(list) = step else {
                answer.done()?;
                continue;
            };
            let fields = answer.fields()?;
            let sent = list
                .iter()
                .map(|(name, value, how)| (name.clone(), value.clone(), *how == Indexing::Never));
            ensure!(sent.eq(fields.iter().cloned()), "{fields:?}");
        }
        Ok(())
    };
    Ok(TestRunner::new(cases(100)).run(&steps(), |steps| case(steps).map_err(failed))?)
}

/// Our decoder decodes random lists that the program has encoded.
pub(crate) fn our_decoder_takes_their_blocks(peer: &Peer) -> Result<()> {
    let case = |steps: Vec<Step>| {
        let orders: Vec<_> = steps
            .iter()
            .map(|step| match step {
                &Step::Limit(limit) => Order::Limit(limit),
                Step::Block(list) => Order::Encode(list),
            })
            .collect();
        let mut decoder = Decoder::new(4096);
        for (step, answer) in steps.iter().zip(peer.play(&orders)?) {
            match step {
                Step::Limit(limit) => {
                    answer.done()?;
                    decoder.set_limit(*limit);
                }
                Step::Block(list) => is_decoded_as(&mut decoder, &answer.block()?, list)?,
            }
        }
        Ok(())
    };
    Ok(TestRunner::new(cases(100)).run(&steps(), |steps| case(steps).map_err(failed))?)
}

fn is_decoded_as(decoder: &mut Decoder, block: &[u8], list: &[Item]) -> Result<()> {
    let fields = decoded(decoder, block)?;
    ensure!(fields.len() == list.len(), "{fields:?}");
    for (field, (name, value, how)) in fields.iter().zip(list) {
        ensure!((&field.0, &field.1) == (name, value), "{field:?}");
        // Python's encoder refers to an entry even for a field that must never be indexed.
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

pub(crate) fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Decoded>, Error> {
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
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        u8::from_str_radix(pair, 16).map_err(|_| anyhow!("no bytes: {digits}"))
    });
    pairs.collect()
}
