//! The memory of a WebSocket at the server, measured in a process of its own.

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::Acceptor;
use h2conn::http::Version;
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

/// Not a real test, but the server of the test below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_what_it_holds() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    let site = hyper_server(Over::Cleartext, Acceptor::default(), echo).await?;
    println!("\n@port {}", site.addr.port());
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        println!("\n@memory {}", memory("VmRSS"));
    }
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

#[test]
fn a_websocket_holds_little_and_the_longest_message_that_there_was() -> TestResult {
    const SERVER: &str = "websocket::memory::a_server_that_says_what_it_holds";
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
            ensure!(idle < 64, "{by:?}: {idle} KiB when idle");
            ensure!(used < 1400, "{by:?}: {used} KiB after a long message");
            drop(sockets);
            drop(questions);
            ensure!(server.wait().await?.success());
        }
        Ok(())
    })
}
