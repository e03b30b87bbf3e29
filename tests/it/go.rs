//! Go's net/http at the other end, as a client and as a server (`interop/go`).

mod crowd;
mod formats;
mod gob;
mod peer;

use std::io;

use anyhow::{Context, ensure};
use h2conn::http::{Response, StatusCode};
use h2conn::{Client, Conn, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::peer::{Go, Process, with_go};
use crate::support::framework::Host;
use crate::support::{Over, TestResult, listen, noise, ours};

/// The bytes that nettest's BasicIO moves, and the size of its pieces.
const SIZE: usize = 1 << 20;
const CHUNK: usize = 1 << 10;
/// The last number of nettest's PingPong.
const LAST: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    GoServes,
    /// Go connects to our listener, or to an axum route.
    GoConnects(Host),
}

const EVERYWHERE: [(Role, Over); 6] = [
    (Role::GoServes, Over::Cleartext),
    (Role::GoServes, Over::Tls),
    (Role::GoConnects(Host::Listener), Over::Cleartext),
    (Role::GoConnects(Host::Listener), Over::Tls),
    (Role::GoConnects(Host::Axum), Over::Cleartext),
    (Role::GoConnects(Host::Axum), Over::Tls),
];

/// A connection of ours, with a Go process at its other end.
struct Meeting {
    conn: Conn,
    go: Process,
    end: End,
    what: String,
    since: Instant,
}

/// The owner of our end of the link.
enum End {
    Client(Client),
    /// A server, which ends with the runtime.
    Server,
}

/// A Go client may exit when it has ended, as programs do. After an echo it must not: it ends last
/// then, with many bytes still on the way, which its exit could cut off.
async fn meet(go: Go, (role, over): (Role, Over), scenario: &str) -> TestResult<Meeting> {
    let what = format!("{role:?} {over:?} {scenario}");
    let (conn, go, end) = match role {
        Role::GoServes => {
            let (go, site) = go.serve(over, &["server", scenario]).await?;
            let client = site.client()?;
            let (conn, response) = client.connect(site.url("/a/path")).await?;
            ensure!(response.status() == StatusCode::OK, "{response:?}");
            (conn, go, End::Client(client))
        }
        Role::GoConnects(host) => {
            let (site, mut conns) = host.listen(over).await?;
            let mut go = go.connect(&site, &["client", scenario])?;
            if scenario != "echo" {
                go.may_exit();
            }
            (conns.recv().await.context("the server has ended")?, go, End::Server)
        }
    };
    Ok(Meeting { conn, go, end, what, since: Instant::now() })
}

impl Meeting {
    /// Ends a connection after the last message, and checks that both ends saw an orderly end.
    /// `close` would fail if the end took as long as the linger timeout.
    async fn part(self) -> TestResult {
        let Meeting { conn, go, end, what, since } = self;
        let last = Instant::now();
        let parting = async {
            ensure!((&conn).read(&mut [0; 1]).await? == 0, "a byte after the last");
            conn.close().await?;
            part_from(go, end).await?;
            TestResult::Ok(())
        };
        parting.await.with_context(|| what.clone())?;
        let took = last.elapsed();
        println!("{what}: {:?}, of which its end {took:?}", since.elapsed());
        Ok(())
    }
}

/// Waits until the Go process has ended well, and returns its output.
async fn part_from(go: Process, end: End) -> TestResult<String> {
    if let End::Client(client) = end {
        // A Go server runs for as long as its link does.
        client.close().await?;
    }
    go.finish().await
}

#[test]
fn a_mebibyte_in_small_pieces_goes_to_go_and_both_ends_finish() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let mut meeting = meet(go, place, "read").await?;
            for piece in noise(SIZE, 1).chunks(CHUNK) {
                meeting.conn.write_all(piece).await?;
            }
            meeting.conn.shutdown().await?;
            meeting.part().await?;
        }
        Ok(())
    })
}

#[test]
fn a_mebibyte_in_small_pieces_comes_from_go_and_both_ends_finish() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let mut meeting = meet(go, place, "write").await?;
            let mut heard = Vec::new();
            meeting.conn.read_to_end(&mut heard).await?;
            ensure!(heard == noise(SIZE, 1), "{place:?}: {} bytes, or others", heard.len());
            meeting.part().await?;
        }
        Ok(())
    })
}

#[test]
fn numbers_bounce_between_us_and_go_whoever_begins() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            for (theirs, we_begin) in [("pong", true), ("ping", false)] {
                let mut meeting = meet(go, place, theirs).await?;
                bounce(&mut meeting.conn, we_begin).await.context(theirs)?;
                meeting.part().await?;
            }
        }
        Ok(())
    })
}

