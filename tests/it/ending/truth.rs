//! Whether the result of `close` is true. The tests write the frames of the peers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::{Client, Conn, ErrorKind, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use crate::keep_alive::pings::scripted;
use crate::support::checked;
use crate::support::raw::{
    ACK, DATA, END_STREAM, Frame, GOAWAY, PING, RST_STREAM, Raw, read_frame,
};

/// A Conn with a response, its client, and the server's end.
async fn answered() -> Result<(Client, Conn, Raw<DuplexStream>)> {
    scripted(Client::builder()).await
}

/// Reads on, and answers PINGs, to the end of the transport.
async fn to_the_end(mut raw: Raw<DuplexStream>) -> Result<()> {
    while raw.next().await?.is_some() {}
    Ok(())
}

/// The PINGs around the end of a stream, which are not answered: the one before it and the one
/// behind it.
async fn pings_around_the_end(raw: &mut Raw<DuplexStream>) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut before, mut frame) = (None, None);
    while frame.is_none() {
        let next = read_frame(&mut raw.io).await?.context("the link has ended")?;
        match next.kind {
            PING if next.flags & ACK == 0 => before = Some(next.payload),
            _ if next.is_end() => frame = Some(next),
            _ => {}
        }
    }
    ensure!(frame.is_some_and(|frame| frame.payload.is_empty()), "the end goes alone");
    let before = before.context("a PING between the bytes and the end")?;
    loop {
        let next = read_frame(&mut raw.io).await?.context("the link has ended")?;
        if next.kind == PING && next.flags & ACK == 0 {
            return Ok((before, next.payload));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn close_waits_until_the_end_is_acknowledged_however_long_that_takes() -> Result<()> {
    checked(3600, async {
        let (_client, conn, mut raw) = answered().await?;
        (&conn).write_all(b"all of it").await?;
        let closing = tokio::spawn(async move { conn.close().await });
        let (before, behind) = pings_around_the_end(&mut raw).await?;
        raw.send(PING, ACK, 0, &before).await?;
        raw.send(DATA, END_STREAM, 1, b"").await?;
        // The peer is alive, and its acknowledgement comes over a slow line.
        for second in 0..600_u64 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            raw.send(PING, 0, 0, &second.to_be_bytes()).await?;
            ensure!(!closing.is_finished(), "closed after {second} s");
        }
        raw.send(PING, ACK, 0, &behind).await?;
        let reading = tokio::spawn(to_the_end(raw));
        closing.await??;
        drop(_client);
        reading.await?
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_before_it_acknowledges_is_timed_out_in_45_seconds() -> Result<()> {
    checked(3600, async {
        let (client, conn, mut raw) = answered().await?;
        (&conn).write_all(b"all of it").await?;
        raw.send(DATA, END_STREAM, 1, b"").await?;
        ensure!((&conn).read(&mut [0]).await? == 0);
        let began = Instant::now();
        let (closed, ended) = tokio::join!(conn.close(), client.close());
        for error in [closed.err(), ended.err()] {
            let error = error.context("nobody has acknowledged it")?;
            ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains("acknowledged"), "{error}");
        }
        let waited = began.elapsed().as_secs();
        ensure!((44..=46).contains(&waited), "{waited} s");
        drop(raw);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_peer_that_hangs_up_has_got_what_it_has_acknowledged_and_no_more() -> Result<()> {
    for acknowledges in [true, false] {
        checked(30, async {
            let (client, conn, mut raw) = answered().await?;
            (&conn).write_all(b"all of it").await?;
            raw.send(DATA, END_STREAM, 1, b"").await?;
            ensure!((&conn).read(&mut [0]).await? == 0);
            let closing = tokio::spawn(async move { tokio::join!(conn.close(), client.close()) });
            let (before, _) = pings_around_the_end(&mut raw).await?;
            if acknowledges {
                raw.send(PING, ACK, 0, &before).await?;
            }
            drop(raw);
            let (conn, client) = closing.await?;
            for closed in [conn, client] {
                if acknowledges {
                    closed?;
                    continue;
                }
                let error = closed.err().context("nobody has acknowledged a byte")?;
                ensure!(error.kind() == ErrorKind::Closed, "{error:?}");
                ensure!(error.to_string().contains("may be lost"), "{error}");
            }
            Ok(())
        })
        .await
        .with_context(|| format!("acknowledges: {acknowledges}"))?;
    }
    Ok(())
}

/// The peer has sent RST_STREAM before it got this side's end, so it dropped bytes.
#[tokio::test]
async fn a_reset_that_crosses_the_end_is_told_by_close_unless_it_is_no_error() -> Result<()> {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        for gone in [false, true] {
            checked(30, async {
                let (client, conn, mut raw) = answered().await?;
                (&conn).write_all(b"all of it").await?;
                raw.send(DATA, END_STREAM, 1, b"half of i").await?;
                let mut answer = Vec::new();
                (&conn).read_to_end(&mut answer).await?;
                ensure!(answer == b"half of i");
                let closing = async {
                    (&conn).shutdown().await?;
                    conn.closed().await?;
                    anyhow::Ok(conn.close().await)
                };
                let reading = async move {
                    while !raw.next().await?.context("the link has ended")?.is_end() {}
                    raw.send(RST_STREAM, 0, 1, &reason.code().to_be_bytes()).await?;
                    if gone {
                        raw.send(GOAWAY, 0, 0, &[0; 8]).await?;
                        return Ok(());
                    }
                    to_the_end(raw).await
                };
                let reading = tokio::spawn(reading);
                let closed = closing.await?;
                if reason == Reason::NO_ERROR {
                    closed?;
                } else {
                    let error = closed.err().context("it was reset")?;
                    ensure!(error.reason() == Some(reason) && error.is_by_peer(), "{error:?}");
                    ensure!(error.kind() == ErrorKind::Reset, "{error:?}");
                }
                drop((conn, client));
                reading.await?
            })
            .await
            .with_context(|| format!("{reason}, gone: {gone}"))?;
        }
    }
    Ok(())
}

/// HAProxy 2.6 sends this for an answer that its server has reset, while this side is open.
#[tokio::test]
async fn an_end_and_then_a_reset_with_an_error_is_no_good_end() -> Result<()> {
    checked(30, async {
        let (client, conn, mut raw) = answered().await?;
        let mut frames = crate::support::raw::frame(DATA, END_STREAM, 1, b"half of i");
        let cancel = Reason::CANCEL.code().to_be_bytes();
        frames.extend(crate::support::raw::frame(RST_STREAM, 0, 1, &cancel));
        raw.io.write_all(&frames).await?;
        let mut answer = Vec::new();
        (&conn).read_to_end(&mut answer).await?;
        ensure!(answer == b"half of i", "what came before is read, to an end of file");
        let reading = tokio::spawn(to_the_end(raw));
        let errors = [conn.closed().await.err(), conn.close().await.err()];
        for error in errors {
            let error = error.context("this side was open")?;
            ensure!(error.reason() == Some(Reason::CANCEL) && error.is_by_peer(), "{error:?}");
        }
        let error = (&conn).write(b"x").await.err().context("it was reset")?;
        ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error}");
        drop((conn, client));
        reading.await?
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn close_within_a_deadline_says_what_may_be_lost() -> Result<()> {
    checked(600, async {
        let (client, conn, raw) = answered().await?;
        (&conn).write_all(b"all of it").await?;
        drop(conn);
        let began = Instant::now();
        let error = client.close_within(Duration::from_secs(3)).await;
        let error = error.err().context("nobody has acknowledged it")?;
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().contains("may be lost"), "{error}");
        ensure!(began.elapsed().as_secs() <= 6, "{:?}", began.elapsed());
        drop(raw);
        Ok(())
    })
    .await
}

/// The ways in which a connection without an owner can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The transport ends.
    Cut,
    /// The server resets the stream.
    Reset,
    /// No failure: the server takes everything, and then the transport ends.
    None,
}

/// The client outlives the links of its connections.
#[tokio::test]
async fn a_client_tells_of_dropped_connections_whose_links_are_gone() -> Result<()> {
    for failure in [Failure::Cut, Failure::Reset, Failure::None] {
        for closing in [false, true] {
            checked(30, async {
                let (client, conn, mut raw) = answered().await?;
                (&conn).write_all(b"all of it").await?;
                if closing {
                    // The task waited for this end, and then stopped waiting.
                    let close = tokio::time::timeout(Duration::from_millis(1), conn.close());
                    ensure!(close.await.is_err(), "nobody has acknowledged it");
                }
                drop(conn);
                while !read_frame(&mut raw.io).await?.context("the link has ended")?.is_end() {}
                match failure {
                    Failure::Cut => {}
                    Failure::Reset => {
                        let code = Reason::INTERNAL_ERROR.code().to_be_bytes();
                        raw.send(RST_STREAM, 0, 1, &code).await?;
                    }
                    Failure::None => raw.send(DATA, END_STREAM, 1, b"").await?,
                }
                drop(raw);
                while client.stats().origins.iter().any(|origin| !origin.links.is_empty()) {
                    tokio::task::yield_now().await;
                }
                let closed = client.close().await;
                if failure == Failure::None {
                    return Ok(closed?);
                }
                let error = closed.err().context("it was not told")?;
                ensure!(error.to_string().contains("was dropped"), "{error}");
                let reset = failure == Failure::Reset;
                ensure!((error.kind() == ErrorKind::Reset) == reset, "{error:?}");
                client.close().await.context("it has been told")
            })
            .await
            .with_context(|| format!("{failure:?}, closing: {closing}"))?;
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_closed_resets_those_in_use_in_the_linger_timeout_and_says_so()
-> Result<()> {
    checked(600, async {
        let (client, conn, raw) = answered().await?;
        let reading = tokio::spawn(to_the_end(raw));
        let began = Instant::now();
        let error = client.close().await.err().context("it was in use")?;
        ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
        ensure!(error.to_string().contains("still in use"), "{error}");
        ensure!((30..=31).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        let error = conn.closed().await.err().context("it was reset")?;
        ensure!(error.reason() == Some(Reason::CANCEL) && !error.is_by_peer(), "{error:?}");
        reading.await?
    })
    .await
}

/// Go's and Node's servers send this if their handlers finish before the request has ended.
#[tokio::test]
async fn an_answer_with_a_goodbye_that_crosses_the_end_is_a_good_end() -> Result<()> {
    for late in [None, Some(Reason::STREAM_CLOSED)] {
        checked(30, async {
            let (client, conn, mut raw) = answered().await?;
            let mut frames = crate::support::raw::frame(DATA, END_STREAM, 1, b"all of it");
            let mut reset = |reason: Reason| {
                let code = reason.code().to_be_bytes();
                frames.extend(crate::support::raw::frame(RST_STREAM, 0, 1, &code));
            };
            reset(Reason::NO_ERROR);
            late.into_iter().for_each(reset);
            // The frames are there before the driver sends this side's end.
            raw.io.write_all(&frames).await?;
            let closing = conn.close();
            let reading = tokio::spawn(to_the_end(raw));
            closing.await?;
            drop((conn, client));
            reading.await?
        })
        .await
        .with_context(|| format!("{late:?}"))?;
    }
    Ok(())
}

/// The ways in which a stream ends before the peer hangs up without an acknowledgement.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// The peer has answered, and reads no more.
    ByPeer(Reason),
    /// This side has given up the stream.
    ByUser,
    /// This side has ended the stream, and then reset it.
    BehindItsEnd,
}

#[tokio::test]
async fn a_stream_that_was_reset_before_its_end_is_owed_to_nobody() -> Result<()> {
    let by_peer = [Reason::NO_ERROR, Reason::CANCEL].map(Over::ByPeer);
    for over in by_peer.into_iter().chain([Over::ByUser, Over::BehindItsEnd]) {
        checked(30, async {
            let (client, conn, mut raw) = answered().await?;
            (&conn).write_all(b"some of it").await?;
            raw.wait_for(DATA, 1).await?;
            match over {
                Over::ByPeer(reason) => {
                    let mut frames = crate::support::raw::frame(DATA, END_STREAM, 1, b"enough");
                    let code = reason.code().to_be_bytes();
                    frames.extend(crate::support::raw::frame(RST_STREAM, 0, 1, &code));
                    raw.io.write_all(&frames).await?;
                    let mut answer = Vec::new();
                    (&conn).read_to_end(&mut answer).await?;
                    ensure!(answer == b"enough");
                    ensure!(conn.closed().await.is_err(), "this side was open");
                }
                Over::ByUser => conn.reset(Reason::CANCEL),
                Over::BehindItsEnd => {
                    (&conn).shutdown().await?;
                    conn.reset(Reason::NO_ERROR);
                }
            }
            drop(conn);
            let closing = tokio::spawn(async move { client.close().await });
            // The peer hangs up at the last frame. If this side asks it for an acknowledgement, it
            // hangs up at that PING.
            let is_asked = matches!(over, Over::ByPeer(Reason::CANCEL));
            let is_last = |frame: &Frame| match frame.kind {
                RST_STREAM | GOAWAY => true,
                PING => is_asked && frame.flags & ACK == 0,
                _ => false,
            };
            while read_frame(&mut raw.io).await?.is_some_and(|frame| !is_last(&frame)) {}
            drop(raw);
            let closed = closing.await?;
            // Bytes may be lost if the peer has dropped them. In the last case the peer must have
            // them in spite of the reset.
            if matches!(over, Over::ByPeer(Reason::CANCEL) | Over::BehindItsEnd) {
                let error = closed.err().context("nobody has acknowledged its bytes")?;
                ensure!(error.to_string().contains("may be lost"), "{error}");
            } else {
                closed?;
            }
            Ok(())
        })
        .await
        .with_context(|| format!("{over:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn close_tells_how_much_a_peer_that_wants_no_more_and_hangs_up_may_lack() -> Result<()> {
    for written in [&b"some of it"[..], b""] {
        checked(30, async {
            let (client, conn, mut raw) = answered().await?;
            if !written.is_empty() {
                (&conn).write_all(written).await?;
                raw.wait_for(DATA, 1).await?;
            }
            let mut frames = crate::support::raw::frame(DATA, END_STREAM, 1, b"enough");
            let code = Reason::NO_ERROR.code().to_be_bytes();
            frames.extend(crate::support::raw::frame(RST_STREAM, 0, 1, &code));
            raw.io.write_all(&frames).await?;
            ensure!(conn.closed().await.is_err(), "this side was open");
            if written.is_empty() {
                drop(raw);
                while client.stats().origins.iter().any(|origin| !origin.links.is_empty()) {
                    tokio::task::yield_now().await;
                }
                return Ok(conn.close().await?);
            }
            let closing = tokio::spawn(async move { conn.close().await });
            let is_question = |kind, flags| kind == PING && flags & ACK == 0;
            let mut last = raw.io;
            while read_frame(&mut last).await?.is_some_and(|it| !is_question(it.kind, it.flags)) {}
            drop(last);
            let error = closing.await?.err().context("nobody has acknowledged its bytes")?;
            ensure!(error.to_string().contains("may be lost"), "{error}");
            ensure!(error.reason() == Some(Reason::NO_ERROR) && error.is_by_peer(), "{error:?}");
            drop(client);
            Ok(())
        })
        .await
        .with_context(|| format!("{} bytes", written.len()))?;
    }
    Ok(())
}
