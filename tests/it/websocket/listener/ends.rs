//! The end of a listener, and of its WebSockets.

use std::io::ErrorKind::ConnectionReset;
use std::time::Duration;

use anyhow::ensure;
use futures_util::StreamExt;
use h2conn::http::{StatusCode, Version, header};
use h2conn::{ListenerBuilder, Reach, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::super::{check_echo, read_to_close};
use super::{asked, builder, until};
use crate::support::websocket::{BOTH, Socket, open, request, send};
use crate::support::{Over, TestResult, accept, echo, listen_with, noise, run};

#[test]
fn a_drain_waits_for_websockets_and_refuses_those_that_wait() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let client = site.client_builder().reach(Reach::WebSocket).build()?;
        let ours = tokio::spawn({
            let (client, url) = (client.clone(), site.url("/"));
            async move { client.connect(url).await }
        });
        let server = accept(&mut listener).await?;
        let (ours, _) = ours.await??;
        let (theirs, incoming) = asked(&mut listener, &site, Version::HTTP_11, "/").await?;
        let (other, mut theirs) = (incoming.accept()?, theirs.await??);
        let waiting = site.clone();
        let waiting = tokio::spawn(async move { open(&waiting, Version::HTTP_11, "/").await });
        until(&listener, |stats| stats.conns == 3).await;
        let handle = listener.handle();
        let drain = tokio::spawn(listener.drain(Duration::from_secs(600)));
        tokio::join!(ours.draining(), server.draining(), other.draining());
        let error = waiting.await?.expect_err("nobody takes it").to_string();
        ensure!(error.starts_with("503 "), "{error}");
        // Both sides still have something to say.
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"the last").await?;
        writer.shutdown().await?;
        let mut heard = Vec::new();
        let mut server = server;
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last" && !drain.is_finished());
        server.close().await?;
        ensure!(reader.read(&mut [0]).await? == 0);
        ensure!(handle.stats().conns == 1 && !drain.is_finished(), "{:?}", handle.stats());
        drop(other);
        let end = read_to_close(&mut theirs, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 1001, "{end:?}");
        drop(theirs);
        ensure!(drain.await?, "all have ended by themselves");
        Ok(())
    })
}

#[test]
fn a_drain_whose_time_is_up_resets_websockets_and_they_are_told() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let client = site.client_builder().reach(Reach::WebSocket).build()?;
        let (connected, server) =
            tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let ((mut ours, _), mut server) = (connected?, server?);
        let (theirs, incoming) = asked(&mut listener, &site, Version::HTTP_11, "/").await?;
        let (_other, mut theirs) = (incoming.accept()?, theirs.await??);
        ensure!(!listener.drain(Duration::ZERO).await, "two were left");
        let error = ours.read(&mut [0]).await.expect_err("it was reset");
        ensure!(error.kind() == ConnectionReset, "{error}");
        ensure!(crate::support::ours(&error).reason() == Some(Reason::CANCEL), "{error:?}");
        let end = read_to_close(&mut theirs, &mut Vec::new()).await?;
        ensure!(u16::from(end.code) == 4008, "{end:?}");
        ensure!(server.closed().await.is_err());
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(error.to_string().contains("its time is up"), "{error}");
        Ok(())
    })
}

#[test]
fn a_drain_tells_that_a_dropped_websocket_has_lost_bytes() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let (client, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (mut server, client) = (incoming.accept()?, client.await??);
            // More than the system takes.
            let much = noise(64 << 20, 1);
            let written = server.write_all(&much);
            // The client takes nothing, and then goes.
            ensure!(tokio::time::timeout(Duration::from_millis(100), written).await.is_err());
            drop(server);
            drop(client);
            ensure!(!listener.drain(Duration::from_secs(600)).await, "bytes were lost");
        }
        Ok(())
    })
}