/// One end of nettest's PingPong.
async fn bounce(conn: &mut Conn, begin: bool) -> TestResult {
    if begin {
        conn.write_all(&[0; 8]).await?;
    }
    let mut previous = 0;
    loop {
        let mut counter = [0; 8];
        match conn.read_exact(&mut counter).await {
            // The other end was the one that received the last number.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && previous == LAST - 1 => {
                return Ok(());
            }
            read => read?,
        };
        let number = u64::from_le_bytes(counter);
        ensure!(previous == 0 || number == previous + 2, "{number} came after {previous}");
        previous = number;
        if number == LAST {
            return Ok(conn.shutdown().await?);
        }
        conn.write_all(&(number + 1).to_le_bytes()).await?;
    }
}

#[test]
fn go_and_we_write_more_than_the_windows_both_ways_at_once() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let meeting = meet(go, place, "both-ways").await?;
            echo_without_waiting(&meeting.conn).await?;
            meeting.part().await?;

            let meeting = meet(go, place, "echo").await?;
            let (mut reader, mut writer) = (&meeting.conn, &meeting.conn);
            let said = noise(3 << 20, 3);
            let write = async {
                writer.write_all(&said).await?;
                writer.shutdown().await
            };
            let mut heard = Vec::new();
            let (written, read) = tokio::join!(write, reader.read_to_end(&mut heard));
            written?;
            read?;
            ensure!(heard == said, "{place:?}: {} bytes came back, or others", heard.len());
            meeting.part().await?;
        }
        Ok(())
    })
}

/// Sends everything back, and reads on while it cannot write. Go's server needs this: it holds back
/// the window of bytes that it has read for as long as its own writes are not read.
async fn echo_without_waiting(conn: &Conn) -> TestResult {
    let (queue, mut queued) = mpsc::unbounded_channel();
    let read = async move {
        while let Some(bytes) = conn.read_chunk().await? {
            queue.send(bytes)?;
        }
        TestResult::Ok(())
    };
    let write = async {
        while let Some(bytes) = queued.recv().await {
            conn.write_chunk(bytes).await?;
        }
        TestResult::Ok(())
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

#[test]
fn an_answer_comes_after_the_end_of_the_question() -> TestResult {
    with_go(|go| async move {
        for over in Over::BOTH {
            let mut meeting = meet(go, (Role::GoServes, over), "answer").await?;
            ask(&mut meeting.conn).await?;
            meeting.part().await?;

            for host in [Host::Listener, Host::Axum] {
                let mut meeting = meet(go, (Role::GoConnects(host), over), "ask").await?;
                answer(&mut meeting.conn).await?;
                meeting.part().await?;
            }
        }
        Ok(())
    })
}

async fn ask(conn: &mut Conn) -> TestResult {
    conn.write_all(b"question").await?;
    conn.shutdown().await?;
    let mut heard = String::new();
    conn.read_to_string(&mut heard).await?;
    ensure!(heard == "answer", "{heard:?}");
    Ok(())
}

async fn answer(conn: &mut Conn) -> TestResult {
    let mut heard = String::new();
    conn.read_to_string(&mut heard).await?;
    ensure!(heard == "question", "{heard:?}");
    Ok(conn.write_all(b"answer").await?)
}

/// Reads the word after which the failure follows.
async fn hear_a_word(conn: &mut Conn) -> TestResult {
    let mut word = [0; 6];
    conn.read_exact(&mut word).await?;
    ensure!(&word == b"a word", "{word:?}");
    Ok(())
}

/// Writes the word after which the failure follows, and waits until it has arrived.
async fn say_a_word(conn: &mut Conn) -> TestResult {
    conn.write_all(b"a word").await?;
    conn.read_exact(&mut [0; 1]).await?;
    Ok(())
}

#[test]
fn go_that_gives_up_is_a_reset_here_and_not_an_end() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let Meeting { mut conn, go, end, what, .. } = meet(go, place, "abort").await?;
            hear_a_word(&mut conn).await?;
            conn.write_all(&[1]).await?;
            let error = conn.read(&mut [0; 1]).await.err();
            let error = error.with_context(|| format!("{what}: no error"))?;
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{what}: {error:?}");
            let reason = match place.0 {
                Role::GoServes => Reason::INTERNAL_ERROR,
                Role::GoConnects(_) => Reason::CANCEL,
            };
            ensure!(ours(&error).reason() == Some(reason), "{what}: {error:?}");
            ensure!(ours(&error).is_by_peer(), "{what}: {error:?}");
            let error = conn.write(b"more").await.expect_err("it was reset");
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{what}: {error:?}");
            part_from(go, end).await.context(what)?;
        }
        Ok(())
    })
}

