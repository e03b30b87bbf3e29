//! Links for which nothing was ever accepted do not stay.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::Listener;
use h2conn::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, sink, split};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{round_trip, until};
use crate::attacks::peer::client;
use crate::support::raw::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, Raw, frame, read_frame, request,
};
use crate::support::{Over, TestResult, accept, checked, echo, listen_with, run};

/// Short enough for a test, and long enough for requests that are sent at once on a busy machine.
const LIMIT: Duration = Duration::from_secs(3);

/// Waits for a GOAWAY with NO_ERROR and the end of the transport.
async fn ends(raw: &mut Raw<TcpStream>) -> TestResult {
    let goaway = raw.wait_for(GOAWAY, 0).await?;
    ensure!(goaway.payload[4..8] == [0; 4], "{goaway:?}");
    while raw.next().await?.is_some() {}
    Ok(())
}

#[test]
fn a_link_on_which_nothing_is_accepted_in_time_ends_and_others_stay() -> TestResult {
    run(async {
        let builder = Listener::builder().first_conn_timeout(LIMIT);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        let (mut silent, mut refused) = (client(site.addr).await?, client(site.addr).await?);
        refused.send(HEADERS, END_HEADERS | END_STREAM, 1, &request("/no")).await?;
        listener.accept().await.context("it asks")?.reject(StatusCode::UNAUTHORIZED);
        refused.wait_for(HEADERS, 1).await?;

        let (user, idle) = (site.client()?, site.client()?);
        let (conn, server) = tokio::join!(user.connect(site.url("/")), accept(&mut listener));
        tokio::spawn(echo(server?));
        let conn = conn?.0;
        let (once, server) = tokio::join!(idle.connect(site.url("/")), accept(&mut listener));
        let (once, server) = (once?.0, server?);
        let _ = tokio::join!(once.close(), server.close());
        // This request waits for the program, which takes its time.
        let slow = site.client()?;
        let waits = slow.open(site.url("/")).await?;
        let incoming = listener.accept().await.context("it asks")?;

        ends(&mut silent).await?;
        ends(&mut refused).await?;
        let stats = until(&handle, |stats| stats.links == 3).await;
        ensure!(stats.conns == 2, "{stats:?}");
        round_trip(&conn).await?;
        tokio::spawn(echo(incoming.accept()?));
        waits.response().await?;
        round_trip(&waits).await?;
        let (again, server) = tokio::join!(idle.connect(site.url("/")), accept(&mut listener));
        drop((again?, server?));
        ensure!(handle.stats().links == 3, "it was on the same link");
        Ok(())
    })
}

