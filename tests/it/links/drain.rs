//! The orderly end of a listener, and the connections that are left at its deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::{ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LONG, arrived, link, round_trip};
use crate::support::raw::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, REQUEST, RST_STREAM, Raw, frame,
};
use crate::support::{
    Over, TestResult, accept, echo, io_kind, listen, noise, ours, run, serve, successor,
};

#[test]
fn drain_sends_clients_to_a_successor_and_waits_for_those_who_stay() -> TestResult {
    run(async {
        for _ in 0..20 {
            let (mut listener, site) = listen(Over::Cleartext).await?;
            let client = site.client()?;
            let (connected, accepted) =
                tokio::join!(client.connect(site.url("/")), accept(&mut listener));
            let (mut old, server) = (connected?.0, accepted?);
            let echoing = tokio::spawn(echo(server));
            let draining = tokio::spawn(listener.drain(LONG));

            serve(successor(site.addr).await?, echo);
            let new = client.connect(site.url("/")).await?.0;
            ensure!(link(&new) != link(&old), "a new link, to the successor");
            round_trip(&new, "new").await?;
            round_trip(&old, "old").await?;
            ensure!(!draining.is_finished(), "the old one is still there");

            old.shutdown().await?;
            ensure!(old.read(&mut [0; 1]).await? == 0);
            ensure!(draining.await?, "all ended by themselves");
            echoing.await??;
            round_trip(&new, "still new").await?;
        }
        Ok(())
    })
}

#[test]
fn drain_waits_for_what_a_dropped_conn_still_has_to_send() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let (connected, accepted) = tokio::join!(site.connect(), accept(&mut listener));
        let (mut conn, mut server) = (connected?, accepted?);
        // More than the windows on the path hold, so that the rest waits for the reader.
        let said = noise(3 << 20, 1);
        let sender = tokio::spawn({
            let said = said.clone();
            async move {
                server.write_all(&said).await?;
                drop(server);
                ensure!(listener.drain(LONG).await, "it ended by itself");
                Ok(())
            }
        });
        let mut heard = Vec::new();
        conn.read_to_end(&mut heard).await?;
        ensure!(heard == said, "{} bytes of {}", heard.len(), said.len());
        drop(conn);
        sender.await?
    })
}

#[test]
fn drain_resets_with_cancel_what_is_left_at_its_deadline() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (mut listener, site) = listen(over).await?;
            let (connected, accepted) = tokio::join!(site.connect(), accept(&mut listener));
            let (mut conn, mut server) = (connected?, accepted?);
            let limit = Duration::from_millis(200);
            let begun = Instant::now();
            ensure!(!listener.drain(limit).await, "not all ended by themselves");
            ensure!(begun.elapsed() >= limit, "not before its time");

            let error = conn.read(&mut [0; 1]).await.expect_err("it was reset");
            ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error:?}");
            ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error:?}");
            let error = conn.write(b"x").await.expect_err("it was reset");
            ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error:?}");
            let error = server.read(&mut [0; 1]).await.expect_err("it was reset");
            ensure!(error.kind() == std::io::ErrorKind::ConnectionAborted, "{error:?}");
        }
        Ok(())
    })
}

/// A client that has received its answer. It either acknowledges the answer and then sends nothing
/// more, or never acknowledges it.
async fn drained_beside_a_client_that(acknowledges: bool) -> TestResult<bool> {
    let (mut listener, site) = listen(Over::Cleartext).await?;
    let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
    raw.io.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, REQUEST)).await?;
    let conn = listener.accept().await.context("a request")?.accept()?;
    if acknowledges {
        let reading = async {
            while raw.next().await?.is_some() {}
            anyhow::Ok(())
        };
        tokio::select! {
            closed = conn.close() => closed?,
            ended = reading => ended?,
        }
    }
    drop(conn);
    Ok(listener.drain(Duration::from_millis(50)).await)
}

#[test]
fn a_drain_whose_time_is_up_says_whether_anything_may_have_been_lost() -> TestResult {
    run(async {
        ensure!(drained_beside_a_client_that(true).await?, "nobody was owed anything");
        ensure!(!drained_beside_a_client_that(false).await?, "the answer was not acknowledged");
        Ok(())
    })
}

/// How far a server's Conn has come when the time of the drain is up.
#[derive(Clone, Copy, Debug)]
enum Answered {
    Partly,
    ThenDropped,
    ThenClosing,
    ThenReading,
}

