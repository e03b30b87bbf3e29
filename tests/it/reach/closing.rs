//! The close of a client that has WebSockets: what it waits for, what it resets, and which losses it tells.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::http::Version;
use h2conn::testing::{Line, Network};
use h2conn::{Client, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{by_websocket, client_by, client_in_memory};
use crate::support::faults::{Fault, Faults};
use crate::support::framework::Host;
use crate::support::{Over, Site, TestResult, noise, ours, run};

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
fn a_client_that_is_closed_resets_what_is_still_in_use_and_counts_each_once() -> TestResult {
    run(async {
        for (host, version) in [(Host::Hyper, Version::HTTP_11), (Host::Listener, Version::HTTP_2)]
        {
            let (site, mut conns) = host.listen(Over::Cleartext).await?;
            let builder = site.client_builder().linger_timeout(Duration::from_millis(100));
            let client = client_by(version, &site, builder).await?;
            let (conn, _) = client.connect(site.url("/")).await?;
            let mut server = conns.recv().await.context("the server has ended")?;
            let error = client.close().await.expect_err("one is in use");
            ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
            let error = server.read(&mut [0]).await.expect_err("it was reset");
            ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
            ensure!(conn.closed().await.is_err());

            let client = client_by(version, &site, site.client_builder()).await?;
            let (_conn, _) = client.connect(site.url("/")).await?;
            let error =
                client.close_within(Duration::from_millis(100)).await.expect_err("one is in use");
            ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains("1 were still open"), "{error}");
        }
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
