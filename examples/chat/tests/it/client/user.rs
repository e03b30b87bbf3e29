//! A user of the client, and of the program.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use chat::client::session::{Event, Login, Session, Timing};
use chat::client::talk::Talk;
use h2conn::tls::ClientTls;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::TestResult;

/// A user who remembers everything that was shown.
pub(crate) struct User {
    pub(crate) session: Session,
    pub(crate) talk: Talk,
    pub(crate) heard: Vec<String>,
}

impl User {
    pub(crate) fn new(url: &str, name: &str) -> User {
        User::with_patience(url, name, Duration::from_secs(10))
    }

    /// A user who waits this long for an answer.
    pub(crate) fn with_patience(url: &str, name: &str, answer: Duration) -> User {
        let tls = ClientTls::new().dangerous_accept_any_certificate();
        let login = Login { url: url.to_owned(), name: name.to_owned(), tls };
        let timing = Timing {
            pause: Duration::from_millis(10),
            max_pause: Duration::from_millis(100),
            ping: Duration::from_millis(100),
            answer,
        };
        let session = Session::start(login, timing);
        User { session, talk: Talk::new(name), heard: Vec::new() }
    }

    /// The next event. The talk has already handled it.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let event = self.session.event().await?;
        match &event {
            Event::Joined(lines) => self.talk.joined(lines.clone()),
            Event::Post(post) => {
                let post = self.talk.hear(post.clone());
                self.heard.extend(post.map(|post| post.message));
            }
            _ => self.talk.lost(),
        }
        Some(event)
    }

    pub(crate) async fn hears(&mut self, line: &str) {
        while self.count(line) == 0 {
            self.next().await.expect("the line");
        }
    }

    pub(crate) async fn says(&mut self, line: &str) {
        assert!(self.talk.say(line));
        self.hears(line).await;
    }

    /// The reason why the connection was lost.
    pub(crate) async fn is_lost(&mut self) -> String {
        loop {
            if let Event::Lost(why, _) = self.next().await.expect("another event") {
                return why;
            }
        }
    }

    /// How often this line was shown.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == line).count()
    }
}

/// Runs the program as a script does.
pub(crate) async fn run(url: &str, name: &str, input: &str) -> TestResult<Output> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chat"))
        .args(["connect", url, "--name", name, "-k"])
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("it is piped")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    Ok(child.wait_with_output().await?)
}
