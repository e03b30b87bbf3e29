//! Between two ends of this library a WebSocket has the ends of an HTTP/2 stream.

use std::future::ready;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{Flow, Line, Network};
use h2conn::{Acceptor, Client, ClientBuilder, Conn, ErrorKind, OnDrop, Reach, Reason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::{HOSTS, by_websocket, next, pair};
use crate::support::faults::{Fault, Faults};
use crate::support::framework::{Host, hyper_over_memory, hyper_server, stock};
use crate::support::{GRACE, Over, Site, TestResult, check_echo, noise, ours, run};

/// Both ends of a connection in memory, over this network, for tests in which the clock stands: they take no time.
async fn in_memory(network: &Network, builder: ClientBuilder) -> TestResult<(Conn, Conn)> {
    let (_, client, server) = client_in_memory(network, builder).await?;
    Ok((client, server))
}

async fn client_in_memory(
    network: &Network,
    builder: ClientBuilder,
) -> TestResult<(Client, Conn, Conn)> {
    let (server_end, mut conns) = hyper_over_memory(64 << 10, stock(), Acceptor::default());
    let (client_end, near) = duplex(64 << 10);
    network.join(near, server_end);
    let transport = Mutex::new(Some(client_end));
    let client = builder
        .reach(Reach::WebSocket)
        .connector(move |_| {
            let transport = transport.lock().expect("nothing panics with it").take();
            ready(transport.ok_or_else(|| std::io::Error::other("there is only one")))
        })
        .build()?;
    let (conn, _) = client.connect("http://memory/").await?;
    Ok((client, conn, conns.recv().await.context("the server has ended")?))
}

#[test]
fn a_connection_echoes_and_tells_its_transport() -> TestResult {
    run(async {
        for host in HOSTS {
            for over in Over::BOTH {
                let site = host.echo(over).await?;
                let client = by_websocket(&site).build()?;
                let (conn, response) = client.connect(site.url("/a/x?y=1")).await?;
                ensure!(response.status() == 101, "{}", response.status());
                ensure!(*conn.transport() == Transport::WebSocketHttp1);
                ensure!(conn.peer_addr().socket_addr() == Some(site.addr), "{}", conn.peer_addr());
                ensure!(conn.peer_certificates().is_empty() == (over == Over::Cleartext));
                let stats = client.stats();
                ensure!(stats.websockets == 1 && stats.origins.is_empty(), "{stats:?}");
                check_echo(conn, &noise(5 << 20, 7)).await?;
                client.close().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn each_side_ends_by_itself_and_the_other_goes_on() -> TestResult {
    run(async {
        for host in HOSTS {
            for swapped in [false, true] {
                let (client, server) = pair(host, Over::Cleartext).await?;
                let (mut first, mut second) =
                    if swapped { (server, client) } else { (client, server) };
                first.write_all(b"a question").await?;
                first.shutdown().await?;
                let mut heard = Vec::new();
                second.read_to_end(&mut heard).await?;
                ensure!(heard == b"a question");
                let said = noise(3 << 20, 3);
                let (written, read) = tokio::join!(
                    async {
                        second.write_all(&said).await?;
                        second.close().await?;
                        TestResult::Ok(())
                    },
                    async {
                        let mut heard = Vec::new();
                        first.read_to_end(&mut heard).await?;
                        TestResult::Ok(heard)
                    }
                );
                written?;
                ensure!(read? == said);
                first.close().await?;
                first.closed().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn resets_keep_their_reason_after_the_bytes_before_them() -> TestResult {
    run(async {
        for code in [0, 2, 8, 1000, u32::MAX] {
            for swapped in [false, true] {
                let (client, server) = pair(Host::Hyper, Over::Cleartext).await?;
                let (mut first, mut second) =
                    if swapped { (server, client) } else { (client, server) };
                first.write_all(b"half of it").await?;
                first.sent().await?;
                first.reset(Reason::from_code(code));
                let mut heard = Vec::new();
                let error = second.read_to_end(&mut heard).await.expect_err("it was reset");
                ensure!(heard == b"half of it");
                let kind = if code == 0 { UnexpectedEof } else { ConnectionReset };
                ensure!(error.kind() == kind, "{code}: {error}");
                ensure!(ours(&error).reason() == Some(Reason::from_code(code)), "{error:?}");
                ensure!(ours(&error).is_by_peer());
                let error = second.write(b"too late").await.expect_err("it was reset");
                let kind = if code == 0 { BrokenPipe } else { ConnectionReset };
                ensure!(error.kind() == kind, "{code}: {error}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_end_and_then_a_reset_is_no_good_end() -> TestResult {
    run(async {
        for swapped in [false, true] {
            let (client, server) = pair(Host::Served, Over::Cleartext).await?;
            let (mut first, mut second) = if swapped { (server, client) } else { (client, server) };
            first.shutdown().await?;
            ensure!(second.read(&mut [0]).await? == 0);
            first.reset(Reason::INTERNAL_ERROR);
            let error = second.closed().await.expect_err("it was reset");
            ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
            ensure!(second.close().await.is_err());
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn close_is_ok_only_when_the_other_end_has_received_everything() -> TestResult {
    let network = Network::new();
    let (mut client, _server) = in_memory(&network, Client::builder()).await?;
    network.set_up(Flow::Swallowed);
    client.write_all(b"nobody gets this").await?;
    client.shutdown().await?;
    let error = client.close().await.expect_err("it is lost");
    ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
    ensure!(error.to_string().contains("has not taken everything"), "{error}");
    Ok(())
}

#[test]
fn nothing_that_was_written_before_a_drop_is_lost_on_a_slow_line() -> TestResult {
    run(async {
        let network = Network::new();
        network.set(Line::new().bytes_per_second(200_000).depth(16 << 10));
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let through = network.relay(site.addr).await?;
        let near = Site::cleartext(through);
        let client = by_websocket(&near).build()?;
        let (mut conn, _) = client.connect(near.url("/")).await?;
        let mut server = conns.recv().await.context("the server has ended")?;
        let said = noise(300_000, 9);
        conn.write_all(&said).await?;
        drop(conn);
        let reading = async {
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await?;
            server.close().await?;
            TestResult::Ok(heard)
        };
        let (heard, closed) = tokio::join!(reading, client.close());
        closed?;
        ensure!(heard? == said);
        Ok(())
    })
}

#[test]
fn a_loss_that_nobody_saw_is_told_by_the_close_of_the_client() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let relay = Faults::before(site.addr, Duration::from_secs(60), 1).await?;
        let near = Site::cleartext(relay.addr);
        let client = by_websocket(&near).build()?;
        let (mut conn, _) = client.connect(near.url("/")).await?;
        let _server = conns.recv().await.context("the server has ended")?;
        relay.happen(Fault::HalfOpenUp, Duration::ZERO).await;
        conn.write_all(b"nobody gets this").await?;
        drop(conn);
        relay.happen(Fault::Reset, Duration::ZERO).await;
        let error = client.close().await.expect_err("the bytes are lost");
        ensure!(error.kind() == ErrorKind::Closed, "{error:?}");
        ensure!(client.connect(near.url("/")).await.is_err(), "it is closed");
        Ok(())
    })
}

#[test]
fn a_client_that_is_closed_resets_what_is_still_in_use_after_its_time() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let client = by_websocket(&site).linger_timeout(Duration::from_millis(100)).build()?;
        let (conn, _) = client.connect(site.url("/")).await?;
        let mut server = conns.recv().await.context("the server has ended")?;
        let error = client.close().await.expect_err("one is in use");
        ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
        ensure!(conn.closed().await.is_err());

        let client = by_websocket(&site).build()?;
        let (_conn, _) = client.connect(site.url("/")).await?;
        let error =
            client.close_within(Duration::from_millis(100)).await.expect_err("one is in use");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().contains("1 were still open"), "{error}");
        Ok(())
    })
}

#[test]
fn a_server_that_drains_tells_its_clients() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().linger_timeout(GRACE).build()?;
        let (sender, mut conns) = tokio::sync::mpsc::unbounded_channel();
        let site = hyper_server(Over::Cleartext, acceptor.clone(), move |conn| {
            let _ = sender.send(conn);
            std::future::ready(Ok(()))
        })
        .await?;
        let (client, mut server) = next(by_websocket(&site), &site, &mut conns).await?;
        let drain = tokio::spawn(async move { acceptor.drain(Duration::from_secs(60)).await });
        tokio::join!(client.draining(), server.draining());
        // Both sides finish their work.
        let (mut reader, mut writer) = client.into_split();
        writer.write_all(b"the last").await?;
        writer.shutdown().await?;
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last");
        server.shutdown().await?;
        ensure!(reader.read(&mut [0]).await? == 0);
        ensure!(drain.await?, "it has not ended by itself");
        Ok(())
    })
}

#[test]
fn a_drop_that_resets_is_no_end() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let builder = by_websocket(&site).on_drop(OnDrop::Reset);
        let (client, mut server) = next(builder, &site, &mut conns).await?;
        drop(client);
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
        Ok(())
    })
}

#[test]
fn pings_measure_the_round_trip_in_both_directions() -> TestResult {
    run(async {
        let (client, server) = pair(Host::Hyper, Over::Cleartext).await?;
        for _ in 0..3 {
            let (there, back) = tokio::join!(client.ping(), server.ping());
            ensure!(there? > Duration::ZERO && back? > Duration::ZERO);
        }
        let (one, two) = tokio::join!(client.ping(), client.ping());
        ensure!(one.is_ok() && two.is_ok());
        let (one, two) = tokio::join!(client.close(), server.close());
        one?;
        two?;
        for conn in [client, server] {
            ensure!(conn.ping().await.is_err(), "nobody answers any more");
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_vanished_is_noticed_by_both_ends_and_one_that_only_listens_is_not()
-> TestResult {
    for swapped in [false, true] {
        let network = Network::new();
        let (client, server) = in_memory(&network, Client::builder()).await?;
        let (mut first, _second) = if swapped { (server, client) } else { (client, server) };
        // It lives for as long as it answers the pings of keep-alive.
        let mut byte = [0];
        let hour = tokio::time::timeout(Duration::from_secs(3600), first.read(&mut byte));
        ensure!(hour.await.is_err(), "it has ended");
        network.set(Flow::Swallowed);
        let since = Instant::now();
        let error = first.read(&mut [0]).await.expect_err("it has vanished");
        ensure!(error.kind() == TimedOut && error.to_string().contains("vanished"), "{error}");
        ensure!((15..=45).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    }
    Ok(())
}

/// A reader that pauses for minutes holds up its writer, and is not taken for dead.
#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_is_waited_for() -> TestResult {
    for swapped in [false, true] {
        let network = Network::new();
        let (client, server) = in_memory(&network, Client::builder()).await?;
        let (mut first, mut second) = if swapped { (server, client) } else { (client, server) };
        let said = noise(4 << 20, 4);
        let bytes = said.clone();
        let writing = tokio::spawn(async move {
            first.write_all(&bytes).await?;
            first.shutdown().await?;
            TestResult::Ok(first)
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        ensure!(!writing.is_finished(), "{:?}", writing.await);
        let mut heard = Vec::new();
        second.read_to_end(&mut heard).await?;
        ensure!(heard == said);
        let first = writing.await??;
        let (one, two) = tokio::join!(first.close(), second.close());
        one?;
        two?;
    }
    Ok(())
}

#[test]
fn the_timeouts_of_a_client_hold() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let builder = by_websocket(&site).idle_timeout(Duration::from_millis(100));
        let (mut client, mut server) = next(builder, &site, &mut conns).await?;
        let error = client.read(&mut [0]).await.expect_err("nothing moves");
        ensure!(error.kind() == TimedOut && error.to_string().contains("idle_timeout"), "{error}");
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");

        let builder = by_websocket(&site).stall_timeout(Duration::from_millis(200));
        let (mut client, _server) = next(builder, &site, &mut conns).await?;
        let much = vec![0; 64 << 20];
        let error = client.write_all(&much).await.expect_err("nobody reads");
        ensure!(error.kind() == TimedOut && error.to_string().contains("stall_timeout"), "{error}");
        Ok(())
    })
}

#[test]
fn a_request_without_content_is_only_read() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Served.listen(Over::Cleartext).await?;
        let client = by_websocket(&site).build()?;
        let asking = client.request(site.url("/")).without_content().connect();
        let (mut conn, _) = asking.await?;
        let mut server = conns.recv().await.context("the server has ended")?;
        ensure!(server.read(&mut [0]).await? == 0);
        ensure!(conn.write(b"x").await.is_err());
        server.write_all(b"an answer").await?;
        server.close().await?;
        let mut heard = String::new();
        conn.read_to_string(&mut heard).await?;
        ensure!(heard == "an answer");
        Ok(())
    })
}

#[test]
fn what_is_not_read_holds_up_its_writer() -> TestResult {
    run(async {
        let (mut client, server) = pair(Host::Hyper, Over::Cleartext).await?;
        let piece = vec![7; 64 << 10];
        let mut written: usize = 0;
        // Kernels hold some megabytes.
        while tokio::time::timeout(Duration::from_secs(1), client.write_all(&piece)).await.is_ok() {
            written += piece.len();
            ensure!(written < 64 << 20, "nothing holds it up");
        }
        let stats = server.stats();
        ensure!(stats.receive_queued < 1 << 20, "{stats:?}");
        Ok(())
    })
}

#[test]
fn a_peer_that_goes_on_sending_is_reset_after_its_limit() -> TestResult {
    run(async {
        for swapped in [false, true] {
            let (client, server) = pair(Host::Hyper, Over::Cleartext).await?;
            let (first, mut second) = if swapped { (server, client) } else { (client, server) };
            let closing = tokio::spawn(async move { first.close().await });
            let piece = vec![7; 64 << 10];
            let error = loop {
                if let Err(error) = second.write_all(&piece).await {
                    break error;
                }
            };
            // A server has said everything, and a client gives up.
            let reason = if swapped { Reason::NO_ERROR } else { Reason::CANCEL };
            ensure!(ours(&error).reason() == Some(reason), "{error:?}");
            let error = closing.await?.expect_err("the peer has not ended its side");
            ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
            ensure!(error.to_string().contains("has acknowledged everything"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn what_has_come_before_a_timeout_can_be_read() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let builder = by_websocket(&site).idle_timeout(Duration::from_millis(100));
        let (mut client, mut server) = next(builder, &site, &mut conns).await?;
        server.write_all(b"before").await?;
        client.closed().await.expect_err("nothing moves");
        let mut heard = Vec::new();
        let error = client.read_to_end(&mut heard).await.expect_err("nothing moves");
        ensure!(heard == b"before" && error.kind() == TimedOut, "{error}");
        Ok(())
    })
}

#[test]
fn a_connection_that_is_being_made_when_its_client_is_closed_fails() -> TestResult {
    run(async {
        let (site, _conns) = Host::Hyper.listen(Over::Cleartext).await?;
        for _ in 0..20 {
            let client = by_websocket(&site).build()?;
            let connecting = client.connect(site.url("/"));
            let (connected, closed) = tokio::join!(connecting, async {
                tokio::task::yield_now().await;
                client.close().await
            });
            match connected {
                // It was there before, and was waited for.
                Ok((conn, _)) => ensure!(closed.is_err() && conn.closed().await.is_err()),
                Err(error) => ensure!(error.kind() == ErrorKind::Aborted, "{error:?}"),
            }
        }
        Ok(())
    })
}

/// The clock stands, so this takes no time. The line takes longer than all limits of silence.
#[tokio::test(start_paused = true)]
async fn a_slow_line_is_no_silence_and_a_close_takes_as_long_as_it_does() -> TestResult {
    let network = Network::new();
    // 4 KiB a second: the bytes take two minutes, most of which they lie in a buffer on the way.
    network.set(Line::new().bytes_per_second(4 << 10).depth(1 << 20));
    for swapped in [false, true] {
        let (client, server) = in_memory(&network, Client::builder()).await?;
        let (mut first, mut second) = if swapped { (server, client) } else { (client, server) };
        let said = noise(512 << 10, 4);
        first.write_all(&said).await?;
        let closing = tokio::spawn(async move { first.close().await });
        let mut heard = Vec::new();
        second.read_to_end(&mut heard).await?;
        ensure!(heard == said);
        second.close().await?;
        closing.await??;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_server_that_does_not_read_never_got_is_told_by_the_close_of_the_client()
-> TestResult {
    let network = Network::new();
    let (client, mut conn, _server) = client_in_memory(&network, Client::builder()).await?;
    let much = vec![7; 64 << 10];
    // Until nothing is taken any more.
    while tokio::time::timeout(Duration::from_secs(5), conn.write_all(&much)).await.is_ok() {}
    drop(conn);
    let error = client.close().await.expect_err("most of it is lost");
    ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
    ensure!(error.to_string().contains("took nothing for 30 s"), "{error}");
    Ok(())
}

#[test]
fn a_failure_that_its_user_has_seen_is_not_told_again() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let client = by_websocket(&site).build()?;
        for _ in 0..20 {
            let (mut conn, _) = client.connect(site.url("/")).await?;
            let server = conns.recv().await.context("the server has ended")?;
            conn.write_all(b"something").await?;
            server.reset(Reason::CANCEL);
            conn.read(&mut [0]).await.expect_err("it was reset");
        }
        client.close().await?;
        Ok(())
    })
}

/// It sends all the time, so that its bytes are no sign that it receives.
#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_never_reads_is_given_up() -> TestResult {
    for swapped in [false, true] {
        let network = Network::new();
        let (client, server) = in_memory(&network, Client::builder()).await?;
        let (mut first, mut second) = if swapped { (server, client) } else { (client, server) };
        let streaming = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if let Err(error) = second.write_all(&[7; 100]).await {
                    break error;
                }
            }
        });
        // More than it takes unread, and less than the way there holds besides.
        let size = if swapped { (1 << 20) + 1000 } else { (256 << 10) + 1000 };
        first.write_all(&vec![1; size]).await?;
        first.sent().await?;
        let since = Instant::now();
        let error = first.close().await.expect_err("it has not taken everything");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(since.elapsed() < Duration::from_secs(90), "{:?}", since.elapsed());
        // It has not read so far as the reset.
        let error = streaming.await?;
        ensure!(error.kind() == BrokenPipe, "{error:?}");
    }
    Ok(())
}
