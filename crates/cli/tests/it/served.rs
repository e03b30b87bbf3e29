//! The tool in processes of its own, and relays between them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::support::{WATCHDOG, program};

/// A running tool. It is killed when this is dropped.
pub(crate) struct Tool {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

/// A `serve` with a token, which clients that [`Server::client`] starts present.
pub(crate) struct Server {
    pub(crate) tool: Tool,
    pub(crate) url: String,
    pub(crate) home: TempDir,
}

/// The exit code and messages of a tool that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

/// An address that only this machine reaches.
const LOCAL: &str = "127.0.0.1:0";

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(WATCHDOG, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

impl Tool {
    pub(crate) fn start(args: &[&str]) -> Tool {
        Tool::spawn(Command::from(program()), args)
    }

    /// A tool whose files can have about a megabyte at most.
    #[cfg(unix)]
    pub(crate) fn start_with_little_disk(args: &[&str]) -> Tool {
        // Without the trap, the system would kill the program instead of failing its write.
        Tool::start_after("trap '' XFSZ; ulimit -f 2000", args)
    }

    /// A tool that a shell starts after these commands.
    #[cfg(unix)]
    pub(crate) fn start_after(commands: &str, args: &[&str]) -> Tool {
        let program = program();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")]);
        shell.arg(program.get_program());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Tool::spawn(Command::from(shell), args)
    }

    fn spawn(mut command: Command, args: &[&str]) -> Tool {
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Tool { child, lines, said: String::new() }
    }

    /// Waits for a line on standard error that contains `part`.
    pub(crate) async fn says(&mut self, part: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said += &format!("{line}\n");
                if line.contains(part) {
                    return Some(line);
                }
            }
            None
        };
        match timeout(WATCHDOG, found).await {
            Ok(Some(line)) => line,
            _ => panic!("it does not say {part:?}, but\n{}", self.said),
        }
    }

    /// Waits until the tool has ended.
    pub(crate) async fn ends(mut self) -> Ended {
        let status = soon("the tool", self.child.wait()).await.unwrap();
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.said += &format!("{line}\n");
        }
        Ended { code: status.code(), said: self.said }
    }

    /// Presses Ctrl-C.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        use rustix::process::{Pid, Signal, kill_process};

        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    }

    /// Kills the tool.
    pub(crate) async fn kill(mut self) -> ExitStatus {
        self.child.start_kill().unwrap();
        soon("the killed tool", self.child.wait()).await.unwrap()
    }
}

/// Runs the tool to its end.
pub(crate) async fn run(args: &[&str]) -> Ended {
    Tool::start(args).ends().await
}

impl Server {
    /// A cleartext server on a free port. `{}` in an argument stands for a directory of its own.
    pub(crate) async fn start(args: &[&str]) -> Server {
        Server::with(Tool::start, LOCAL, &["--cleartext"], args).await
    }

    /// Like [`Server::start`], but other machines can connect, so that places are shared by address.
    pub(crate) async fn start_open(args: &[&str]) -> Server {
        let mut server = Server::with(Tool::start, "0.0.0.0:0", &["--cleartext"], args).await;
        server.url = server.url.replace("0.0.0.0", "127.0.0.1");
        server
    }

    /// A server that speaks TLS, with a certificate made on the spot.
    pub(crate) async fn with_tls(args: &[&str]) -> Server {
        Server::with(Tool::start, LOCAL, &[], args).await
    }

    /// Like [`Server::start`], with [`Tool::start_with_little_disk`].
    #[cfg(unix)]
    pub(crate) async fn start_with_little_disk(args: &[&str]) -> Server {
        Server::with(Tool::start_with_little_disk, LOCAL, &["--cleartext"], args).await
    }

    /// Like [`Server::start`], with [`Tool::start_after`].
    #[cfg(unix)]
    pub(crate) async fn start_after(commands: &str, args: &[&str]) -> Server {
        let start = |args: &[&str]| Tool::start_after(commands, args);
        Server::with(start, LOCAL, &["--cleartext"], args).await
    }

    async fn with(
        start: impl Fn(&[&str]) -> Tool,
        addr: &str,
        options: &[&str],
        args: &[&str],
    ) -> Server {
        let home = tempfile::tempdir().unwrap();
        let token = home.path().join("token");
        std::fs::write(&token, "a-token-for-tests\n").unwrap();
        #[cfg(unix)]
        make_private(&token);
        let path = home.path().to_str().unwrap();
        let args: Vec<String> = args.iter().map(|arg| arg.replace("{}", path)).collect();
        let mut all = vec!["serve", addr, "-v", "--token-file", token.to_str().unwrap()];
        all.extend(options);
        all.extend(args.iter().map(String::as_str));
        let mut tool = start(&all);
        let line = tool.says("listening on ").await;
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Server { tool, url, home }
    }

    pub(crate) fn token(&self) -> String {
        self.home.path().join("token").to_str().unwrap().to_owned()
    }

    /// Runs a client with the token to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        self.client(args).ends().await
    }

    /// Starts a client with the token.
    pub(crate) fn client(&self, args: &[&str]) -> Tool {
        let token = self.token();
        let mut all = args.to_vec();
        all.extend(["--token-file", &token]);
        Tool::start(&all)
    }

    /// Starts `forward`.
    pub(crate) fn forward(&self, args: &[&str]) -> Tool {
        let mut all = vec!["forward"];
        all.extend(args);
        all.push(&self.url);
        self.client(&all)
    }
}

impl Ended {
    /// Fails unless the tool has ended with this exit code, and its messages contain `part`.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, part: &str) {
        assert!(
            self.code == Some(code) && self.said.contains(part),
            "expected {code} and {part:?}; it ended with {:?} and said\n{}",
            self.code,
            self.said
        );
    }
}

/// The address in a line such as `listening on 127.0.0.1:80, for …`.
pub(crate) fn address(line: &str) -> String {
    let start = line.find("127.0.0.1:").unwrap();
    let rest = &line[start..];
    rest[..rest.find([',', ' ']).unwrap_or(rest.len())].to_owned()
}

/// The trouble of the first connection through a [`relay`], after this many bytes from the server
/// or the client.
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    Cut(usize),
    /// Tests that press Ctrl-C use it.
    #[cfg_attr(not(unix), expect(dead_code, reason = "no Ctrl-C can be sent from here"))]
    Stall(usize),
}

/// A relay to the server at `url`, on which the first connection has trouble. Returns the relay's
/// URL.
pub(crate) async fn relay(url: &str, trouble: Trouble) -> String {
    let target = url.split("//").nth(1).unwrap().trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut trouble = Some(trouble);
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(carry(near, far, trouble.take()));
        }
    });
    url
}

async fn carry(mut near: TcpStream, mut far: TcpStream, trouble: Option<Trouble>) {
    let Some(trouble) = trouble else {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        return;
    };
    let (Trouble::Cut(mut left) | Trouble::Stall(mut left)) = trouble;
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    while left > 0 {
        let moved = tokio::select! {
            Ok(n @ 1..) = near.read(&mut up) => far.write_all(&up[..n]).await.map(|()| n),
            Ok(n @ 1..) = far.read(&mut down) => near.write_all(&down[..n]).await.map(|()| n),
            else => return,
        };
        let Ok(moved) = moved else { return };
        left = left.saturating_sub(moved);
    }
    if let Trouble::Stall(_) = trouble {
        std::future::pending().await
    }
}

/// Keeps other users from a file.
#[cfg(unix)]
pub(crate) fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Whether two files are the same.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    assert!(one == other, "{} and {} bytes are not the same", one.len(), other.len());
}
