//! The times at which PINGs are sent, as a scripted peer sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Client, ClientBuilder, Conn, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{DAY, SECOND, check_silence};
use crate::support::raw::{
    ACK, DATA, END_HEADERS, GOAWAY, HEADERS, OK, PING, REQUEST, RST_STREAM, Raw, read_frame,
};
use crate::support::{
    Over, TestResult, checked, echo, listen_with, run, serve, tcp_server, within,
};

/// The payload of a GOAWAY: stream 1, ENHANCE_YOUR_CALM, and the text of gRPC's servers.
pub(super) const TOO_MANY_PINGS: &[u8] = b"\0\0\0\x01\0\0\0\x0btoo_many_pings";

/// Our client, a Conn of it, and a server whose frames a test writes.
pub(crate) async fn scripted(
    builder: ClientBuilder,
) -> TestResult<(Client, Conn, Raw<DuplexStream>)> {
    let (client_io, server_io) = duplex(1 << 20);
    let client = builder.build_over(client_io).await?;
    let conn = client.open("http://raw/").await?;
    let mut raw = Raw::server(server_io).await?;
    raw.wait_for(HEADERS, 1).await?;
    raw.send(HEADERS, END_HEADERS, 1, OK).await?;
    conn.response().await?;
    Ok((client, conn, raw))
}

/// The seconds at which PINGs arrive within `time`. They are answered.
async fn pings(raw: &mut Raw<DuplexStream>, time: Duration) -> TestResult<Vec<u64>> {
    Ok(times(raw, time).await?.iter().map(Duration::as_secs).collect())
}

