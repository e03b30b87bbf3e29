//! The client: opens connections, holds them, and times echoes over the first of them.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2conn::{Client, Conn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Kind, Process, Role, answer, memory, runtime};

/// How many connections are opened at a time.
const AT_ONCE: usize = 64;

/// The bytes that are echoed.
const SAID: [u8; 64] = [7; 64];

enum Connection {
    Conn(Conn),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

pub(crate) fn run(kind: Kind) -> Result<()> {
    let runtime = runtime()?;
    let mut server = Process::start(Role::Server, kind)?;
    let port: u16 = server.ask("port")?.parse()?;
    let (mut clients, mut connections) = (Vec::new(), Vec::new());
    answer(|question, numbers| match (question, numbers) {
        ("open", [number, links]) => {
            let all = connections.len() + number;
            let before = server.ask(&format!("memory {}", connections.len()))?.parse::<u64>()?;
            connections.reserve(*number);
            while clients.len() < *links {
                clients.push(Client::new()?);
            }
            let (mine, start) = (memory()?, Instant::now());
            runtime.block_on(open(&mut connections, kind, port, *number, &clients))?;
            let took = start.elapsed().as_nanos();
            let after = server.ask(&format!("memory {all}"))?.parse::<u64>()?;
            let (mine, its) = (memory()?.saturating_sub(mine), after.saturating_sub(before));
            Ok(format!("{mine} {its} {took}"))
        }
        ("echo", [trips]) => {
            let first = connections.first_mut().context("nothing is open")?;
            let times = runtime.block_on(first.echoes(*trips))?;
            Ok(times.join(" "))
        }
        _ => bail!("a client is not asked {question:?} with {numbers:?}"),
    })
}

/// Opens `more` connections, [`AT_ONCE`] at a time. Each client keeps one link (an HTTP/2
/// connection) to the server.
async fn open(
    connections: &mut Vec<Connection>,
    kind: Kind,
    port: u16,
    number: usize,
    clients: &[Client],
) -> Result<()> {
    let mut opening = JoinSet::new();
    for index in 0..number {
        if opening.len() == AT_ONCE {
            connections.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let client = clients[index % clients.len()].clone();
        opening.spawn(async move {
            match kind {
                Kind::Conn => Connection::conn(&client, port).await,
                Kind::Websocket => Connection::websocket(port).await,
            }
        });
    }
    while let Some(connection) = opening.join_next().await {
        connections.push(connection??);
    }
    Ok(())
}

impl Connection {
    async fn conn(client: &Client, port: u16) -> Result<Connection> {
        let (conn, _) = client.connect(format!("http://127.0.0.1:{port}/")).await?;
        Ok(Connection::Conn(conn))
    }

    async fn websocket(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://127.0.0.1:{port}/");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Connection::WebSocket(Box::new(socket)))
    }

    /// The times of `trips` round trips, in nanoseconds.
    async fn echoes(&mut self, trips: usize) -> Result<Vec<String>> {
        let mut times = Vec::with_capacity(trips);
        for _ in 0..trips {
            let start = Instant::now();
            self.echo().await?;
            times.push(start.elapsed().as_nanos().to_string());
        }
        Ok(times)
    }

    async fn echo(&mut self) -> Result<()> {
        match self {
            Connection::Conn(conn) => {
                let mut heard = [0; SAID.len()];
                conn.write_all(&SAID).await?;
                conn.read_exact(&mut heard).await?;
                ensure!(heard == SAID, "an echo differs");
            }
            Connection::WebSocket(socket) => {
                socket.send(Message::Binary(Bytes::from_static(&SAID))).await?;
                let heard = socket.next().await.context("the WebSocket has ended")??;
                ensure!(heard.into_data() == SAID[..], "an echo differs");
            }
        }
        Ok(())
    }
}