#[test]
fn a_go_process_that_is_killed_is_an_error_here_and_not_an_end() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let Meeting { mut conn, go, end: _end, what, .. } = meet(go, place, "hold").await?;
            hear_a_word(&mut conn).await?;
            go.kill().await?;
            let error = conn.read(&mut [0; 1]).await.err();
            let error = error.with_context(|| format!("{what}: no error"))?;
            ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{what}: {error:?}");
            ensure!(ours(&error).kind() == ErrorKind::Truncated, "{what}: {error:?}");
        }
        Ok(())
    })
}

#[test]
fn our_reset_is_an_error_for_go_and_not_an_end() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            for (reason, name) in [(Reason::CANCEL, "CANCEL"), (Reason::NO_ERROR, "NO_ERROR")] {
                let Meeting { mut conn, go, end, what, .. } =
                    meet(go, place, "expect-reset").await?;
                say_a_word(&mut conn).await?;
                conn.reset(reason);
                let printed = part_from(go, end).await.with_context(|| what.clone())?;
                ensure!(printed.contains(name), "{what}: {printed:?} for {name}");
            }
        }
        Ok(())
    })
}

#[test]
fn our_end_that_vanishes_is_an_error_for_go_and_not_an_end() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            // A runtime that is shut down drops its sockets without an orderly end.
            let doomed = Runtime::new()?;
            let (role, over) = place;
            let (go, _conn) = match role {
                Role::GoServes => {
                    let (go, site) = go.serve(over, &["server", "expect-reset"]).await?;
                    let conn = doomed.spawn(async move {
                        let mut conn = site.connect().await?;
                        say_a_word(&mut conn).await?;
                        TestResult::Ok(conn)
                    });
                    (go, conn.await??)
                }
                Role::GoConnects(host) => {
                    let (site, mut conns) = doomed.spawn(host.listen(over)).await??;
                    let go = go.connect(&site, &["client", "expect-reset"])?;
                    let conn = doomed.spawn(async move {
                        let mut conn = conns.recv().await.context("the server has ended")?;
                        say_a_word(&mut conn).await?;
                        TestResult::Ok(conn)
                    });
                    (go, conn.await??)
                }
            };
            doomed.shutdown_background();
            let printed = go.finish().await.with_context(|| format!("{place:?}"))?;
            ensure!(printed.starts_with("reset: "), "{place:?}: {printed:?}");
        }
        Ok(())
    })
}

#[test]
fn the_status_of_a_go_server_arrives_here() -> TestResult {
    with_go(|go| async move {
        for over in Over::BOTH {
            let arguments = ["-status", "202", "server", "answer"];
            let (process, site) = go.serve(over, &arguments).await?;
            let client = site.client()?;
            let (mut conn, response) = client.connect(site.url("/")).await?;
            ensure!(response.status() == StatusCode::ACCEPTED, "{response:?}");
            ask(&mut conn).await?;
            conn.close().await?;
            part_from(process, End::Client(client)).await?;

            let arguments = ["-status", "403", "server", "nothing"];
            let (process, site) = go.serve(over, &arguments).await?;
            let client = site.client()?;
            let error = client.connect(site.url("/")).await.expect_err("Go refuses");
            ensure!(error.kind() == ErrorKind::Rejected, "{error:?}");
            ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{error:?}");
            ensure!(error.body().is_some_and(|body| &body[..] == b"no room\n"), "{error:?}");
            part_from(process, End::Client(client)).await?;
        }
        Ok(())
    })
}

#[test]
fn our_status_arrives_at_a_go_client() -> TestResult {
    with_go(|go| async move {
        for over in Over::BOTH {
            let (mut listener, site) = listen(over).await?;
            let process = go.connect(&site, &["-status", "202", "client", "ask"])?;
            let incoming = listener.accept().await.context("the listener has ended")?;
            let response = Response::builder().status(StatusCode::ACCEPTED).body(())?;
            let mut conn = incoming.accept_with(response)?;
            answer(&mut conn).await?;
            conn.close().await?;
            part_from(process, End::Server).await?;

            let (mut listener, site) = listen(over).await?;
            let process = go.connect(&site, &["-status", "403", "client", "nothing"])?;
            let incoming = listener.accept().await.context("the listener has ended")?;
            incoming.reject_with(Response::builder().status(403).body("no room\n")?);
            let printed = part_from(process, End::Server).await?;
            ensure!(printed == "refused: no room\n", "{printed:?}");
        }
        Ok(())
    })
}

#[test]
fn the_go_code_in_the_documents_is_what_is_tested() {
    let document = include_str!("../../docs/interop.md");
    for (name, code) in [
        ("client.go", include_str!("../../interop/go/client.go")),
        ("server.go", include_str!("../../interop/go/server.go")),
        ("cleartext.go", include_str!("../../interop/go/cleartext.go")),
    ] {
        let block = format!("```go\n{code}```\n");
        assert!(document.contains(&block), "docs/interop.md has other code than {name}");
    }
}
