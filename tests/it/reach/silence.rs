//! Slow lines, readers that pause and peers that are gone, over a WebSocket between two ends of this library.

use std::io::ErrorKind::{BrokenPipe, TimedOut};
use std::time::Duration;

use anyhow::ensure;
use h2conn::testing::{Flow, Line, Network};
use h2conn::{Client, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{by_websocket, in_memory, next, pair};
use crate::support::framework::Host;
use crate::support::{Over, TestResult, noise, ours, run};

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
