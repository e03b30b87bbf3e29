//! Requests that wait for `accept`: each link has a share, and links take turns. A peer whose
//! requests come to nothing is slowed down and then cut off.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;
use h2conn::{Listener, Reason};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::until;
use crate::attacks::peer::{client, pieces, play};
use crate::support::raw::{
    END_HEADERS, END_STREAM, HEADERS, OK, PING, REQUEST, RST_STREAM, Raw, frame,
};
use crate::support::{Over, TestResult, accept, listen, run};

/// The requests of a single link that may wait.
const SHARE: u32 = 4_096;

/// The requests of the streams with these numbers, which start at 0.
fn requests(numbers: impl Iterator<Item = u32>, flags: u8) -> Vec<u8> {
    numbers.flat_map(|n| frame(HEADERS, END_HEADERS | flags, 2 * n + 1, REQUEST)).collect()
}

/// Waits until all earlier frames have been handled. Returns the streams that were refused in the
/// meantime.
async fn refused_so_far(raw: &mut Raw<TcpStream>) -> TestResult<Vec<u32>> {
    let mut refused = refused_until_a_ping_is_answered(raw).await?;
    // The answer to a PING can overtake the work of the same turn.
    refused.extend(refused_until_a_ping_is_answered(raw).await?);
    Ok(refused)
}

async fn refused_until_a_ping_is_answered(raw: &mut Raw<TcpStream>) -> TestResult<Vec<u32>> {
    raw.send(PING, 0, 0, b"are you?").await?;
    let mut refused = Vec::new();
    loop {
        let frame = raw.next().await?.context("the link lives")?;
        match frame.kind {
            RST_STREAM => {
                ensure!(frame.payload == Reason::REFUSED_STREAM.code().to_be_bytes(), "{frame:?}");
                refused.push(frame.stream);
            }
            PING if frame.payload == b"are you?" => return Ok(refused),
            _ => {}
        }
    }
}

#[test]
fn a_link_that_fills_the_backlog_has_half_of_it_and_a_newcomer_is_next() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let mut hogs = [client(site.addr).await?, client(site.addr).await?];
        for (hog, expected) in hogs.iter_mut().zip([SHARE, SHARE / 2]) {
            // A stream is open while it waits, and no more than `max_conns_per_link` can be open.
            hog.io.write_all(&requests(0..SHARE, END_STREAM)).await?;
            let refused = refused_so_far(hog).await?;
            // The second link gets as many places as are left each time it asks.
            let taken = SHARE - refused.len() as u32;
            ensure!(taken == expected, "{taken}");
            ensure!(refused.iter().all(|stream| *stream > 2 * expected - 1), "the first are taken");
        }
        let newcomer = site.client()?;
        let waits = newcomer.open(site.url("/newcomer")).await?;
        waits.sent().await?;
        until(&listener.handle(), |stats| stats.conns as u32 == SHARE + SHARE / 2 + 1).await;
        let mut paths = Vec::new();
        for _ in 0..3 {
            let incoming = listener.accept().await.context("they wait")?;
            paths.push(incoming.uri().path().to_owned());
            incoming.accept()?;
        }
        ensure!(paths == ["/", "/", "/newcomer"], "{paths:?}");
        ensure!(waits.response().await?.status() == StatusCode::OK);
        Ok(())
    })
}

#[test]
fn a_request_that_is_taken_back_while_it_waits_leaves_its_place_and_is_never_accepted() -> TestResult
{
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let handle = listener.handle();
        let mut hog = client(site.addr).await?;
        hog.io.write_all(&requests(0..SHARE, 0)).await?;
        ensure!(refused_so_far(&mut hog).await?.is_empty());
        let resets: Vec<u8> = (0..SHARE - 1)
            .flat_map(|n| frame(RST_STREAM, 0, 2 * n + 1, &Reason::CANCEL.code().to_be_bytes()))
            .collect();
        hog.io.write_all(&resets).await?;
        refused_so_far(&mut hog).await?;
        until(&handle, |stats| stats.conns == 1 && stats.request_bytes < 6_000).await;
        // The places are free again.
        hog.io.write_all(&requests(SHARE..2 * SHARE - 1, 0)).await?;
        ensure!(refused_so_far(&mut hog).await?.is_empty());
        let conn = accept(&mut listener).await?;
        let answer = hog.wait_for(HEADERS, 2 * (SHARE - 1) + 1).await?;
        ensure!(answer.payload == OK, "the one that was not taken back: {answer:?}");
        drop((conn, hog));
        // All others have gone together with the link.
        until(&handle, |stats| stats.links == 0 && stats.request_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn a_peer_that_takes_back_all_that_it_asks_for_is_cut_off() -> TestResult {
    run(async {
        // The listener accepts nothing, and must not end the link for that.
        let builder = Listener::builder().first_conn_timeout(None);
        let listener = builder.bind("127.0.0.1:0").await?;
        let addr: SocketAddr = listener.local_addr().to_string().parse()?;
        let cancel = Reason::CANCEL.code().to_be_bytes();
        let raw = client(addr).await?;
        let request_and_reset = |number| {
            let request = requests(number..number + 1, 0);
            [request, frame(RST_STREAM, 0, 2 * number + 1, &cancel)].concat()
        };
        let began = Instant::now();
        let heard = play(raw, pieces(60_000, request_and_reset)).await;
        heard.ensure_cut_off(60_000, began.elapsed())
    })
}
