//! The helpers that the tests share: the program, a listening server of it, and peers that a test
//! writes with the library.

use std::ffi::OsStr;
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use h2conn::tls::Identity;
use h2conn::{Listener, ListenerBuilder};
use tempfile::TempDir;

/// The result of a test: any error fails the test, and is printed with its whole chain.
pub(crate) type TestResult<T = ()> = anyhow::Result<T>;

/// Nothing in these tests takes this long, unless it hangs.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(600);

/// The program, in an environment that names no proxy.
pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_h2conn"));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        program.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    program.env_remove("H2CONN_PROXY").env_remove("H2CONN_HEADERS").env_remove("H2CONN_TOKEN");
    program
}

/// The program with these arguments. The test checks its output and exit code.
pub(crate) fn h2conn<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> assert_cmd::Command {
    let mut program = program();
    program.args(args);
    let mut command = assert_cmd::Command::from_std(program);
    command.timeout(WATCHDOG);
    command
}

/// `h2conn connect` with these arguments. The test holds its standard input and output.
pub(crate) fn connected(args: &[&str]) -> TestResult<Child> {
    let mut program = program();
    program.arg("connect").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(program.spawn()?)
}

/// The beginning of the line with a server's address.
const LISTENING: &str = "listening on ";

/// `h2conn listen`, on a free port unless told otherwise.
pub(crate) struct Server {
    child: Child,
    /// The address that it listens on.
    pub(crate) url: String,
    lines: mpsc::Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> TestResult<Server> {
        Server::run(program().arg("listen").arg("127.0.0.1:0").args(args).stdin(Stdio::null()))
    }

    /// Runs a command that listens, and waits until it reports its address.
    pub(crate) fn run(command: &mut Command) -> TestResult<Server> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stderr.take().context("a pipe")?);
        let (says, said) = mpsc::channel();
        let stderr = thread::spawn(move || {
            let mut all = String::new();
            for line in lines.lines().map_while(Result::ok) {
                all.push_str(&line);
                all.push('\n');
                // The test may have failed already.
                let _ = says.send(line);
            }
            all
        });
        let mut server = Server { child, url: String::new(), lines: said, stderr: Some(stderr) };
        let line = server.says("a line `listening on …`", |line| line.starts_with(LISTENING))?;
        server.url = line.trim_start_matches(LISTENING).to_owned();
        Ok(server)
    }

    /// Waits for a line on standard error, behind those that were waited for before. `what` describes it.
    pub(crate) fn says(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> TestResult<String> {
        loop {
            match self.lines.recv_timeout(WATCHDOG) {
                Ok(line) if is_it(&line) => return Ok(line),
                Ok(_) => {}
                Err(_) => {
                    let _ = self.child.kill();
                    let said = self.stderr.take().map(JoinHandle::join);
                    bail!("it does not say {what}, but: {said:?}");
                }
            }
        }
    }

    /// The standard input, if it is a pipe.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The standard output, if it is a pipe.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    #[cfg(unix)]
    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> TestResult {
        Ok(rustix::process::kill_process(pid(&self.child)?, signal)?)
    }

    /// Tells the server to end.
    #[cfg(unix)]
    pub(crate) fn interrupt(self) -> TestResult<Ended> {
        self.signal(rustix::process::Signal::INT)?;
        self.wait()
    }

    /// Waits until the server has ended.
    pub(crate) fn wait(mut self) -> TestResult<Ended> {
        let status = wait(&mut self.child)?;
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut stdout)?;
        }
        let stderr = self.stderr.take().map(JoinHandle::join);
        let stderr = stderr.and_then(Result::ok).context("standard error")?;
        Ok(Ended { code: status.code(), stdout, stderr })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The results of a server that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

#[cfg(unix)]
pub(crate) fn pid(child: &Child) -> TestResult<rustix::process::Pid> {
    rustix::process::Pid::from_raw(child.id().cast_signed()).context("a process has a number")
}

/// Waits for a process, with a watchdog.
pub(crate) fn wait(child: &mut Child) -> TestResult<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > WATCHDOG {
            let _ = child.kill();
            bail!("it does not end");
        }
        // The standard library can wait for a process, or check it, but cannot wait with a limit.
        thread::sleep(Duration::from_millis(10));
    }
}

