//! Resources that are freed while the rest lives on. Every test is checked for leaks at its end;
//! these tests check earlier.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::Client;
use h2conn::testing::alive;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::support::raw::{self, DATA, END_STREAM, HEADERS, PING, REQUEST, RST_STREAM, Raw};
use crate::support::{Over, TestResult, accept, listen, run, successor};

/// Waits until this many streams are alive. Only the watchdog limits the wait.
async fn streams_alive(streams: usize) {
    while alive().streams != streams {
        yield_now().await;
    }
}

#[test]
fn a_request_that_was_reset_before_anybody_accepted_it_leaves_nothing() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
        for (turn, with_data) in [(0, false), (1, true)] {
            let stream = 2 * turn + 1;
            raw.send(HEADERS, raw::END_HEADERS, stream, REQUEST).await?;
            if with_data {
                raw.send(DATA, 0, stream, b"unread").await?;
            }
            raw.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await?;
            raw.send(PING, 0, 0, b"have you").await?;
            raw.wait_for(PING, 0).await?;
            if alive().streams == 0 {
                // All frames arrived at once, so the request is never offered.
                continue;
            }
            let incoming = listener.accept().await.context("the request")?;
            ensure!(alive().streams == 1, "{}", alive());
            // The server sees this at once, or learns it by reading: the client has cancelled the
            // request.
            if let Ok(conn) = incoming.accept() {
                ensure!(conn.closed().await.is_err());
            }
            streams_alive(0).await;
        }
        ensure!(alive().links == 1, "the link goes on: {}", alive());
        // A request that arrived complete can be read, and then it is gone.
        raw.send(HEADERS, raw::END_HEADERS, 5, REQUEST).await?;
        raw.send(DATA, END_STREAM, 5, b"read").await?;
        let mut conn = accept(&mut listener).await?;
        raw.send(RST_STREAM, 0, 5, &8_u32.to_be_bytes()).await?;
        let mut got = String::new();
        conn.read_to_string(&mut got).await?;
        ensure!(got == "read");
        drop(conn);
        streams_alive(0).await;
        Ok(())
    })
}

#[test]
fn a_listener_keeps_nothing_of_links_and_conns_that_have_ended() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (mut listener, site) = listen(over).await?;
            for _ in 0..20 {
                let (client, server) = tokio::join!(site.connect(), accept(&mut listener));
                let (client, server) = (client?, server?);
                let (one, other) = tokio::join!(client.close(), server.close());
                one?;
                other?;
            }
            h2conn::testing::none_alive().await;
        }
        Ok(())
    })
}

#[test]
fn closing_a_client_waits_also_for_what_its_former_links_have_to_send() -> TestResult {
    run(async {
        const BYTES: usize = (1 << 20) + (100 << 10);
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client: Client = site.client()?;
        let url = site.url("/");
        let (old, server) = tokio::join!(client.connect(&url), accept(&mut listener));
        let (mut old, mut server) = (old?.0, server?);
        // More than the window: the rest waits in this side's queue until the server reads.
        old.write_all(&vec![7; BYTES]).await?;
        let draining = tokio::spawn(listener.drain(Duration::from_secs(20)));
        old.draining().await;
        drop(old);

        let mut listener = successor(site.addr).await?;
        let (new, accepted) = tokio::join!(client.connect(&url), accept(&mut listener));
        let (new, accepted) = (new?.0, accepted?);
        let (one, other) = tokio::join!(new.close(), accepted.close());
        one?;
        other?;

        let closing = client.close();
        tokio::pin!(closing);
        let early = timeout(Duration::from_millis(200), &mut closing).await;
        ensure!(early.is_err(), "closed before everything was sent");
        let reading = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await?;
            drop(server);
            anyhow::Ok(got)
        };
        let (got, closed) = tokio::join!(reading, closing);
        let got = got?;
        closed?;
        ensure!(got == vec![7; BYTES], "{} bytes of {BYTES}", got.len());
        ensure!(draining.await?, "nothing was left at the deadline");
        Ok(())
    })
}
