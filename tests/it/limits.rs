//! The limits of a listener, the treatment of clients beyond them, and the listener's statistics.

mod backlog;
mod fields;
mod memory;
#[cfg(unix)]
mod sockets;
mod strangers;
mod unsent;

use std::io::ErrorKind::WouldBlock;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::{Client, Conn, Error, ErrorKind, Listener, ListenerHandle, ListenerStats, Reason};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin};

use crate::support::foreign::io_to;
use crate::support::process;
use crate::support::raw::{END_HEADERS, HEADERS, RST_STREAM, Raw};
use crate::support::{
    Over, Site, TestResult, accept, check_echo, echo, listen, listen_with, run, serve,
};

/// Writes something, reads the echo, and leaves the connection open.
async fn round_trip(mut conn: &Conn) -> TestResult {
    conn.write_all(b"hello").await?;
    let mut heard = [0; 5];
    conn.read_exact(&mut heard).await?;
    ensure!(&heard == b"hello", "{heard:?}");
    Ok(())
}

/// Waits until the listener's figures satisfy `good`. The tests' watchdog limits the wait.
async fn until(handle: &ListenerHandle, good: impl Fn(&ListenerStats) -> bool) -> ListenerStats {
    loop {
        let stats = handle.stats();
        if good(&stats) {
            return stats;
        }
        tokio::task::yield_now().await;
    }
}

fn is_refused(error: &Error, text: &str) -> TestResult {
    ensure!(error.kind() == ErrorKind::Refused && error.was_not_processed(), "{error}");
    ensure!(error.to_string().contains(text), "{error}");
    Ok(())
}

/// Runs in a server's process: prints where the server listens, and its memory each time it is
/// asked.
async fn tell_memory(
    site: &Site,
    handle: &ListenerHandle,
    bytes: impl Fn(&ListenerStats) -> usize,
) -> TestResult {
    println!("\n@port {}", site.addr.port());
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        let stats = handle.stats();
        let (now, most) = (process::memory("VmRSS"), process::memory("VmHWM"));
        println!("\n@memory {now} {most} {} {}", bytes(&stats), stats.conns);
    }
    Ok(())
}

/// The memory of such a process in KiB, now and at its peak, and the library's own figures.
struct Memory {
    now: usize,
    most: usize,
    bytes: usize,
    conns: usize,
}

/// A server in a process of its own, in which [`tell_memory`] runs.
struct Filled {
    child: Child,
    answers: process::Output,
    questions: ChildStdin,
}

impl Filled {
    async fn start(test: &str) -> TestResult<(Filled, Site)> {
        let mut child = process::spawn(test, "server")?;
        let mut answers = process::output(&mut child)?;
        let questions = child.stdin.take().context("its input is piped")?;
        let port: u16 = process::said(&mut answers, "port").await?.parse()?;
        let site = Site::cleartext(([127, 0, 0, 1], port).into());
        Ok((Filled { child, answers, questions }, site))
    }

    async fn ask(&mut self) -> TestResult<Memory> {
        self.questions.write_all(b"?\n").await?;
        let line = process::said(&mut self.answers, "memory").await?;
        let fields: Vec<usize> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let &[now, most, bytes, conns] = &fields[..] else { anyhow::bail!("{line}") };
        Ok(Memory { now, most, bytes, conns })
    }

    /// Waits until neither the bytes nor the number of connections changes any more. The tests'
    /// watchdog limits the wait.
    async fn settled(&mut self) -> TestResult<Memory> {
        let (mut last, mut same) = ((0, 0), 0);
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let memory = self.ask().await?;
            let now = (memory.bytes, memory.conns);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            if same == 10 {
                return Ok(memory);
            }
        }
    }

    async fn end(mut self) -> TestResult {
        drop(self.questions);
        ensure!(self.child.wait().await?.success());
        Ok(())
    }
}

