//! A rolling restart: one server ends in order and another takes over, while many clients exchange
//! messages. No acknowledged message is lost, and clients see ends but no failures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Buf, BytesMut};
use h2conn::{Acceptor, Client, Conn, Error, ErrorKind, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::framework::{hyper_accepts, stock};
use crate::support::{Site, TestResult, checked, successor};

const CLIENTS: usize = 20;
const CONNS_EACH: usize = 25;

/// How many messages a client sends before it waits for an acknowledgement.
const AHEAD: u64 = 4;

/// A drain that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// The messages that a server has acknowledged: the client's number and the message's.
type Log = Arc<Mutex<Vec<(u64, u64)>>>;

/// The server's side: acknowledges messages until the server drains, and then ends the connection.
async fn acknowledge(conn: Conn, log: Log) -> std::io::Result<()> {
    let (mut reader, mut buffer) = (&conn, BytesMut::new());
    loop {
        let n = tokio::select! {
            // If a message has arrived in part, wait for the rest.
            () = conn.draining(), if buffer.is_empty() => break,
            n = reader.read_buf(&mut buffer) => n?,
        };
        if n == 0 {
            break;
        }
        while buffer.len() >= 16 {
            let message = buffer.split_to(16);
            (&conn).write_all(&message).await?;
            let mut fields = message;
            log.lock().expect("nobody panics").push((fields.get_u64(), fields.get_u64()));
        }
    }
    (&conn).shutdown().await?;
    conn.close().await.map_err(Into::into)
}

/// The results of one client.
#[derive(Debug, Default)]
struct Seen {
    number: u64,
    acknowledged: u64,
    ends: u64,
    failed: Vec<Error>,
}

/// The client's side: sends messages in order, each until it is acknowledged, over one connection
/// after another. It stops after enough acknowledgements from the second server.
async fn send(
    client: Client,
    url: String,
    number: u64,
    progress: mpsc::UnboundedSender<u64>,
) -> TestResult<Seen> {
    let mut seen = Seen { number, ..Seen::default() };
    loop {
        let conn = match client.connect(&url).await {
            Ok((conn, _)) => conn,
            Err(error) => {
                ensure!(seen.failed.len() < 500, "{error}");
                seen.failed.push(error);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (mut sent, before) = (seen.acknowledged, seen.acknowledged);
        let (mut buffer, mut heard) = (BytesMut::new(), true);
        loop {
            while heard && sent < seen.acknowledged + AHEAD {
                let message = [number.to_be_bytes(), sent.to_be_bytes()].concat();
                // A server that has ended does not take more for long. The client must still read
                // the server's last messages, and then its end.
                heard = (&conn).write_all(&message).await.is_ok();
                sent += 1;
            }
            if (&conn).read_buf(&mut buffer).await.context("a read")? == 0 {
                ensure!(buffer.is_empty(), "half of an acknowledgement");
                seen.ends += 1;
                break;
            }
            while buffer.len() >= 16 {
                let fields = (buffer.get_u64(), buffer.get_u64());
                ensure!(fields == (number, seen.acknowledged), "{fields:?} came: {seen:?}");
                seen.acknowledged += 1;
                let _ = progress.send(number);
            }
            if seen.ends > 0 && seen.acknowledged >= before + 10 {
                // Only messages without an acknowledgement are in doubt, and here the client waits
                // for those.
                (&conn).shutdown().await?;
                while (&conn).read_buf(&mut buffer).await? > 0 {}
                seen.acknowledged += buffer.len() as u64 / 16;
                conn.close().await?;
                return Ok(seen);
            }
        }
        // The server may have left messages unread, and then it resets.
        let _ = conn.close().await;
    }
}

/// A running server, and the means to end it. `ended` tells whether all its connections have ended.
struct Server {
    log: Log,
    stop: oneshot::Sender<()>,
    /// The server has begun to end, and accepts no more sockets.
    stopped: oneshot::Receiver<()>,
    ended: JoinHandle<TestResult<bool>>,
}

/// A server with our listener.
fn ours(listener: Listener) -> Server {
    let (log, (stop, told), (say, stopped)) =
        (Log::default(), oneshot::channel(), oneshot::channel());
    let logs = Arc::clone(&log);
    let ended = tokio::spawn(async move {
        let mut listener = listener;
        let handle = listener.handle();
        let mut handlers = JoinSet::new();
        let accepting = async {
            while let Some(incoming) = listener.accept().await {
                if let Ok(conn) = incoming.accept() {
                    handlers.spawn(acknowledge(conn, Arc::clone(&logs)));
                }
            }
        };
        let stopping = async {
            let _ = told.await;
            handle.shut_down();
            let _ = say.send(());
        };
        tokio::join!(accepting, stopping);
        let ended = listener.drain(DEADLINE).await;
        while let Some(handled) = handlers.join_next().await {
            handled?.context("a handler")?;
        }
        Ok(ended)
    });
    Server { log, stop, stopped, ended }
}

/// `accept` under hyper.
fn hyper(socket: TcpListener) -> Server {
    let (log, (stop, told), (say, stopped)) =
        (Log::default(), oneshot::channel(), oneshot::channel());
    let logs = Arc::clone(&log);
    let ended = tokio::spawn(async move {
        let acceptor = Acceptor::default();
        let handler = Arc::new(move |conn| acknowledge(conn, Arc::clone(&logs)));
        let stopping = watch::Sender::new(false);
        let mut told = told;
        let mut serving = JoinSet::new();
        loop {
            let (io, _) = tokio::select! {
                _ = &mut told => break,
                accepted = socket.accept() => accepted?,
            };
            io.set_nodelay(true)?;
            let mut stop = stopping.subscribe();
            let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
            serving.spawn(async move {
                let stop = async move { drop(stop.wait_for(|stop| *stop).await) };
                hyper_accepts(io, stock(), acceptor, handler, stop).await
            });
        }
        drop(socket);
        stopping.send_replace(true);
        let _ = say.send(());
        let ended = acceptor.drain(DEADLINE).await;
        while let Some(served) = serving.join_next().await {
            // A client that goes before its server is no failure of the server.
            let _ = served?;
        }
        Ok(ended)
    });
    Server { log, stop, stopped, ended }
}

/// Ends `first` while its clients are busy, and returns their results when `next` has taken over.
/// `next` is made once the first server has begun to end.
async fn restart<F>(addr: SocketAddr, first: Server, next: F) -> TestResult<Vec<Seen>>
where
    F: AsyncFnOnce() -> TestResult<Server>,
{
    let site = Site::cleartext(addr);
    let (progress, mut acknowledged) = mpsc::unbounded_channel();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let shared = site.client()?;
        for conn in 0..CONNS_EACH {
            let number = (client * CONNS_EACH + conn) as u64;
            clients.spawn(send(shared.clone(), site.url("/"), number, progress.clone()));
        }
    }
    // Each client must see the end of the first server.
    let mut begun = HashMap::new();
    while begun.len() < CLIENTS * CONNS_EACH || begun.values().any(|messages| *messages < 5) {
        for _ in 0..100 {
            let number = acknowledged.recv().await.context("the clients have ended")?;
            *begun.entry(number).or_insert(0) += 1;
        }
    }
    let Server { log, stop, stopped, ended } = first;
    stop.send(()).ok().context("the first server has ended")?;
    stopped.await?;
    let second = next().await?;
    let mut all = Vec::new();
    while let Some(seen) = clients.join_next().await {
        all.push(seen??);
    }
    ensure!(ended.await??, "the first server had to reset some");
    second.stop.send(()).ok().context("the second server has ended")?;
    ensure!(second.ended.await??, "the second server had to reset some");

    // Each message was acknowledged once, and its client knows it.
    let logs = [&log, &second.log].map(|log| log.lock().expect("nobody panics").clone());
    let mut logged = HashMap::<_, Vec<_>>::new();
    for (number, message) in logs.iter().flatten() {
        logged.entry(*number).or_default().push(*message);
    }
    for seen in &all {
        let mut logged = logged.remove(&seen.number).context("its messages are logged")?;
        logged.sort();
        ensure!(logged.iter().copied().eq(0..seen.acknowledged), "{logged:?}: {seen:?}");
        ensure!(seen.ends == 1, "one end, by the first server: {seen:?}");
    }
    let [first, second] = logs.map(|log| log.len());
    let failed: Vec<_> = all.iter().flat_map(|seen| &seen.failed).collect();
    eprintln!(
        "{} conns: {first} messages by the first server, {second} by the second; {} attempts to \
         connect failed{}",
        all.len(),
        failed.len(),
        failed.first().map_or(String::new(), |error| format!(", as by: {error}")),
    );
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_binds_the_address_when_it_is_free_loses_nothing() -> TestResult {
    checked(120, async {
        let listener = Listener::builder().bind("127.0.0.1:0").await?;
        let addr = crate::support::port_of(&listener);
        let all = restart(addr, ours(listener), async || Ok(ours(successor(addr).await?))).await?;
        for error in all.iter().flat_map(|seen| &seen.failed) {
            // No server is listening, or the socket was closed with its queue.
            let kinds = [ErrorKind::Connect, ErrorKind::Refused, ErrorKind::Truncated];
            ensure!(kinds.contains(&error.kind()), "{error}");
        }
        Ok(())
    })
    .await
}

/// Two handles of one listening socket.
fn shared_socket() -> TestResult<(SocketAddr, TcpListener, TcpListener)> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let clone = socket.try_clone()?;
    let addr = socket.local_addr()?;
    Ok((addr, TcpListener::from_std(socket)?, TcpListener::from_std(clone)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_shares_the_socket_is_not_noticed() -> TestResult {
    checked(120, async {
        let (addr, first, second) = shared_socket()?;
        let first = ours(Listener::builder().listen(first)?);
        let all =
            restart(addr, first, async || Ok(ours(Listener::builder().listen(second)?))).await?;
        let failed = all.iter().flat_map(|seen| &seen.failed).next();
        ensure!(failed.is_none(), "{failed:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_hyper_too_nothing_is_lost() -> TestResult {
    checked(120, async {
        let (addr, first, second) = shared_socket()?;
        let all = restart(addr, hyper(first), async || Ok(hyper(second))).await?;
        for error in all.iter().flat_map(|seen| &seen.failed) {
            // A request that was sent before hyper's GOAWAY had reached the client.
            ensure!(error.to_string().contains("shutting down"), "{error}");
        }
        Ok(())
    })
    .await
}
