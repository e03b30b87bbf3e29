//! The memory of a WebSocket at the server, measured in a process of its own.

use std::io;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::http::Version;
use h2conn::{Acceptor, Conn, WebSockets};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::ChildStdin;
use tokio_tungstenite::tungstenite::Message;

use crate::support::framework::hyper_server;
use crate::support::process::{self, Output, memory, output, said};
use crate::support::websocket::{Socket, open};
use crate::support::{Over, Site, TestResult, echo, run};

const SOCKETS: usize = 100;

/// The longest message of the client.
const MESSAGE: usize = 1 << 20;

/// The longest line of the server.
const LINE: usize = 4 << 20;

/// Not a real test, but the server of the test below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_what_it_holds() -> TestResult {
    let site = match process::role().as_deref() {
        None => return Ok(()),
        Some("lines") => {
            let websockets = WebSockets::new().json_lines().max_message_size(2 * LINE);
            let acceptor = Acceptor::builder().websockets(websockets).build()?;
            hyper_server(Over::Cleartext, acceptor, digits).await?
        }
        Some(_) => hyper_server(Over::Cleartext, Acceptor::default(), echo).await?,
    };
    println!("\n@port {}", site.addr.port());
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        println!("\n@memory {}", memory("VmRSS"));
    }
    Ok(())
}

/// Answers each number with a line of so many digits.
async fn digits(conn: Conn) -> io::Result<()> {
    let (read, mut write) = conn.into_split();
    let mut asked = BufReader::new(read).lines();
    while let Some(line) = asked.next_line().await? {
        let mut left: usize = line.parse().map_err(io::Error::other)?;
        while left > 0 {
            let piece = [b'7'; 10_000];
            let n = left.min(piece.len());
            write.write_all(&piece[..n]).await?;
            left -= n;
        }
        write.write_all(b"\n").await?;
    }
    write.shutdown().await
}

/// Asks for a line, and reads it.
async fn read_line(socket: &mut Socket, bytes: usize) -> TestResult {
    socket.send(Message::text(bytes.to_string())).await?;
    let line = socket.next().await.context("it has ended")??;
    ensure!(line.is_text() && line.len() == bytes, "{} bytes", line.len());
    Ok(())
}

async fn ask(questions: &mut ChildStdin, answers: &mut Output) -> TestResult<usize> {
    questions.write_all(b"?\n").await?;
    Ok(said(answers, "memory").await?.parse()?)
}

/// Sends a message and reads as many bytes.
async fn exchange(socket: &mut Socket, bytes: usize) -> TestResult {
    socket.send(Message::Binary(vec![7; bytes].into())).await?;
    let mut heard = 0;
    while heard < bytes {
        heard += socket.next().await.context("it has ended")??.len();
    }
    Ok(())
}

const SERVER: &str = "websocket::memory::a_server_that_says_what_it_holds";

#[test]
fn a_websocket_holds_no_line_whole() -> TestResult {
    const SOCKETS: usize = 25;
    run(async {
        for by in [Version::HTTP_11, Version::HTTP_2] {
            let mut server = process::spawn(SERVER, "lines")?;
            let mut answers = output(&mut server)?;
            let mut questions = server.stdin.take().context("its input is piped")?;
            let port: u16 = said(&mut answers, "port").await?.parse()?;
            let site = Site::cleartext(([127, 0, 0, 1], port).into());
            read_line(&mut open(&site, by, "/").await?, LINE).await?;
            let before = ask(&mut questions, &mut answers).await?;
            let mut sockets = Vec::new();
            for _ in 0..SOCKETS {
                let mut socket = open(&site, by, "/").await?;
                read_line(&mut socket, LINE).await?;
                sockets.push(socket);
            }
            let used = ask(&mut questions, &mut answers).await?.saturating_sub(before) / SOCKETS;
            eprintln!("a WebSocket by {by:?}: {used} KiB after a line of {} MiB", LINE >> 20);
            ensure!(used < LINE >> 12, "{by:?}: {used} KiB, a quarter of the line or more");
            drop(sockets);
            drop(questions);
            ensure!(server.wait().await?.success());
        }
        Ok(())
    })
}

#[test]
fn a_websocket_holds_little_and_the_longest_message_that_there_was() -> TestResult {
    run(async {
        for by in [Version::HTTP_11, Version::HTTP_2] {
            let mut server = process::spawn(SERVER, "server")?;
            let mut answers = output(&mut server)?;
            let mut questions = server.stdin.take().context("its input is piped")?;
            let port: u16 = said(&mut answers, "port").await?.parse()?;
            let site = Site::cleartext(([127, 0, 0, 1], port).into());
            // The cost of the very first connection is not the cost of a connection.
            exchange(&mut open(&site, by, "/").await?, MESSAGE).await?;
            let before = ask(&mut questions, &mut answers).await?;
            let mut sockets = Vec::new();
            for _ in 0..SOCKETS {
                let mut socket = open(&site, by, "/").await?;
                exchange(&mut socket, 10).await?;
                sockets.push(socket);
            }
            let idle = ask(&mut questions, &mut answers).await?.saturating_sub(before) / SOCKETS;
            for socket in &mut sockets {
                exchange(socket, MESSAGE).await?;
            }
            let used = ask(&mut questions, &mut answers).await?.saturating_sub(before) / SOCKETS;
            eprintln!(
                "a WebSocket by {by:?}: {idle} KiB when idle, {used} KiB after a message of 1 MiB"
            );
            // 43 by HTTP/1.1 and 61 by HTTP/2, where each has a link of its own here. The allocator adds a
            // few on a loaded machine.
            ensure!(idle < 80, "{by:?}: {idle} KiB when idle");
            ensure!(used < 1400, "{by:?}: {used} KiB after a long message");
            drop(sockets);
            drop(questions);
            ensure!(server.wait().await?.success());
        }
        Ok(())
    })
}
