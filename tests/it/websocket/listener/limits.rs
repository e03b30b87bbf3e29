//! The limits and timeouts of a listener hold for its WebSockets.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::http::Version;
use h2conn::{ErrorKind, Reason};
use tokio::io::{AsyncReadExt, duplex};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{asked, builder, until};
use crate::support::websocket::{self, BOTH, open};
use crate::support::{Over, TestResult, accept, listen_with, noise, ours, run, within};

#[test]
fn max_links_counts_websockets() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder().max_links(2)).await?;
        let (one, incoming) = asked(&mut listener, &site, Version::HTTP_11, "/").await?;
        let first = incoming.accept()?;
        let (two, incoming) = asked(&mut listener, &site, Version::HTTP_11, "/").await?;
        let second = incoming.accept()?;
        let error = open(&site, Version::HTTP_11, "/").await.expect_err("there are two");
        ensure!(error.to_string().contains("max_links is 2"), "{error}");
        drop((one.await??, first));
        until(&listener, |stats| stats.links == 1).await;
        let (three, incoming) = asked(&mut listener, &site, Version::HTTP_11, "/").await?;
        drop((incoming.accept()?, three.await??, two.await??, second));
        Ok(())
    })
}

#[test]
fn unread_bytes_count_and_the_client_that_holds_most_makes_room() -> TestResult {
    const MEMORY: usize = 512 << 10;
    run(async {
        for by in BOTH {
            let (mut listener, site) =
                listen_with(Over::Cleartext, builder().max_memory(MEMORY)).await?;
            let (one, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (mut reader, mut small) = (incoming.accept()?, one.await??);
            small.send(Message::Binary(noise(10_000, 1).into())).await?;
            let (two, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (mut lazy, mut large) = (incoming.accept()?, two.await??);
            let sending = tokio::spawn(async move {
                while large.send(Message::Binary(noise(50_000, 1).into())).await.is_ok() {}
            });
            until(&listener, |stats| stats.unread_bytes > 100_000 || stats.conns == 1).await;
            let error = within(60, lazy.closed()).await.expect_err("it holds too much");
            ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
            ensure!(
                by == Version::HTTP_2 || error.to_string().contains("allow more memory"),
                "{error}"
            );
            let error = lazy.read(&mut [0; 100]).await.expect_err("its bytes are dropped");
            ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
            sending.await?;
            let mut heard = vec![0; 10_000];
            reader.read_exact(&mut heard).await?;
            ensure!(heard == noise(10_000, 1));
            until(&listener, |stats| stats.conns == 1 && stats.unread_bytes == 0).await;
        }
        Ok(())
    })
}

#[test]
fn a_message_that_comes_in_part_counts_also_with_pings_between() -> TestResult {
    const MEMORY: usize = 512 << 10;
    run(async {
        for by in BOTH {
            let (mut listener, site) =
                listen_with(Over::Cleartext, builder().max_memory(MEMORY)).await?;
            let (asking, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (mut server, mut client) = (incoming.accept()?, asking.await??);
            let sending = tokio::spawn(async move {
                let part = |kind| {
                    let bytes = bytes::Bytes::from(noise(10_000, 1));
                    Message::Frame(Frame::message(bytes, OpCode::Data(kind), false))
                };
                let mut result = client.send(part(Data::Binary)).await;
                for _ in 0..100 {
                    if result.is_err() {
                        return;
                    }
                    client.send(Message::Ping(bytes::Bytes::new())).await.ok();
                    result = client.send(part(Data::Continue)).await;
                }
                // It must not go before the listener has seen all.
                while client.next().await.is_some_and(|message| message.is_ok()) {}
            });
            let error = server.read(&mut [0]).await.expect_err("it holds too much");
            ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
            sending.await?;
        }
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn the_listeners_timeouts_hold_for_websockets() -> TestResult {
    for by in BOTH {
        let silent = || builder().keep_alive_interval(Duration::from_secs(20));
        let idle = || builder().idle_timeout(Duration::from_secs(7));
        // Also while the request waits.
        let (near, far) = duplex(64 << 10);
        let mut listener = idle().build_over(far)?;
        let client = tokio::spawn(websocket::open_over(near, by));
        let incoming = listener.accept().await.context("a request")?;
        let error = client.await?.expect_err("nobody answers").to_string();
        // Over HTTP/2 the stream is reset, as every other.
        let told = if by == Version::HTTP_2 { "http2 error" } else { "503 " };
        ensure!(error.starts_with(told), "{error}");
        ensure!(incoming.accept().expect_err("too late").kind() == ErrorKind::TimedOut);
        for (builder, seconds, why) in [(silent(), 35, "vanished"), (idle(), 7, "idle_timeout")] {
            let (near, far) = duplex(64 << 10);
            let mut listener = builder.build_over(far)?;
            let client = tokio::spawn(websocket::open_over(near, by));
            let mut server = accept(&mut listener).await?;
            // It reads nothing, so it answers no ping.
            let _client = client.await??;
            let began = tokio::time::Instant::now();
            let error = server.read(&mut [0]).await.expect_err("nothing comes");
            ensure!(ours(&error).kind() == ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains(why), "{error}");
            ensure!(began.elapsed().as_secs() == seconds, "{:?}", began.elapsed());
        }
    }
    Ok(())
}
