//! `listen --exec` and the end of a command's input: only the peer's END_STREAM is such an end.

use std::path::PathBuf;

use anyhow::ensure;
use h2conn::{Client, Conn, Reason};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::stop::insist;
use crate::support::{Server, TestResult, Watch, all_at_once, noise};

/// A file to which a command writes a line when it has read the end of its input.
struct Commits(TempDir);

impl Commits {
    fn new() -> TestResult<Commits> {
        Ok(Commits(tempfile::tempdir()?))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("commits")
    }

    /// A command that reads 1,000 bytes, prints `ready`, reads to the end with `reader`, and
    /// commits.
    fn command(&self, reader: &str) -> String {
        let file = self.file();
        format!("head -c 1000 >/dev/null; echo ready; {reader}; echo x >>{}", file.display())
    }

    fn count(&self) -> TestResult<usize> {
        match std::fs::read(self.file()) {
            Ok(commits) => Ok(commits.iter().filter(|byte| **byte == b'\n').count()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// A connection whose command has read 1,000 bytes. `more` bytes were sent after those.
async fn begun(client: &Client, url: &str, more: usize) -> TestResult<Conn> {
    let mut conn = client.open(url).await?;
    conn.write_all(&noise(1000 + more)).await?;
    let mut said = [0; 6];
    conn.read_exact(&mut said).await?;
    ensure!(&said == b"ready\n", "{said:?}");
    Ok(conn)
}

fn runtime() -> TestResult<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

#[test]
fn a_command_takes_none_of_a_hundred_resets_for_the_end_of_its_input() -> TestResult {
    // The shell itself, a program that the shell runs, and the last program of a pipeline.
    for reader in
        ["while read -r line; do :; done", "cat >/dev/null", "cat | while read -r line; do :; done"]
    {
        let commits = Commits::new()?;
        let command = commits.command(reader);
        let server =
            Server::start(&["--keep-open", "-m", "1000", "--cleartext", "--exec", &command])?;
        runtime()?.block_on(async {
            let client = Client::new()?;
            // A real end counts as one.
            let mut conn = begun(&client, &server.url, 0).await?;
            conn.shutdown().await?;
            conn.read_to_end(&mut Vec::new()).await?;
            ensure!(commits.count()? == 1, "{reader}: an end is not taken for one");
            for _ in 0..100 {
                begun(&client, &server.url, 0).await?.reset(Reason::CANCEL);
            }
            anyhow::Ok(())
        })?;
        // The listener waits for its commands.
        let ended = server.interrupt()?;
        ensure!(ended.code == Some(0), "{ended:?}");
        let count = commits.count()? - 1;
        ensure!(count == 0, "{reader}: {count} of 100 resets were taken for an end");
    }
    Ok(())
}

/// An action of a peer that breaks a connection instead of ending it.
type Break = fn(Conn, Runtime);

/// The link breaks silently.
fn lose(conn: Conn, runtime: Runtime) {
    // In the other order, the connection would still be ended in order.
    drop(runtime);
    drop(conn);
}

#[test]
fn whatever_breaks_a_connection_its_command_reads_no_end() -> TestResult {
    let table: [(&str, &[&str], usize, Break); 6] = [
        ("a reset", &[], 0, |conn, _| conn.reset(Reason::CANCEL)),
        ("a reset that says NO_ERROR", &[], 0, |conn, _| conn.reset(Reason::NO_ERROR)),
        ("a lost link", &[], 0, lose),
        ("a lost link, and more than a pipe holds", &[], 250_000, lose),
        ("a reset, and more than a pipe holds", &[], 250_000, |conn, _| {
            conn.reset(Reason::CANCEL);
        }),
        ("silence", &["-i", "0.3"], 0, |conn, runtime| {
            let _ = runtime.block_on(conn.closed());
        }),
    ];
    all_at_once(
        table.map(|(what, args, more, break_off)| {
            (what, move || reads_no_end(args, more, break_off))
        }),
    )
}

/// Uses a command that does not end when it is asked to, so that it has time to read an end.
fn reads_no_end(args: &[&str], more: usize, break_off: Break) -> TestResult {
    let (commits, watch) = (Commits::new()?, Watch::new()?);
    let command = format!("trap '' TERM; {}; {}", watch.hold, commits.command("cat >/dev/null"));
    // If `more` is not 0, the command does not read, and its pipe is full when the connection
    // breaks.
    let command = match more {
        0 => command,
        _ => command.replace("cat", "sleep 1; cat"),
    };
    let server =
        Server::start(&[&["--keep-open", "--cleartext", "--exec", &command], args].concat())?;
    let runtime = runtime()?;
    let conn = runtime.block_on(async {
        let conn = begun(&Client::new()?, &server.url, more).await?;
        conn.sent().await?;
        anyhow::Ok(conn)
    })?;
    watch.started()?;
    break_off(conn, runtime);
    watch.gone()?;
    ensure!(commits.count()? == 0, "it was taken for an end");
    Ok(())
}

#[test]
fn a_listener_that_ends_is_no_end_of_its_commands_input() -> TestResult {
    let table = [
        ("once", "", false),
        ("twice", "", true),
        ("once, with a command that ignores it", "trap '' TERM; ", false),
        ("twice, with a command that ignores it", "trap '' TERM; ", true),
    ];
    all_at_once(
        table.map(|(what, trap, twice)| (what, move || ends_with_its_listener(trap, twice))),
    )
}

fn ends_with_its_listener(trap: &str, twice: bool) -> TestResult {
    let (commits, watch) = (Commits::new()?, Watch::new()?);
    let command = format!("{trap}{}; {}", watch.hold, commits.command("cat >/dev/null"));
    let mut server = Server::start(&["--keep-open", "--cleartext", "--exec", &command])?;
    let runtime = runtime()?;
    let client = Client::new()?;
    let _conn = runtime.block_on(begun(&client, &server.url, 0))?;
    watch.started()?;
    match twice {
        true => ensure!(insist(server.process())?.code() == Some(130)),
        false => ensure!(server.interrupt()?.code == Some(0)),
    }
    watch.gone()?;
    ensure!(commits.count()? == 0, "it was taken for an end");
    Ok(())
}

#[test]
fn what_a_command_leaves_running_reads_no_end_that_the_peer_has_not_made() -> TestResult {
    let (commits, watch) = (Commits::new()?, Watch::new()?);
    // The process has the input open, but not the output.
    let left = format!("(cat >/dev/null; echo x >>{}) <&3 >&- 3<&- &", commits.file().display());
    let command = format!("{}; exec 3<&0; {left} echo ready", watch.hold);
    let server = Server::start(&["--keep-open", "--cleartext", "--exec", &command])?;
    let runtime = runtime()?;
    let client = Client::new()?;
    let conn = runtime.block_on(begun(&client, &server.url, 0))?;
    watch.started()?;
    // The command has exited and its connection is over, though this side has not ended its
    // direction.
    let _ = runtime.block_on(conn.closed());
    watch.gone()?;
    ensure!(commits.count()? == 0);
    Ok(())
}
