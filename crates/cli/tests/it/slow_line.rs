//! Lines that are slow, or that are cut. Exit code 0 of the sender means that everything has
//! arrived.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context, ensure};
use h2conn::testing::{Flow, Line, Network};

use crate::support::{Server, TestResult, all_at_once, noise, program, wait};

const BYTES: usize = 1_000_000;

/// 1 Mbit/s: the bytes take 8 seconds.
const MBIT: u32 = 125_000;

/// How much a socket of the network takes. The sender's kernel holds the rest.
const TAKEN: usize = 16 << 10;

#[derive(Clone, Copy)]
struct Case {
    /// `connect` sends the bytes, or else `listen`.
    up: bool,
    tls: bool,
    /// The line's behaviour from the middle of the bytes on.
    half: Flow,
}

/// The result of a case.
struct Outcome {
    sender: Option<i32>,
    receiver: Option<i32>,
    sent: Vec<u8>,
    got: Vec<u8>,
    /// The messages of both ends.
    said: String,
}

impl Case {
    fn run(self) -> TestResult<Outcome> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let sent = noise(BYTES);
        fs::write(path("in"), &sent)?;
        let create = |name: &str| File::create(path(name));
        let stdio = |sends: bool| {
            TestResult::Ok(match sends {
                true => (Stdio::from(File::open(path("in"))?), Stdio::null()),
                false => (Stdio::null(), Stdio::from(create("out")?)),
            })
        };

        let mut listen = program();
        listen.args(["listen", "127.0.0.1:0"]);
        if !self.tls {
            listen.arg("--cleartext");
        }
        let (stdin, stdout) = stdio(!self.up)?;
        let server = Server::run(listen.stdin(stdin).stdout(stdout))?;

        let (scheme, addr) = server.url.split_once("://").context("a URL")?;
        let addr = addr.trim_end_matches('/').parse()?;
        let rate = if self.half == Flow::Open { MBIT } else { 4 * MBIT };
        let line = Line::new().bytes_per_second(rate).depth(TAKEN);
        let network = Network::new();
        network.set(line);
        let sending = line.after(BYTES as u64 / 2, self.half);
        if self.up {
            network.set_up(sending)
        } else {
            network.set_down(sending)
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let addr = runtime.block_on(network.relay(addr))?;

        let mut connect = program();
        connect.arg("connect").args(self.tls.then_some("-k"));
        connect.arg(format!("{scheme}://{addr}/"));
        let (stdin, stdout) = stdio(self.up)?;
        connect.stdin(stdin).stdout(stdout).stderr(create("err")?);
        let connected = wait(&mut connect.spawn()?)?.code();
        let listened = server.wait()?;

        let said = fs::read_to_string(path("err"))? + &listened.stderr;
        let got = fs::read(path("out"))?;
        let (sender, receiver) = match self.up {
            true => (connected, listened.code),
            false => (listened.code, connected),
        };
        Ok(Outcome { sender, receiver, sent, got, said })
    }

    fn arrives(self) -> TestResult {
        let Outcome { sender, receiver, sent, got, said } = self.run()?;
        let codes = (sender, receiver);
        ensure!(got == sent, "{} of {BYTES} bytes, exit codes {codes:?}: {said}", got.len());
        ensure!(codes == (Some(0), Some(0)), "all is there, exit codes {codes:?}: {said}");
        Ok(())
    }

    fn is_cut(self) -> TestResult {
        let Outcome { sender, receiver, sent, got, said } = self.run()?;
        let codes = (sender, receiver);
        ensure!(got.len() < BYTES && sent.starts_with(&got), "{} bytes: {said}", got.len());
        for code in [sender, receiver] {
            ensure!(code.is_some_and(|code| code != 0), "exit codes {codes:?}: {said}");
        }
        Ok(())
    }
}

#[test]
fn a_slow_line_loses_nothing_of_what_the_tool_is_given() -> TestResult {
    let case = |up, tls| move || Case { up, tls, half: Flow::Open }.arrives();
    all_at_once([
        ("connect sends", case(true, false)),
        ("connect sends over TLS", case(true, true)),
        ("listen sends", case(false, false)),
        ("listen sends over TLS", case(false, true)),
    ])
}

#[test]
fn a_line_that_is_cut_is_no_success_at_either_end() -> TestResult {
    let case = |up, tls, half| move || Case { up, tls, half }.is_cut();
    all_at_once([
        ("connect sends, closed", case(true, false, Flow::Cut)),
        ("connect sends, reset", case(true, false, Flow::Reset)),
        ("connect sends over TLS, closed", case(true, true, Flow::Cut)),
        ("connect sends over TLS, reset", case(true, true, Flow::Reset)),
        ("listen sends, closed", case(false, false, Flow::Cut)),
        ("listen sends, reset", case(false, false, Flow::Reset)),
        ("listen sends over TLS, closed", case(false, true, Flow::Cut)),
        ("listen sends over TLS, reset", case(false, true, Flow::Reset)),
    ])
}