#[test]
fn a_client_over_max_links_is_told_so_and_served_when_there_is_room() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let builder = Listener::builder().max_links(1);
            let (listener, site) = listen_with(over, builder).await?;
            let handle = listener.handle();
            serve(listener, echo);
            let first = site.client()?;
            let conn = first.connect(site.url("/")).await?.0;
            let second = site.client()?;
            let error = second.connect(site.url("/")).await.err().context("there is one link")?;
            is_refused(&error, "max_links is 1")?;
            round_trip(&conn).await?;
            let stats = handle.stats();
            // The client has tried four times.
            ensure!(stats.refused_by_max_links == 4, "{stats:?}");
            ensure!((stats.links, stats.handshaking) == (1, 0), "{stats:?}");
            conn.close().await?;
            first.close().await?;
            until(&handle, |stats| stats.links == 0).await;
            check_echo(second.connect(site.url("/")).await?.0, b"there is room").await?;
            second.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_stock_client_over_max_links_gets_a_goaway_that_excludes_its_request() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_with(over, Listener::builder().max_links(1)).await?;
            serve(listener, echo);
            let _conn = site.connect().await?;
            let (mut send, connection) = h2::client::handshake(io_to(&site).await?).await?;
            let connection = tokio::spawn(connection);
            let request = h2conn::http::Request::get(site.url("/")).body(())?;
            // The client may know of the GOAWAY before it makes its request.
            let error = match send.send_request(request, true) {
                Ok((response, _)) => response.await.err().context("it is over the cap")?,
                Err(error) => error,
            };
            ensure!(error.is_go_away() && error.is_remote(), "{error}");
            ensure!(error.reason() == Some(h2::Reason::NO_ERROR), "{error}");
            drop(send);
            // Whether h2 reports a failure depends on the frame that it reads first.
            let _ = connection.await?;
        }
        Ok(())
    })
}

#[test]
fn an_http1_client_over_max_links_gets_503_and_when_to_try_again() -> TestResult {
    run(async {
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().max_links(1)).await?;
        serve(listener, echo);
        let _conn = site.connect().await?;
        let mut io = TcpStream::connect(site.addr).await?;
        io.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        for part in ["retry-after: 1\r\n", "max_links is 1", "h2conn"] {
            ensure!(answer.contains(part), "{part:?} is not in: {answer}");
        }
        Ok(())
    })
}

/// A client with an address of its own.
async fn client_from(ip: [u8; 4], site: &Site) -> TestResult<Client> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ip, 0)))?;
    Ok(Client::builder().build_over(socket.connect(site.addr).await?).await?)
}

// Only Linux has all of 127.0.0.0/8 without configuration.
#[cfg(target_os = "linux")]
#[test]
fn links_of_one_address_have_a_cap_of_their_own() -> TestResult {
    run(async {
        let builder = Listener::builder().max_links(100).max_links_per_addr(2);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        serve(listener, echo);
        let mut open = Vec::new();
        for ip in [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 2]] {
            let client = client_from(ip, &site).await?;
            open.push((client.connect("http://x/").await?.0, client));
        }
        let third = client_from([127, 0, 0, 1], &site).await?;
        let error = third.connect("http://x/").await.err().context("it has two")?;
        ensure!(error.kind() == ErrorKind::Refused, "{error}");
        let stats = handle.stats();
        ensure!((stats.refused_by_max_links_per_addr, stats.refused_by_max_links) == (1, 0));
        let elsewhere = client_from([127, 0, 0, 3], &site).await?;
        check_echo(elsewhere.connect("http://x/").await?.0, b"another address").await?;
        for (conn, client) in open {
            conn.close().await?;
            client.close().await?;
        }
        until(&handle, |stats| stats.links == 1).await;
        let again = client_from([127, 0, 0, 1], &site).await?;
        check_echo(again.connect("http://x/").await?.0, b"there is room").await
    })
}

#[test]
fn no_more_than_64_are_told_at_once_that_they_are_refused_and_none_for_long() -> TestResult {
    run(async {
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().max_links(1)).await?;
        let handle = listener.handle();
        serve(listener, echo);
        let conn = site.connect().await?;
        let began = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..64 {
            silent.push(TcpStream::connect(site.addr).await?);
        }
        until(&handle, |stats| stats.refused_by_max_links == 64).await;
        // The listener does not wait for the preface of this one.
        let mut one_more = TcpStream::connect(site.addr).await?;
        let _ = one_more.read(&mut [0; 1]).await;
        for socket in &silent {
            let still_told = socket.try_read(&mut [0; 1]).is_err_and(|e| e.kind() == WouldBlock);
            ensure!(still_told, "the 64 were over first");
        }
        round_trip(&conn).await?;
        for mut socket in silent {
            let _ = socket.read(&mut [0; 1]).await;
        }
        let all = began.elapsed();
        ensure!(all > Duration::from_secs(2), "they had no time to speak: {all:?}");
        let error = site.connect().await.err().context("there is one link")?;
        is_refused(&error, "max_links")
    })
}

