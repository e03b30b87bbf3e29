//! The server: echoes, and reports its memory.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use h2conn::{Conn, Listener};
use tokio::net::{TcpListener, TcpStream};

use super::{Kind, answer, memory, runtime};

/// Enough for all Conns on one link.
const MOST: u32 = 1 << 20;

pub(crate) fn run(kind: Kind) -> Result<()> {
    let runtime = runtime()?;
    let served = Arc::new(AtomicUsize::new(0));
    let port = runtime.block_on(async {
        match kind {
            Kind::Conn => conns(Arc::clone(&served)).await,
            Kind::Websocket => websockets(Arc::clone(&served)).await,
        }
    })?;
    answer(|question, numbers| match (question, numbers) {
        ("port", []) => Ok(port.to_string()),
        // Wait until there are this many connections, because the server may still have some to
        // accept.
        ("memory", [conns]) => {
            while served.load(SeqCst) < *conns {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(memory()?.to_string())
        }
        _ => bail!("a server is not asked {question:?} with {numbers:?}"),
    })
}

async fn conns(served: Arc<AtomicUsize>) -> Result<u16> {
    let builder = Listener::builder().max_conns_per_link(MOST);
    let mut listener = builder.bind("127.0.0.1:0").await?;
    let port = listener.local_addr().socket_addr().context("it listens on TCP")?.port();
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            served.fetch_add(1, SeqCst);
            tokio::spawn(async move { echo_conn(incoming.accept()?).await });
        }
    });
    Ok(port)
}

async fn echo_conn(conn: Conn) -> h2conn::Result<()> {
    while let Some(chunk) = conn.read_chunk().await? {
        conn.write_chunk(chunk).await?;
    }
    conn.close().await
}

async fn websockets(served: Arc<AtomicUsize>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = Arc::clone(&served);
            tokio::spawn(async move { echo_websocket(stream, &served).await });
        }
    });
    Ok(port)
}

async fn echo_websocket(stream: TcpStream, served: &AtomicUsize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    served.fetch_add(1, SeqCst);
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