/// A server that a test writes with the library, in a thread of its own.
pub(crate) struct Peer<T> {
    pub(crate) url: String,
    /// Its certificate in PEM, if it speaks TLS.
    pub(crate) cacert: PathBuf,
    serving: JoinHandle<TestResult<T>>,
    _folder: TempDir,
}

impl<T: Send + 'static> Peer<T> {
    /// A peer over TLS.
    pub(crate) fn tls<F, Fut>(serve: F) -> TestResult<Peer<T>>
    where
        F: FnOnce(Listener) -> Fut + Send + 'static,
        Fut: Future<Output = TestResult<T>>,
    {
        let identity = Identity::self_signed(["localhost", "127.0.0.1"])?;
        let folder = tempfile::tempdir()?;
        let cacert = folder.path().join("cert.pem");
        std::fs::write(&cacert, identity.certificate_pem())?;
        Peer::new(Listener::builder().tls(identity), "https", folder, serve)
    }

    /// A peer without TLS.
    pub(crate) fn cleartext<F, Fut>(serve: F) -> TestResult<Peer<T>>
    where
        F: FnOnce(Listener) -> Fut + Send + 'static,
        Fut: Future<Output = TestResult<T>>,
    {
        Peer::new(Listener::builder(), "http", tempfile::tempdir()?, serve)
    }

    fn new<F, Fut>(
        builder: ListenerBuilder,
        scheme: &str,
        folder: TempDir,
        serve: F,
    ) -> TestResult<Peer<T>>
    where
        F: FnOnce(Listener) -> Fut + Send + 'static,
        Fut: Future<Output = TestResult<T>>,
    {
        let (said, listening) = mpsc::channel();
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = builder.bind("127.0.0.1:0").await?;
                said.send(listener.local_addr().to_string())?;
                tokio::time::timeout(WATCHDOG, serve(listener)).await?
            })
        });
        let address = listening.recv_timeout(WATCHDOG).context("the peer does not listen")?;
        let url = format!("{scheme}://{address}/");
        Ok(Peer { url, cacert: folder.path().join("cert.pem"), serving, _folder: folder })
    }

    /// Waits for the peer's result.
    pub(crate) fn join(self) -> TestResult<T> {
        self.serving.join().map_err(|_| anyhow::anyhow!("the peer panicked"))?
    }
}

/// Watches commands through a pipe that they hold open, whatever they do with their output.
#[cfg(unix)]
pub(crate) struct Watch {
    /// The commands that a shell must run first.
    pub(crate) hold: String,
    seen: mpsc::Receiver<()>,
    _folder: TempDir,
}

#[cfg(unix)]
impl Watch {
    pub(crate) fn new() -> TestResult<Watch> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pipe");
        anyhow::ensure!(Command::new("mkfifo").arg(&path).status()?.success(), "no pipe");
        let hold = format!("exec 9>{}", path.display());
        let (sees, seen) = mpsc::channel();
        thread::spawn(move || -> TestResult {
            let mut pipe = std::fs::File::open(path)?;
            sees.send(())?;
            pipe.read_to_end(&mut Vec::new())?;
            Ok(sees.send(())?)
        });
        Ok(Watch { hold, seen, _folder: folder })
    }

    /// Waits until a process holds the pipe.
    pub(crate) fn started(&self) -> TestResult {
        self.seen.recv_timeout(WATCHDOG).context("nothing starts")
    }

    /// Waits until no process holds it any more.
    pub(crate) fn gone(&self) -> TestResult {
        self.seen.recv_timeout(WATCHDOG).context("something is left")
    }
}

/// Runs slow cases in parallel, each with its name.
pub(crate) fn all_at_once<F, const N: usize>(cases: [(&str, F); N]) -> TestResult
where
    F: FnOnce() -> TestResult + Send + 'static,
{
    let running = cases.map(|(what, case)| (what, thread::spawn(case)));
    // Let all cases end before the first result counts. Otherwise the servers of the others would
    // outlive the test.
    let ended = running.map(|(what, case)| (what, case.join()));
    ended.into_iter().try_for_each(|(what, ended)| {
        ended.map_err(|_| anyhow::anyhow!("it panicked"))?.context(what.to_owned())
    })
}

/// Bytes without a pattern.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}
