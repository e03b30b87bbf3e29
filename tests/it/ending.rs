//! The ways in which a connection ends (`docs/protocol.md`), seen from both sides.

mod refused;
mod truth;

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::testing::Pair;
use h2conn::{Client, Conn, Error, ErrorKind, Listener, OnDrop, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use crate::support::framework::Host;
use crate::support::raw::{DATA, Raw};
use crate::support::{checked, within};

/// The library's error inside the error of a read or write.
fn ours(error: &io::Error) -> Result<&Error> {
    Error::from_io(error).with_context(|| format!("{error} carries none of ours"))
}

/// Reads until the end or an error. Returns the bytes and the error.
async fn read_all(conn: &Conn) -> (Vec<u8>, Option<io::Error>) {
    let mut got = Vec::new();
    let mut conn = conn;
    let error = conn.read_to_end(&mut got).await.err();
    (got, error)
}

/// Runs a test with each host at the other end.
async fn with_each_host(test: impl AsyncFn(Host) -> Result<()>) -> Result<()> {
    for host in Host::ALL {
        checked(120, test(host)).await.with_context(|| format!("{host:?}"))?;
    }
    Ok(())
}

/// The reason of a reset, as far as a user knows it who reads no more: hyper tells it only to a
/// reader.
fn told(host: Host, reason: Reason) -> Option<Reason> {
    host.is_ours().then_some(reason)
}

#[tokio::test]
async fn a_shutdown_ends_one_direction_and_the_other_goes_on() -> Result<()> {
    with_each_host(async |host| {
        let (mut client, mut server) = host.pair_in_memory().await?;
        client.write_all(b"question").await?;
        client.shutdown().await?;
        let error = client.write_all(b"more").await.err().context("it was shut down")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe);
        ensure!(read_all(&server).await.0 == b"question");
        for _ in 0..3 {
            server.write_all(b"answer").await?;
            client.read_exact(&mut [0; 6]).await?;
        }
        server.shutdown().await?;
        ensure!(client.read(&mut [0; 1]).await? == 0);
        client.closed().await?;
        server.closed().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn both_sides_close_at_once_and_neither_fails() -> Result<()> {
    with_each_host(async |host| {
        for _ in 0..50 {
            let (client, server) = host.pair_in_memory().await?;
            (&client).write_all(b"bye").await?;
            (&server).write_all(b"bye").await?;
            let (one, other) = tokio::join!(client.close(), server.close());
            one?;
            other?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn close_sends_everything_and_ends_what_other_tasks_wait_for() -> Result<()> {
    with_each_host(async |host| {
        let (client, server) = host.pair_in_memory().await?;
        let message = vec![3; 200_000];
        let (read, (), got) = tokio::join!(
            async { (&client).read(&mut [0; 1]).await },
            async {
                (&client).write_all(&message).await.expect("there is room");
                client.close().await.expect("the peer reads");
            },
            async {
                let got = read_all(&server).await;
                server.close().await.map(|()| got)
            },
        );
        let error = read.err().context("it was closed")?;
        ensure!(error.kind() == io::ErrorKind::ConnectionAborted, "{error}");
        let error = (&client).write(b"x").await.err().context("it was closed")?;
        ensure!(error.kind() == io::ErrorKind::ConnectionAborted, "{error}");
        ensure!(got?.0 == message);
        Ok(())
    })
    .await
}

/// The reason with which a server resets after a complete answer (RFC 9113 §8.1), and any reason of
/// a client.
const GOODBYES: [(bool, Reason); 2] = [(true, Reason::CANCEL), (false, Reason::NO_ERROR)];

#[tokio::test(start_paused = true)]
async fn close_gives_a_peer_the_linger_timeout_and_says_that_it_has_passed() -> Result<()> {
    with_each_host(async |host| {
        for (by_client, reason) in GOODBYES {
            let (client, server) = host.pair_in_memory().await?;
            let (near, far) = if by_client { (client, server) } else { (server, client) };
            (&near).write_all(b"all of it").await?;
            let start = Instant::now();
            let error = near.close().await.err().context("the peer never ends its side")?;
            ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains("linger_timeout"), "{error}");
            ensure!(error.reason() == Some(reason) && !error.is_by_peer(), "{error:?}");
            let waited = start.elapsed().as_secs();
            ensure!((30..=31).contains(&waited), "{waited} s");
            let (got, error) = read_all(&far).await;
            ensure!(got == b"all of it" && error.is_none(), "the end came before the reset");
            let error = far.closed().await.err().context("it was reset")?;
            let told = if by_client { told(host, reason) } else { Some(reason) };
            ensure!(error.reason() == told, "{error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn close_gives_up_a_peer_that_goes_on_sending_and_says_so() -> Result<()> {
    with_each_host(async |host| {
        for (by_client, reason) in GOODBYES {
            let (client, server) = host.pair_in_memory().await?;
            let (near, far) = if by_client { (client, server) } else { (server, client) };
            let flooding = async {
                while (&far).write_all(&[0; 64 << 10]).await.is_ok() {}
                far.closed().await.err().context("it was reset")
            };
            let (closed, error) = tokio::join!(near.close(), flooding);
            let mine = closed.err().context("the peer goes on")?;
            ensure!(mine.kind() == ErrorKind::Aborted, "{mine:?}");
            ensure!(mine.reason() == Some(reason), "{mine:?}");
            let told = if by_client { told(host, reason) } else { Some(reason) };
            let error = error?;
            ensure!(error.reason() == told, "{error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_dropped_conn_gives_up_when_its_peer_takes_nothing_for_thirty_seconds() -> Result<()> {
    with_each_host(async |host| {
        let (client, server) = host.pair_in_memory().await?;
        // More than the peer's window and this side's queue hold.
        let limit = Duration::from_secs(1);
        ensure!(tokio::time::timeout(limit, (&client).write_all(&[0; 4 << 20])).await.is_err());
        let start = Instant::now();
        drop(client);
        let error = server.closed().await.err().context("it was reset")?;
        ensure!(error.reason() == told(host, Reason::CANCEL), "{error}");
        let waited = start.elapsed().as_secs();
        ensure!((30..=31).contains(&waited), "{waited} s");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reset_tells_its_reason_on_both_sides_every_time() -> Result<()> {
    with_each_host(async |host| {
        let (mut client, mut server) = host.pair_in_memory().await?;
        server.write_all(b"before").await?;
        server.sent().await?;
        client.ping().await?;
        server.reset(Reason::from_code(0xbeef));
        for _ in 0..2 {
            let error = server.write(b"x").await.err().context("it was reset")?;
            ensure!(error.kind() == io::ErrorKind::ConnectionAborted);
            let error = server.read(&mut [0; 1]).await.err().context("it was reset")?;
            ensure!(error.kind() == io::ErrorKind::ConnectionAborted);
        }
        let (got, error) = read_all(&client).await;
        ensure!(got == b"before", "what came before the reset is read first");
        for error in [error, client.read(&mut [0; 1]).await.err(), client.write(b"x").await.err()] {
            let error = error.context("it was reset")?;
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error}");
            let error = ours(&error)?;
            ensure!(error.reason().map(Reason::code) == Some(0xbeef) && error.is_by_peer());
        }
        let error = client.closed().await.err().context("it was reset")?;
        ensure!(error.kind() == ErrorKind::Reset);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reset_with_no_error_before_the_end_is_no_end_of_file() -> Result<()> {
    with_each_host(async |host| {
        let (mut client, server) = host.pair_in_memory().await?;
        server.reset(Reason::NO_ERROR);
        let (_, error) = read_all(&client).await;
        let error = error.context("it was cut")?;
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        let error = client.write(b"x").await.err().context("it was cut")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_panic_resets_and_a_drop_resets_when_it_is_told_to() -> Result<()> {
    with_each_host(async |host| {
        let (client, server) = host.pair_in_memory().await?;
        let task = tokio::spawn(async move {
            let _held = client;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        ensure!(task.await.is_err_and(|error| error.is_panic()));
        let (_, error) = read_all(&server).await;
        ensure!(ours(&error.context("reset")?)?.reason() == Some(Reason::INTERNAL_ERROR));

        let (client, server) = host.pair_in_memory().await?;
        client.on_drop(OnDrop::Reset);
        drop(client);
        let (_, error) = read_all(&server).await;
        ensure!(ours(&error.context("reset")?)?.reason() == Some(Reason::CANCEL));

        let (mut client, server) = host.pair_in_memory().await?;
        client.on_drop(OnDrop::Reset);
        client.shutdown().await?;
        drop(client);
        ensure!(read_all(&server).await.1.is_none(), "it was shut down first");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dropped_write_half_is_a_shutdown_and_a_dropped_read_half_stalls_nobody() -> Result<()> {
    with_each_host(async |host| {
        let (client, server) = host.pair_in_memory().await?;
        let (read, mut write) = client.into_split();
        drop(read);
        // Ten windows of bytes that are never read.
        for _ in 0..160 {
            (&server).write_all(&[1; 64 << 10]).await?;
        }
        server.sent().await?;
        write.write_all(b"still here").await?;
        drop(write);
        ensure!(read_all(&server).await.0 == b"still here");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn halves_of_one_conn_come_together_again_and_others_do_not() -> Result<()> {
    checked(30, async {
        let mut links = Pair::new().await?;
        let (one, mut peer) = links.open().await?;
        let (other, _other_peer) = links.open().await?;
        let (read, write) = one.into_split();
        let (other_read, other_write) = other.into_split();
        let error = Conn::reunite(read, other_write).err().context("they are strangers")?;
        let (read, _) = (error.0, error.1);
        ensure!(other_read.reunite(write).map_err(|error| (error.0, error.1)).map_or_else(
            |(_, write)| Conn::reunite(read, write).is_ok_and(|mut conn| {
                tokio::spawn(async move { conn.write_all(b"whole").await });
                true
            }),
            |_| false
        ));
        peer.read_exact(&mut [0; 5]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn dropping_any_future_midway_loses_nothing() -> Result<()> {
    with_each_host(async |host| {
        let (client, server) = host.pair_in_memory().await?;
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            let mut buffer = vec![0; 50_000];
            loop {
                // The read is cancelled at once if nothing is there.
                match tokio::time::timeout(Duration::ZERO, (&server).read(&mut buffer)).await {
                    Ok(read) => match read? {
                        0 => return io::Result::Ok(got),
                        n => got.extend_from_slice(&buffer[..n]),
                    },
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let mut sent = Vec::new();
        for round in 0..3_000_u32 {
            let message = vec![round as u8; (round as usize * 37) % 3_000];
            if round % 3 == 0 {
                let chunk = bytes::Bytes::from(message.clone());
                while tokio::time::timeout(Duration::ZERO, client.write_chunk(chunk.clone()))
                    .await
                    .is_err()
                {}
                sent.extend(message);
            } else {
                let now = Duration::ZERO;
                if let Ok(n) = tokio::time::timeout(now, (&client).write(&message)).await {
                    sent.extend_from_slice(&message[..n?]);
                }
            }
            if round % 500 == 0 {
                let _ = tokio::time::timeout(Duration::ZERO, client.sent()).await;
                let _ = tokio::time::timeout(Duration::ZERO, (&client).flush()).await;
            }
        }
        while tokio::time::timeout(Duration::ZERO, (&client).shutdown()).await.is_err() {}
        ensure!(reader.await?? == sent);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn sent_and_shutdown_wait_for_the_transport_and_not_for_the_peer() -> Result<()> {
    checked(30, async {
        let (client_io, mut server_io) = duplex(1024);
        let client = Client::builder().build_over(client_io).await?;
        let mut conn = client.open("http://raw/").await?;
        conn.write_all(&[7; 30_000]).await?;
        conn.flush().await?;
        let early = tokio::time::timeout(Duration::from_millis(100), conn.sent()).await;
        ensure!(early.is_err(), "the transport has room for 1 KiB only");
        let drained = tokio::spawn(async move {
            let mut all: Vec<u8> = Vec::new();
            let mut raw = Raw::server(&mut server_io).await?;
            while let Some(frame) = raw.next().await? {
                if frame.kind == DATA {
                    all.extend(&frame.payload);
                }
                if frame.is_end() {
                    break;
                }
            }
            io::Result::Ok(all)
        });
        conn.sent().await?;
        conn.shutdown().await?;
        ensure!(drained.await??.len() == 30_000);
        Ok(())
    })
    .await
}

#[test]
fn a_runtime_that_ends_fails_its_conns_at_once() -> Result<()> {
    let (ours, theirs) = (tokio::runtime::Runtime::new()?, tokio::runtime::Runtime::new()?);
    let mut listener = ours.block_on(Listener::builder().bind("127.0.0.1:0"))?;
    let url = format!("http://{}/", listener.local_addr());
    let mut client = theirs.block_on(async { Client::new()?.open(&url).await })?;
    let server = ours.block_on(listener.accept()).context("a request")?.accept()?;
    theirs.shutdown_background();
    ours.block_on(within(30, async {
        let error = loop {
            match client.write(b"x").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        ensure!(error.kind() == io::ErrorKind::ConnectionAborted, "{error}");
        ensure!(client.closed().await.is_err());
        let (_, error) = read_all(&server).await;
        let error = error.context("the other end sees no clean end")?;
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        Ok(())
    }))
}

#[tokio::test]
async fn a_client_that_closes_during_a_drain_ends_well() -> Result<()> {
    checked(30, async {
        for _ in 0..20 {
            let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
            let url = format!("http://{}/", listener.local_addr());
            let client = Client::new()?;
            let conn = client.open(&url).await?;
            let server = listener.accept().await.context("a request")?.accept()?;
            let echo = tokio::spawn(async move {
                let (mut read, mut write) = server.into_split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
            (&conn).write_all(b"hello").await?;
            (&conn).read_exact(&mut [0; 5]).await?;
            let draining = tokio::spawn(listener.drain(Duration::from_secs(20)));
            conn.draining().await;
            conn.close().await?;
            echo.await??;
            ensure!(draining.await?, "all ended by themselves");
        }
        Ok(())
    })
    .await
}