#[test]
fn a_drain_whose_time_is_up_leaves_complete_answers_to_their_clients() -> TestResult {
    use Answered::{Partly, ThenClosing, ThenDropped, ThenReading};
    let is_last = |frame: &Frame| frame.kind == DATA && frame.flags & END_STREAM != 0;
    run(async {
        for answered in [Partly, ThenDropped, ThenClosing, ThenReading] {
            let (mut listener, site) = listen(Over::Cleartext).await?;
            let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
            raw.send(HEADERS, END_HEADERS, 1, REQUEST).await?;
            let mut conn = accept(&mut listener).await?;
            conn.write_all(b"the answer").await?;
            let server = tokio::spawn(async move {
                match answered {
                    Partly => {}
                    ThenDropped => return Ok(()),
                    ThenClosing => return conn.close().await,
                    ThenReading => conn.shutdown().await.expect("all is sent"),
                }
                let end = conn.read(&mut [0; 1]).await;
                Err(ours(&end.expect_err("the client never ends its side")).clone())
            });
            // The client acknowledges everything, and does not end its side. The drain begins when a
            // complete answer has arrived, so no load of the machine can cut it short.
            let mut frames = Vec::new();
            while !matches!(answered, Partly) && !frames.iter().any(is_last) {
                frames.push(raw.next().await?.context("the end of the answer")?);
            }
            let (drained, rest) = tokio::join!(listener.drain(Duration::from_millis(200)), async {
                let mut rest = Vec::new();
                while let Some(frame) = raw.next().await? {
                    rest.push(frame);
                }
                anyhow::Ok(rest)
            });
            frames.extend(rest?);
            ensure!(!drained, "{answered:?}: it has not ended by itself");
            frames.retain(|frame| frame.stream == 1);
            let said: Vec<u8> =
                frames.iter().filter(|f| f.kind == DATA).flat_map(|f| f.payload.clone()).collect();
            ensure!(said == b"the answer", "{answered:?}: {frames:?}");
            let is_whole = frames.iter().any(is_last);
            let reset =
                frames.last().filter(|f| f.kind == RST_STREAM).context("a reset at last")?;
            let code = match answered {
                Partly => Reason::CANCEL,
                ThenDropped | ThenClosing | ThenReading => Reason::NO_ERROR,
            };
            ensure!(is_whole == (code == Reason::NO_ERROR), "{answered:?}: {frames:?}");
            ensure!(reset.payload == code.code().to_be_bytes(), "{answered:?}: {reset:?}");
            let here = server.await?;
            ensure!(here.is_ok() == matches!(answered, ThenDropped), "{answered:?}: {here:?}");
            if let Err(error) = here {
                ensure!(error.kind() == ErrorKind::Aborted, "{answered:?}: {error:?}");
                ensure!(error.to_string().contains("its time is up"), "{answered:?}: {error}");
            }
        }
        Ok(())
    })
}

#[test]
fn drain_refuses_those_that_nobody_has_accepted() -> TestResult {
    run(async {
        let (listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let conn = arrived(&client, &site).await?;
        ensure!(listener.drain(LONG).await);
        let error = conn.response().await.expect_err("it was refused");
        ensure!(error.kind() == ErrorKind::Refused && error.was_not_processed(), "{error:?}");
        ensure!(io_kind(&error) == std::io::ErrorKind::ConnectionRefused, "{error:?}");
        Ok(())
    })
}

#[test]
fn drain_knows_of_a_loss_on_a_link_that_was_gone_before() -> TestResult {
    run(async {
        for (says, hears, is_good) in
            [("some of it", false, false), ("some of it", true, true), ("", false, true)]
        {
            let (mut listener, site) = listen(Over::Cleartext).await?;
            let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
            raw.send(HEADERS, END_HEADERS, 1, REQUEST).await?;
            let mut conn = accept(&mut listener).await?;
            conn.write_all(says.as_bytes()).await?;
            drop(conn);
            if hears {
                raw.send(DATA, END_STREAM, 1, b"").await?;
                // It answers the PING around the end.
                let reading =
                    tokio::spawn(async move { while let Ok(Some(_)) = raw.next().await {} });
                while listener.stats().conns > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                reading.abort();
                let _ = reading.await;
            } else {
                // Its side is open, so the Conn is not over.
                drop(raw);
            }
            while listener.stats().links > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let delivered = listener.drain(LONG).await;
            ensure!(delivered == is_good, "{says:?}, hears: {hears}: {delivered}");
        }
        Ok(())
    })
}