/// A client that leaves without a close frame has not said that it has everything, however little it was.
#[test]
fn a_drain_does_not_take_what_the_system_has_for_delivered() -> TestResult {
    run(async {
        for by in BOTH {
            for (bytes, is_closed, all_well) in
                [(10, false, false), (10, true, true), (0, false, true), (0, true, true)]
            {
                // Over HTTP/2 the link may be lost before or after its peer has acknowledged the stream's end.
                if (by, bytes, is_closed) == (Version::HTTP_2, 0, false) {
                    continue;
                }
                let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
                let (client, incoming) = asked(&mut listener, &site, by, "/").await?;
                let (mut server, mut client) = (incoming.accept()?, client.await??);
                server.write_all(&noise(bytes, 1)).await?;
                drop(server);
                let end = read_to_close(&mut client, &mut Vec::new()).await?;
                ensure!(u16::from(end.code) == 1000, "{end:?}");
                if is_closed {
                    // The answer to the close frame leaves.
                    while client.next().await.is_some() {}
                }
                drop(client);
                let seen = listener.drain(Duration::from_secs(600)).await;
                ensure!(seen == all_well, "{by:?}, {bytes} bytes, closed: {is_closed}");
            }
        }
        Ok(())
    })
}

/// The end of the client that gets 10 bytes and a close frame, from a program that has let it go.
async fn drained_with(
    builder: ListenerBuilder,
    by: Version,
    end: impl AsyncFnOnce(&mut Socket) -> TestResult,
) -> TestResult<bool> {
    let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
    let (client, incoming) = asked(&mut listener, &site, by, "/").await?;
    let (mut server, mut client) = (incoming.accept()?, client.await??);
    server.write_all(&noise(10, 1)).await?;
    drop(server);
    end(&mut client).await?;
    Ok(listener.drain(Duration::from_secs(600)).await)
}

#[test]
fn an_answer_to_the_close_frame_that_comes_late_still_counts() -> TestResult {
    run(async {
        for by in BOTH {
            let idle = builder().idle_timeout(Duration::from_millis(100));
            let is_well = drained_with(idle, by, async |client| {
                tokio::time::sleep(Duration::from_millis(400)).await;
                while client.next().await.is_some() {}
                Ok(())
            });
            ensure!(is_well.await?, "the client has everything");
        }
        Ok(())
    })
}

#[test]
fn a_close_frame_with_an_error_is_no_confirmation() -> TestResult {
    run(async {
        for by in BOTH {
            let is_well = drained_with(builder(), by, async |client| {
                let frame = CloseFrame { code: CloseCode::Size, reason: "too big".into() };
                client.close(Some(frame)).await?;
                while client.next().await.is_some() {}
                Ok(())
            });
            ensure!(!is_well.await?, "the client says that it has not taken them");
        }
        Ok(())
    })
}

#[test]
fn a_page_that_closes_before_the_last_bytes_is_a_loss() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let (client, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (mut server, mut client) = (incoming.accept()?, client.await??);
            let much = noise(64 << 20, 1);
            let written = server.write_all(&much);
            ensure!(tokio::time::timeout(Duration::from_millis(100), written).await.is_err());
            drop(server);
            client.close(None).await?;
            // As long as the client reads nothing, the bytes cannot all leave before the close frame
            // is heard.
            until(&listener, |stats| stats.conns == 0).await;
            // Over HTTP/2 the stream may end in a reset.
            while let Some(Ok(_)) = client.next().await {}
            ensure!(!listener.drain(Duration::from_secs(600)).await, "bytes were lost");
        }
        Ok(())
    })
}

#[test]
fn a_request_that_had_come_can_be_accepted_after_the_shutdown() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
        let asking = tokio::spawn({
            let site = site.clone();
            let wanted = request(&site, Version::HTTP_11, "/")?;
            async move { send(&site, Version::HTTP_11, wanted).await }
        });
        until(&listener, |stats| stats.conns == 1).await;
        listener.handle().shut_down();
        let server = accept(&mut listener).await?;
        let response = asking.await??;
        ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        ensure!(response.headers()[header::CONNECTION] == "upgrade");
        ensure!(response.headers().get_all(header::CONNECTION).iter().count() == 1);
        server.draining().await;
        drop(response);
        ensure!(listener.accept().await.is_none());
        Ok(())
    })
}

#[test]
fn connections_go_on_after_their_listener() -> TestResult {
    run(async {
        for by in BOTH {
            let (mut listener, site) = listen_with(Over::Cleartext, builder()).await?;
            let (client, incoming) = asked(&mut listener, &site, by, "/").await?;
            let (server, client) = (incoming.accept()?, client.await??);
            let (waiting, incoming) = asked(&mut listener, &site, by, "/").await?;
            drop(listener);
            server.draining().await;
            tokio::spawn(echo(server));
            check_echo(client, &noise(100_000, 2)).await?;
            drop(incoming);
            ensure!(waiting.await?.is_err());
        }
        Ok(())
    })
}
