//! The memory of a WebSocket at the server, measured in a process of its own.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::http::Version;
use h2conn::{Acceptor, Conn, WebSockets};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::support::framework::{hyper_over_memory, hyper_server, stock};
use crate::support::process::{self, Output, memory, output, said};
use crate::support::websocket::{BOTH, Socket, open, open_over};
use crate::support::{Over, Site, TestResult, checked, echo, noise, run};

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
            // glibc then gives the room of each large message back to the system when it is freed.
            let mut wrapper = Command::new("env");
            wrapper.arg("MALLOC_MMAP_THRESHOLD_=131072");
            let mut server = process::spawn_by(wrapper, SERVER, "server")?;
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
            // The room of a large message is freed after a while.
            while ask(&mut questions, &mut answers).await?.saturating_sub(before) / SOCKETS > 300 {
                sleep(Duration::from_millis(100)).await;
            }
            drop(sockets);
            drop(questions);
            ensure!(server.wait().await?.success());
        }
        Ok(())
    })
}

/// A while after a large message its room is freed, which must lose nothing: not a part of a frame that
/// has come meanwhile, and no ping.
#[tokio::test(start_paused = true)]
async fn a_websocket_that_has_freed_the_room_of_a_large_message_goes_on() -> TestResult {
    const WHILE: Duration = Duration::from_secs(7);
    const LARGE: usize = 300_000;
    checked(3600, async {
        for by in BOTH {
            let (io, mut conns) = hyper_over_memory(1 << 20, stock(), Acceptor::default());
            let mut client = open_over(io, by).await?;
            let conn = conns.recv().await.context("the server has ended")?;
            let echoing = tokio::spawn(echo(conn));
            let mut bytes = noise(LARGE, 5);
            for round in 0..4 {
                client.send(Message::Binary(Bytes::copy_from_slice(&bytes))).await?;
                hear(&mut client, &bytes).await?;
                // A frame of 1,000 bytes, of which a part comes before the room is freed, with a mask
                // that changes nothing.
                let mut frame =
                    vec![0x82, 0x80 | 126, 1000_u16.to_be_bytes()[0], 1000_u16.to_be_bytes()[1]];
                frame.extend([0; 4]);
                frame.extend(&bytes[..1000]);
                let (first, second) = frame.split_at([0, 1, 5, 700][round]);
                client.get_mut().write_all(first).await?;
                client.get_mut().flush().await?;
                sleep(WHILE).await;
                client.get_mut().write_all(second).await?;
                client.get_mut().flush().await?;
                hear(&mut client, &bytes[..1000]).await?;
                sleep(WHILE).await;
                client.send(Message::Ping(Bytes::from_static(b"there?"))).await?;
                let answer = client.next().await.context("an answer")??;
                ensure!(answer == Message::Pong(Bytes::from_static(b"there?")), "{answer:?}");
                bytes.rotate_left(1);
            }
            client.close(None).await?;
            ensure!(echoing.await?.is_ok());
        }
        Ok(())
    })
    .await
}

/// Hears these bytes, in whatever messages. The server's pings may come between.
async fn hear(client: &mut Socket, expected: &[u8]) -> TestResult {
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        match client.next().await.context("the echo goes on")?? {
            Message::Binary(bytes) => heard.extend_from_slice(&bytes),
            Message::Ping(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(heard == expected, "{} bytes", heard.len());
    Ok(())
}
