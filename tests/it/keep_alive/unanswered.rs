//! The PING for requests that have no answer yet, as a scripted server sees it.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::Request;
use h2conn::{Client, Conn, Destination};
use http_body_util::Empty;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::pings::{TOO_MANY_PINGS, times};
use super::{DAY, SECOND};
use crate::support::raw::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, Raw};
use crate::support::{TestResult, checked};

const URL: &str = "http://raw/";

/// Less than the keep-alive interval, which causes PINGs too.
const LONG: Duration = Duration::from_secs(29);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Our client, its first connection, and a server that has the request and says nothing.
async fn silent() -> TestResult<(Client, Conn, Raw<DuplexStream>)> {
    let (client_io, server_io) = duplex(1 << 20);
    let client = Client::builder().build_over(client_io).await?;
    let conn = client.open(URL).await?;
    let mut raw = Raw::server(server_io).await?;
    raw.wait_for(HEADERS, 1).await?;
    Ok((client, conn, raw))
}

/// Whether PINGs have arrived at these milliseconds, or within the next one.
fn are(times: &[Duration], expected: &[u64]) -> bool {
    let is = |(time, expected): (&Duration, &u64)| {
        (*expected..=expected + 1).contains(&(time.as_millis() as u64))
    };
    times.len() == expected.len() && times.iter().zip(expected).all(is)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_gets_one_ping_after_a_tenth_of_a_second() -> TestResult {
    checked(DAY, async {
        let (_client, conn, mut raw) = silent().await?;
        let times = times(&mut raw, LONG).await?;
        ensure!(are(&times, &[100]), "{times:?}");
        raw.send(HEADERS, END_HEADERS, 1, OK).await?;
        ensure!(conn.response().await?.status() == 200);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_answered_or_a_request_that_is_over_causes_no_ping() -> TestResult {
    checked(DAY, async {
        for is_reset in [false, true] {
            let (_client, conn, mut raw) = silent().await?;
            sleep(millis(90)).await;
            match is_reset {
                true => conn.reset(h2conn::Reason::CANCEL),
                false => raw.send(HEADERS, END_HEADERS, 1, OK).await?,
            }
            let times = times(&mut raw, LONG).await?;
            ensure!(times.is_empty(), "{times:?}, reset: {is_reset}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_requests_share_a_ping() -> TestResult {
    checked(DAY, async {
        let (client, _conn, mut raw) = silent().await?;
        let mut conns = Vec::new();
        for _ in 0..9 {
            conns.push(client.open(URL).await?);
        }
        raw.wait_for(HEADERS, 19).await?;
        let times = times(&mut raw, LONG).await?;
        ensure!(are(&times, &[100]), "{times:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_later_request_has_a_ping_of_its_own_and_the_one_after_it_none() -> TestResult {
    checked(DAY, async {
        let (client, _conn, mut raw) = silent().await?;
        let mut conns = Vec::new();
        // Since the first request: one that shares its PING, a later one, and one too many.
        let open = async {
            for pause in [20, 40, 1_000] {
                sleep(millis(pause)).await;
                conns.push(client.open(URL).await?);
            }
            TestResult::Ok(())
        };
        let (opened, seen) = tokio::join!(open, times(&mut raw, LONG));
        opened?;
        let seen = seen?;
        ensure!(are(&seen, &[100, 160]), "{seen:?}");
        // HEADERS and DATA both reset the count of a server of gRPC.
        raw.send(HEADERS, END_HEADERS, 1, OK).await?;
        conns.push(client.open(URL).await?);
        let seen = times(&mut raw, SECOND).await?;
        ensure!(are(&seen, &[100]), "{seen:?}");
        for expected in [&[100][..], &[]] {
            conns.push(client.open(URL).await?);
            let seen = times(&mut raw, SECOND).await?;
            ensure!(are(&seen, expected), "{seen:?}");
        }
        raw.send(DATA, 0, 1, b"x").await?;
        conns.push(client.open(URL).await?);
        let seen = times(&mut raw, SECOND).await?;
        ensure!(are(&seen, &[100]), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn pings_of_keep_alive_leave_a_later_request_its_own() -> TestResult {
    checked(DAY, async {
        let (client, _conn, mut raw) = silent().await?;
        raw.send(HEADERS, END_HEADERS, 1, OK).await?;
        let seen = times(&mut raw, 95 * SECOND).await?;
        ensure!(seen.len() >= 3, "{seen:?}");
        let _later = client.open(URL).await?;
        let seen = times(&mut raw, SECOND).await?;
        ensure!(are(&seen, &[100]), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_request_that_is_not_answered_causes_one_too() -> TestResult {
    checked(DAY, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let asked = client.send(Request::get(URL).body(Empty::<Bytes>::new())?);
        let serve = async {
            let mut raw = Raw::server(server_io).await?;
            ensure!(raw.wait_for(HEADERS, 1).await?.is_end(), "it has no content");
            let seen = times(&mut raw, LONG).await?;
            ensure!(are(&seen, &[100]), "{seen:?}");
            raw.send(HEADERS, END_HEADERS | END_STREAM, 1, OK).await?;
            Ok(raw)
        };
        let (answered, served) = tokio::join!(asked, serve);
        let _raw = served?;
        ensure!(answered?.status() == 200);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_complained_of_pings_gets_none() -> TestResult {
    checked(DAY, async {
        let (linked, mut links) = mpsc::unbounded_channel();
        let connect = move |_: Destination| {
            let (near, far) = duplex(1 << 20);
            let sent = linked.send(far).map_err(io::Error::other);
            async move { sent.map(|()| near) }
        };
        let client = Client::builder().connector(connect).build()?;
        for expected in [&[100][..], &[]] {
            let open = async { anyhow::Ok(client.open(URL).await?) };
            let accept = async {
                let io = links.recv().await.context("the client has gone")?;
                anyhow::Ok(Raw::server(io).await?)
            };
            let (conn, mut raw) = tokio::try_join!(open, accept)?;
            raw.wait_for(HEADERS, 1).await?;
            let seen = times(&mut raw, LONG).await?;
            ensure!(are(&seen, expected), "{seen:?}");
            raw.send(GOAWAY, 0, 0, TOO_MANY_PINGS).await?;
            drop(raw);
            ensure!(conn.response().await.is_err(), "the link has ended");
        }
        Ok(())
    })
    .await
}
