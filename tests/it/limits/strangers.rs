//! Links for which nothing was ever accepted do not stay.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::Listener;
use h2conn::http::StatusCode;
use tokio::net::TcpStream;

use super::{round_trip, until};
use crate::support::raw::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, Raw, request};
use crate::support::{Over, Site, TestResult, accept, echo, listen_with, run};

/// Short enough for a test, and long enough for requests that are sent at once.
const LIMIT: Duration = Duration::from_millis(300);

async fn client(site: &Site) -> TestResult<Raw<TcpStream>> {
    Ok(Raw::client(TcpStream::connect(site.addr).await?).await?)
}

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
        let (mut silent, mut refused) = (client(&site).await?, client(&site).await?);
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
        // Its request waits for the program, which takes its time.
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

#[test]
fn a_link_that_never_asks_stays_where_the_program_says_so() -> TestResult {
    run(async {
        let builder = Listener::builder().first_conn_timeout(None);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let limited = Listener::builder().first_conn_timeout(LIMIT);
        let (_limited, other) = listen_with(Over::Cleartext, limited).await?;
        let _silent = client(&site).await?;
        until(&listener.handle(), |stats| stats.links == 1).await;
        // Another that began later is gone.
        ends(&mut client(&other).await?).await?;
        ensure!(listener.stats().links == 1);
        Ok(())
    })
}