#[test]
fn streams_past_max_conns_per_link_are_refused_and_all_else_goes_on() -> TestResult {
    run(async {
        let builder = Listener::builder().max_conns_per_link(2);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        let other = site.client()?;
        let (answered, accepted) =
            tokio::join!(other.connect(site.url("/")), accept(&mut listener));
        let (conn, _) = answered?;
        tokio::spawn(echo(accepted?));

        // A peer that ignores the limit: POST http://x/, in the HPACK of RFC 7541.
        const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];
        let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
        for stream in [1, 3, 5, 7, 9] {
            raw.send(HEADERS, END_HEADERS, stream, POST).await?;
        }
        let kept = [accept(&mut listener).await?, accept(&mut listener).await?];
        let (mut answered, mut refused) = (Vec::new(), Vec::new());
        while answered.len() + refused.len() < 5 {
            let frame = raw.next().await?.context("the link lives")?;
            match frame.kind {
                HEADERS => answered.push(frame.stream),
                RST_STREAM => {
                    let reason = Reason::REFUSED_STREAM.code().to_be_bytes();
                    ensure!(frame.payload == reason, "{frame:?}");
                    refused.push(frame.stream);
                }
                _ => {}
            }
        }
        answered.sort();
        ensure!(answered == [1, 3] && refused == [5, 7, 9], "{answered:?}, {refused:?}");
        until(&handle, |stats| (stats.links, stats.conns) == (2, 3)).await;
        // The link takes another Conn when one has gone.
        let [first, second] = kept;
        first.reset(Reason::CANCEL);
        raw.wait_for(RST_STREAM, 1).await?;
        raw.send(HEADERS, END_HEADERS, 11, POST).await?;
        let third = accept(&mut listener).await?;
        raw.wait_for(HEADERS, 11).await?;
        round_trip(&conn).await?;
        drop((raw, second, third));
        Ok(conn.close().await?)
    })
}

#[test]
fn a_listener_tells_what_it_has() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let handle = listener.handle();
        ensure!(handle.stats() == ListenerStats::default());
        let silent = TcpStream::connect(site.addr).await?;
        until(&handle, |stats| (stats.handshaking, stats.links) == (1, 0)).await;
        let client = site.client()?;
        let (connected, accepted) =
            tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (mut conn, mut server) = (connected?.0, accepted?);
        conn.write_all(&[7; 100_000]).await?;
        let waits = client.open(site.url("/")).await?;
        let full = |stats: &ListenerStats| stats.unread_bytes == 100_000 && stats.conns == 2;
        let stats = until(&handle, full).await;
        ensure!((stats.handshaking, stats.links) == (1, 1), "{stats:?}");
        drop(silent);
        server.read_exact(&mut [0; 100_000]).await?;
        // Bytes that were read are reported to the peer, and counted, once they are worth a frame.
        drop((conn, server, waits));
        client.close().await?;
        // The last request arrived complete, so that it could still be accepted.
        drop(listener);
        let mut at_the_end = ListenerStats::default();
        at_the_end.accepted = 1;
        until(&handle, |stats| *stats == at_the_end).await;
        Ok(())
    })
}

#[test]
fn a_listener_that_is_shut_down_by_its_handle_gives_what_had_come_and_then_ends() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let handle = listener.handle();
        let client = site.client()?;
        let (connected, accepted) =
            tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (conn, server) = (connected?.0, accepted?);
        let waits = client.open(site.url("/")).await?;
        until(&handle, |stats| stats.conns == 2).await;
        handle.shut_down();
        server.draining().await;
        conn.draining().await;
        let waited = accept(&mut listener).await?;
        ensure!(listener.accept().await.is_none() && listener.accept().await.is_none());
        let error = client.connect(site.url("/")).await.err().context("the socket is closed")?;
        // Or the socket is closed while this client waits in its queue.
        let kinds = [ErrorKind::Connect, ErrorKind::Refused, ErrorKind::Truncated];
        ensure!(kinds.contains(&error.kind()), "{error}");
        // Open connections go on until they end.
        tokio::spawn(echo(server));
        tokio::spawn(echo(waited));
        waits.response().await?;
        round_trip(&conn).await?;
        let drained = tokio::spawn(listener.drain(Duration::from_secs(20)));
        check_echo(conn, b"the last words").await?;
        check_echo(waits, b"of two").await?;
        ensure!(drained.await?, "all have ended by themselves");
        Ok(())
    })
}

#[test]
fn a_drain_ends_an_accept_that_waits_elsewhere() -> TestResult {
    run(async {
        let (mut listener, _) = listen(Over::Cleartext).await?;
        let handle = listener.handle();
        let accepting = tokio::spawn(async move { listener.accept().await.is_none() });
        handle.clone().shut_down();
        ensure!(accepting.await?);
        Ok(())
    })
}