/// Keeps sending, and acknowledges nothing, until the server ends the transport.
async fn talks_on(mut raw: Raw<TcpStream>) -> TestResult {
    let (mut reader, mut writer) = raw.io.split();
    let talking = async {
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        loop {
            beat.tick().await;
            if writer.write_all(&frame(PING, 0, 0, b"and more")).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let listening = async { while let Ok(Some(_)) = read_frame(&mut reader).await {} };
    tokio::select! {
        () = talking => unreachable!("it has no end"),
        () = listening => Ok(()),
    }
}

#[test]
fn a_client_that_is_refused_and_acknowledges_nothing_cannot_stay_by_talking_on() -> TestResult {
    run(async {
        let second = Duration::from_secs(1);
        let builder = Listener::builder().first_conn_timeout(second).linger_timeout(second);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        // With END_STREAM, and without it: then the stream lingers.
        for flags in [END_HEADERS | END_STREAM, END_HEADERS] {
            let mut raw = client(site.addr).await?;
            raw.send(HEADERS, flags, 1, &request("/no")).await?;
            listener.accept().await.context("it asks")?.reject(StatusCode::FORBIDDEN);
            talks_on(raw).await.with_context(|| format!("with the flags {flags:#x}"))?;
        }
        until(&handle, |stats| stats.links == 0).await;
        Ok(())
    })
}

/// An answer that its client has not acknowledged, and the client may be a slow one.
#[tokio::test(start_paused = true)]
async fn an_accepted_client_that_talks_on_and_acknowledges_nothing_keeps_its_link_until_a_deadline()
-> TestResult {
    const PAUSE: Duration = Duration::from_secs(40);
    const HOUR: u32 = 3_600 / 40;
    checked(7 * 24 * 3_600, async {
        for deadline in [false, true] {
            let (io, server) = duplex(64 << 10);
            let mut listener = Listener::builder().build_over(server)?;
            let handle = listener.handle();
            let mut raw = Raw::client(io).await?;
            raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &request("/")).await?;
            let mut conn = accept(&mut listener).await?;
            conn.write_all(b"an answer").await?;
            conn.shutdown().await?;
            drop(conn);
            handle.shut_down();
            let (mut reader, mut writer) = split(raw.io);
            let gone = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut sink()).await });
            // The client's talk keeps the link for as long as the client likes.
            for _ in 0..24 * HOUR {
                writer.write_all(&frame(PING, 0, 0, b"and more")).await?;
                sleep(PAUSE).await;
            }
            ensure!(handle.stats().links == 1 && !gone.is_finished());
            if deadline {
                writer.write_all(&frame(PING, 0, 0, b"and more")).await?;
                ensure!(!listener.drain(Duration::from_secs(1)).await, "it is not acknowledged");
            } else {
                // Silence ends it.
                sleep(PAUSE).await;
            }
            gone.await??;
            ensure!(handle.stats().links == 0);
        }
        Ok(())
    })
    .await
}

/// On Linux, all of 127.0.0.0/8 belongs to this machine.
#[cfg(target_os = "linux")]
#[test]
fn an_address_that_takes_all_links_has_its_own_ended_when_another_comes() -> TestResult {
    run(async {
        let builder = Listener::builder().max_links(4).first_conn_timeout(None);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        // One of them has not even started HTTP/2.
        let mut oldest = TcpStream::connect(site.addr).await?;
        let mut hogs = [client(site.addr).await?, client(site.addr).await?];
        until(&handle, |stats| stats.links + stats.handshaking == 3).await;
        // It comes last: the listener learns that it is no stranger a moment after its answer has been sent.
        let known = site.client()?;
        let (conn, server) = tokio::join!(known.connect(site.url("/")), accept(&mut listener));
        tokio::spawn(echo(server?));
        let conn = conn?.0;
        for number in 0..2 {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 2 + number], 0).into())?;
            let io = socket.connect(site.addr).await?;
            let other = h2conn::Client::builder().build_over(io).await?;
            let (theirs, server) = tokio::join!(other.connect("http://x/"), accept(&mut listener));
            tokio::spawn(echo(server?));
            round_trip(&theirs?.0).await?;
        }
        ensure!(oldest.read(&mut [0]).await? == 0, "the oldest stranger had to go");
        let goaway = hogs[0].wait_for(GOAWAY, 0).await?;
        let text = String::from_utf8_lossy(&goaway.payload[8..]).into_owned();
        ensure!(text.contains("all the links that it takes"), "{text}");
        ensure!(goaway.payload[4..8] == [0; 4], "a client may try again: {goaway:?}");
        hogs[1].send(PING, 0, 0, b"still on").await?;
        hogs[1].wait_for(PING, 0).await?;
        round_trip(&conn).await
    })
}

#[test]
fn a_link_that_never_asks_stays_where_the_program_says_so() -> TestResult {
    run(async {
        let builder = Listener::builder().first_conn_timeout(None);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let limited = Listener::builder().first_conn_timeout(LIMIT);
        let (_limited, other) = listen_with(Over::Cleartext, limited).await?;
        let _silent = client(site.addr).await?;
        until(&listener.handle(), |stats| stats.links == 1).await;
        // A link of the other server, which began later, has ended.
        ends(&mut client(other.addr).await?).await?;
        ensure!(listener.stats().links == 1);
        Ok(())
    })
}
