//! The SETTINGS for requests that have no answer yet, as a scripted server sees them.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::Request;
use h2conn::{Client, Conn};
use http_body_util::Empty;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

use super::DAY;
use crate::support::raw::{ACK, END_HEADERS, END_STREAM, HEADERS, OK, PING, Raw, SETTINGS};
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

/// The milliseconds at which SETTINGS arrive within `time`. They are acknowledged. A PING is an
/// error, because servers of gRPC count PINGs.
async fn times(raw: &mut Raw<DuplexStream>, time: Duration) -> TestResult<Vec<u128>> {
    let began = Instant::now();
    let mut times = Vec::new();
    let read = async {
        loop {
            let frame = raw.next().await?.context("the link has ended")?;
            ensure!(frame.kind != PING, "a PING after {:?}", began.elapsed());
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                // Some servers count SETTINGS without values as abuse.
                ensure!(frame.payload.len() == 6, "{:?}", frame.payload);
                times.push(began.elapsed().as_millis());
            }
        }
    };
    match timeout(time, read).await {
        Ok(result) => result,
        Err(_) => Ok(times),
    }
}

/// Whether the times are these, but for the rounding of timers.
fn are(times: &[u128], expected: &[u128]) -> bool {
    let is = |(time, expected): (&u128, &u128)| (*expected..=expected + 4).contains(time);
    times.len() == expected.len() && times.iter().zip(expected).all(is)
}

/// The times of one request without an answer.
const ALL: [u128; 4] = [100, 500, 2_100, 8_500];

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_gets_settings_after_longer_and_longer_times() -> TestResult {
    checked(DAY, async {
        let (_client, conn, mut raw) = silent().await?;
        let times = times(&mut raw, LONG).await?;
        ensure!(are(&times, &ALL), "{times:?}");
        raw.send(HEADERS, END_HEADERS, 1, OK).await?;
        ensure!(conn.response().await?.status() == 200);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn after_an_answer_or_the_end_of_the_request_there_are_none() -> TestResult {
    checked(DAY, async {
        for is_reset in [false, true] {
            for (after, expected) in [(90, &ALL[..0]), (300, &ALL[..1]), (2_000, &ALL[..2])] {
                let (_client, conn, mut raw) = silent().await?;
                let before = times(&mut raw, millis(after)).await?;
                ensure!(are(&before, expected), "{before:?} in {after} ms");
                match is_reset {
                    true => conn.reset(h2conn::Reason::CANCEL),
                    false => raw.send(HEADERS, END_HEADERS, 1, OK).await?,
                }
                let behind = times(&mut raw, LONG - millis(after)).await?;
                ensure!(behind.is_empty(), "{behind:?} after {after} ms, reset: {is_reset}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ten_requests_share_them() -> TestResult {
    checked(DAY, async {
        let (client, _conn, mut raw) = silent().await?;
        let mut conns = Vec::new();
        for _ in 0..9 {
            conns.push(client.open(URL).await?);
        }
        raw.wait_for(HEADERS, 19).await?;
        let times = times(&mut raw, LONG).await?;
        ensure!(are(&times, &ALL), "{times:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn later_requests_have_their_own_and_share_those_that_are_near() -> TestResult {
    checked(DAY, async {
        let (client, _conn, mut raw) = silent().await?;
        let mut conns = Vec::new();
        // At 20, 60 and 1,060 ms. The first of them shares all of the request before it. Two frames
        // are at least 250 ms apart. The second shares from 2,200 ms on, and the last at 8,600 ms.
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
        let expected = [100, 350, 600, 850, 1_160, 1_560, 2_200, 3_160, 8_600];
        ensure!(are(&seen, &expected), "{seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_request_that_is_not_answered_causes_them_too() -> TestResult {
    checked(DAY, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let asked = client.send(Request::get(URL).body(Empty::<Bytes>::new())?);
        let serve = async {
            let mut raw = Raw::server(server_io).await?;
            ensure!(raw.wait_for(HEADERS, 1).await?.is_end(), "it has no content");
            let seen = times(&mut raw, LONG).await?;
            ensure!(are(&seen, &ALL), "{seen:?}");
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