/// The times at which PINGs arrive within `time`. They are answered.
pub(super) async fn times(
    raw: &mut Raw<DuplexStream>,
    time: Duration,
) -> TestResult<Vec<Duration>> {
    let began = Instant::now();
    let mut times = Vec::new();
    let read = async {
        loop {
            let frame = raw.next().await?.context("the link has ended")?;
            if frame.kind == PING && frame.flags & ACK == 0 {
                times.push(began.elapsed());
            }
        }
    };
    match timeout(time, read).await {
        Ok(result) => result,
        Err(_) => Ok(times),
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_link_is_asked_each_interval_only_while_a_conn_is_open() -> TestResult {
    checked(DAY, async {
        let (_client, conn, mut raw) = scripted(Client::builder()).await?;
        ensure!(pings(&mut raw, 100 * SECOND).await? == [30, 60, 90]);
        conn.reset(h2conn::Reason::CANCEL);
        raw.wait_for(RST_STREAM, 1).await?;
        ensure!(pings(&mut raw, 3600 * SECOND).await?.is_empty(), "nobody is concerned");

        let (_client, _conn, mut raw) =
            scripted(Client::builder().keep_alive_interval(None)).await?;
        ensure!(pings(&mut raw, 3600 * SECOND).await?.is_empty(), "switched off");

        let builder = Client::builder().keep_alive_interval(10 * SECOND);
        let (_client, conn, mut raw) = scripted(builder.keep_alive_while_idle(true)).await?;
        drop(conn);
        raw.send(DATA, crate::support::raw::END_STREAM, 1, &[]).await?;
        let times = pings(&mut raw, 45 * SECOND).await?;
        ensure!(times == [10, 20, 30, 40], "{times:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_busy_link_sends_no_ping() -> TestResult {
    checked(DAY, async {
        let (_client, conn, mut raw) = scripted(Client::builder()).await?;
        for _ in 0..60 {
            (&conn).write_all(b"question").await?;
            raw.wait_for(DATA, 1).await?;
            ensure!(pings(&mut raw, 20 * SECOND).await?.is_empty());
            raw.send(DATA, 0, 1, b"answer").await?;
            (&conn).read_exact(&mut [0; 6]).await?;
            ensure!(pings(&mut raw, 9 * SECOND).await?.is_empty());
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn who_only_listens_gives_signs_of_life_even_if_they_are_not_answered() -> TestResult {
    checked(DAY, async {
        let (_client, mut conn, mut raw) = scripted(Client::builder()).await?;
        let talk = async {
            for _ in 0..100 {
                raw.send(DATA, 0, 1, b"news").await?;
                sleep(SECOND).await;
            }
            // None of them was answered. Only now the test reads them from the buffer.
            pings(&mut raw, SECOND).await
        };
        let listen = async {
            for _ in 0..100 {
                conn.read_exact(&mut [0; 4]).await?;
            }
            TestResult::Ok(())
        };
        let (seen, ()) = tokio::try_join!(talk, listen)?;
        ensure!((5..=7).contains(&seen.len()), "{} in 100 seconds", seen.len());
        let (ping, answered) = tokio::join!(conn.ping(), pings(&mut raw, SECOND));
        ensure!(ping? < SECOND && answered?.len() == 1, "pings go on as before");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_conn_opened_on_a_link_that_has_long_been_silent_has_it_asked_at_once() -> TestResult {
    checked(DAY, async {
        let (client, conn, mut raw) = scripted(Client::builder()).await?;
        drop(conn);
        // This is the PING behind the end that this side has sent.
        ensure!(pings(&mut raw, 3600 * SECOND).await?.len() == 1);
        let mut conn = client.open("http://raw/").await?;
        let began = Instant::now();
        within(1, raw.wait_for(PING, 0)).await?;
        // That PING was answered; from now on none is.
        let error = conn.read(&mut [0]).await.err().context("the server says nothing")?;
        check_silence(&error)?;
        ensure!(began.elapsed().as_secs() == 45, "{:?}", began.elapsed());

        let (client, conn, mut raw) = scripted(Client::builder()).await?;
        drop(conn);
        // This is the PING behind the end that this side has sent.
        ensure!(pings(&mut raw, 3600 * SECOND).await?.len() == 1);
        let began = Instant::now();
        let (mut conn, pinging) = (client.open("http://raw/").await?, client.open("http://raw/"));
        let pinging = pinging.await?;
        let mut byte = [0];
        let (error, ping) = tokio::join!(conn.read(&mut byte), pinging.ping());
        check_silence(&error.err().context("the server says nothing")?)?;
        ensure!(ping.is_err(), "who waits for a ping does not outlive the link");
        ensure!(began.elapsed().as_secs() == 15, "{:?}", began.elapsed());
        Ok(())
    })
    .await
}

#[test]
fn a_server_that_complains_of_pings_gets_half_as_many() -> TestResult {
    run(async {
        let (waited, mut waits) = mpsc::unbounded_channel();
        let waited = Arc::new(Mutex::new(waited));
        let addr = tcp_server(move |stream| {
            let waited = waited.lock().expect("nobody panics with it").clone();
            async move {
                let mut raw = Raw::server(stream).await?;
                raw.wait_for(HEADERS, 1).await?;
                let began = Instant::now();
                raw.send(HEADERS, END_HEADERS, 1, OK).await?;
                raw.wait_for(PING, 0).await?;
                waited.send(began.elapsed())?;
                raw.send(GOAWAY, 0, 0, TOO_MANY_PINGS).await?;
                Ok(())
            }
        })
        .await?;
        let interval = Duration::from_millis(500);
        let client = Client::builder().keep_alive_interval(interval).build()?;
        for doubled in [1, 2, 4] {
            let (mut conn, _) = client.connect(format!("http://{addr}/")).await?;
            let error = conn.read(&mut [0]).await.err().context("it was sent away")?;
            ensure!(error.to_string().contains("too_many_pings"), "{error}");
            let waited = waits.recv().await.context("the server has seen a PING")?;
            let least = interval * doubled - interval / 4;
            ensure!(waited > least, "{waited:?} on link {doubled}");
        }
        Ok(())
    })
}

#[test]
fn a_complaint_is_heard_though_the_transport_fails_right_after_it() -> TestResult {
    run(async {
        let addr = tcp_server(|stream| async {
            let mut raw = Raw::server(stream).await?;
            raw.wait_for(HEADERS, 1).await?;
            raw.send(HEADERS, END_HEADERS, 1, OK).await?;
            // Unread bytes make the kernel reset the socket when it is closed.
            raw.io.readable().await?;
            raw.send(GOAWAY, 0, 0, TOO_MANY_PINGS).await?;
            Ok(())
        })
        .await?;
        let client = Client::builder().keep_alive_interval(10 * SECOND).build()?;
        for round in 0..20 {
            let (mut conn, _) = client.connect(format!("http://{addr}/")).await?;
            // The connection may end before all of this is taken.
            let _ = conn.write_all(&[7; 60_000]).await;
            let error = conn.read(&mut [0]).await.err().context("it was sent away")?;
            ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{round}: {error:?}");
            ensure!(error.to_string().contains("too_many_pings"), "{round}: {error}");
        }
        Ok(())
    })
}

#[test]
fn a_client_that_complains_of_pings_slows_down_nobody_elses() -> TestResult {
    run(async {
        let interval = Duration::from_millis(100);
        let builder = Listener::builder().keep_alive_interval(interval);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        serve(listener, echo);
        let pinged = || async {
            let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
            raw.send(HEADERS, END_HEADERS, 1, REQUEST).await?;
            within(5, raw.wait_for(PING, 0)).await?;
            TestResult::Ok(raw)
        };
        for _ in 0..8 {
            let mut raw = pinged().await?;
            raw.send(GOAWAY, 0, 0, TOO_MANY_PINGS).await?;
            raw.io.shutdown().await?;
            // The server answers nothing more, because its side is shut.
            while read_frame(&mut raw.io).await?.is_some() {}
        }
        // Eight doublings would have made the interval 25 seconds.
        pinged().await?;
        Ok(())
    })
}
