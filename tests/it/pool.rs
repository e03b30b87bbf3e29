//! Several links to one origin: servers' limits, the cap, policies, and the ends of links.

mod ends;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::none_alive;
use h2conn::{Client, Conn, ErrorKind, LinkPolicy, Listener, OriginStats};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::foreign::{Io, h2_echo, server};
use crate::support::raw::{self, HEADERS, RST_STREAM, Raw, SETTINGS};
use crate::support::{
    Over, Site, TestResult, accept, check_echo, echo, listen, listen_with, noise, run, serve,
    tcp_server,
};

/// The local socket address, which identifies a link.
fn link(conn: &Conn) -> SocketAddr {
    conn.local_addr().socket_addr().expect("it goes over TCP")
}

/// Writes something, reads the echo, and leaves the connection open.
async fn round_trip(mut conn: &Conn, said: &[u8]) -> TestResult {
    conn.write_all(said).await?;
    let mut heard = vec![0; said.len()];
    conn.read_exact(&mut heard).await?;
    ensure!(heard == said, "{heard:?}");
    Ok(())
}

/// Opens this many connections at once.
async fn crowd(client: &Client, site: &Site, conns: usize) -> TestResult<Vec<Conn>> {
    let mut connecting = JoinSet::new();
    for _ in 0..conns {
        let (client, url) = (client.clone(), site.url("/"));
        connecting.spawn(async move { client.connect(url).await });
    }
    let mut crowd = Vec::new();
    while let Some(conn) = connecting.join_next().await {
        crowd.push(conn??.0);
    }
    Ok(crowd)
}

/// The number of connections on each link.
fn by_link(conns: &[Conn]) -> HashMap<SocketAddr, usize> {
    let mut links = HashMap::new();
    for conn in conns {
        *links.entry(link(conn)).or_default() += 1;
    }
    links
}

/// The statistics of the only origin that has anything open.
fn origin(client: &Client) -> Option<OriginStats> {
    client.stats().origins.into_iter().next()
}

/// Waits until the statistics of the client's origin satisfy `wanted`. The watchdog limits the
/// wait.
async fn until(client: &Client, wanted: impl Fn(&OriginStats) -> bool) {
    while !origin(client).as_ref().is_some_and(&wanted) {
        tokio::task::yield_now().await;
    }
}

/// A stock hyper server that echoes, with this limit of streams for each link.
async fn hyper_echo(io: impl Io, limit: Option<u32>) -> TestResult {
    let echo = service_fn(|request: h2conn::http::Request<Incoming>| async {
        Ok::<_, std::convert::Infallible>(h2conn::http::Response::new(request.into_body()))
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    if let Some(limit) = limit {
        builder.max_concurrent_streams(limit);
    }
    builder.serve_connection(TokioIo::new(io), echo).await?;
    Ok(())
}

/// A listener of ours that echoes, with this limit of streams for each link.
async fn echo_with(over: Over, limit: u32) -> TestResult<Site> {
    let (listener, site) = listen_with(over, Listener::builder().max_conns_per_link(limit)).await?;
    serve(listener, echo);
    Ok(site)
}

#[test]
fn a_hundred_conns_at_once_use_ten_links_where_a_link_takes_ten() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let ours = echo_with(over, 10).await?;
            let hyper = server(over, |io| hyper_echo(io, Some(10))).await?;
            for site in [ours, hyper] {
                let client = site.client()?;
                let conns = crowd(&client, &site, 100).await?;
                let links = by_link(&conns);
                ensure!(links.len() == 10 && links.values().all(|n| *n == 10), "{links:?}");
                for conn in &conns {
                    round_trip(conn, b"hello").await?;
                }
                let stats = client.stats();
                let origin = stats.origins.first().context("the origin")?;
                ensure!(site.url("") == origin.origin, "{}", origin.origin);
                ensure!((stats.dials, stats.failed_dials, stats.retries) == (10, 0, 0));
                ensure!((origin.conns(), origin.links_open()) == (100, 10), "{origin:?}");
                ensure!((origin.waiting, origin.dialing) == (0, 0), "{origin:?}");
                ensure!(origin.limit == Some(10), "{origin:?}");
                for conn in conns {
                    conn.close().await?;
                }
                let origin = client.stats().origins.pop().context("its links stay")?;
                ensure!((origin.conns(), origin.links_open()) == (0, 10), "{origin:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_201st_conn_to_stock_hyper_makes_a_second_link() -> TestResult {
    run(async {
        let site = server(Over::Cleartext, |io| hyper_echo(io, None)).await?;
        let client = site.client()?;
        let mut conns = crowd(&client, &site, 200).await?;
        ensure!(by_link(&conns).len() == 1, "{:?}", by_link(&conns));
        conns.push(client.connect(site.url("/")).await?.0);
        ensure!(by_link(&conns).len() == 2, "{:?}", by_link(&conns));
        for conn in &conns {
            round_trip(conn, b"hello").await?;
        }
        Ok(())
    })
}

#[test]
fn at_the_cap_a_conn_waits_for_another_to_end() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 2).await?;
        let client = site.client_builder().max_links_per_origin(2).build()?;
        let mut conns = crowd(&client, &site, 4).await?;
        for _ in 0..10 {
            let (waiter, url) = (client.clone(), site.url("/"));
            let waiting = tokio::spawn(async move { waiter.connect(url).await });
            until(&client, |origin| origin.waiting == 1).await;
            conns.remove(0).reset(h2conn::Reason::CANCEL);
            conns.push(waiting.await??.0);
            ensure!(origin(&client).is_some_and(|origin| origin.conns() == 4));
            round_trip(&conns[3], b"hello").await?;
        }
        ensure!(client.stats().dials == 2, "{:?}", client.stats());
        Ok(())
    })
}

#[test]
fn who_gets_no_place_in_time_is_told_what_is_full() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 2).await?;
        let short = Duration::from_millis(500);
        for (links, text) in [
            (1, format!("one link to {}, at the server's limit of 2 streams", site.url(""))),
            (3, format!("3 links to {}, each at the server's limit of 2 streams", site.url(""))),
        ] {
            let builder = site.client_builder().max_links_per_origin(links);
            let client = builder.connect_timeout(short).build()?;
            let mut conns = Vec::new();
            for _ in 0..2 * links {
                conns.push(client.connect(site.url("/")).await?.0);
            }
            for error in [
                client.connect(site.url("/")).await.expect_err("it is full"),
                client.open(site.url("/")).await.expect_err("it is full"),
            ] {
                ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
                let advice = "raise max_links_per_origin or the server's limit, or close";
                for part in [&text, advice, "0.5 s"] {
                    ensure!(error.to_string().contains(part), "{part:?} in {error}");
                }
            }
            ensure!(origin(&client).is_some_and(|origin| origin.waiting == 0));
        }
        Ok(())
    })
}

/// SETTINGS_MAX_CONCURRENT_STREAMS.
fn limit(streams: u32) -> Vec<u8> {
    [&[0, 3][..], &streams.to_be_bytes()].concat()
}

/// The server's side of one link. The test writes its frames.
async fn raw_link(socket: &TcpListener) -> TestResult<Raw<TcpStream>> {
    let stream = socket.accept().await?.0;
    stream.set_nodelay(true)?;
    Ok(Raw::server(stream).await?)
}

async fn answer(raw: &mut Raw<TcpStream>, stream: u32) -> TestResult {
    raw.wait_for(HEADERS, stream).await?;
    Ok(raw.send(HEADERS, raw::END_HEADERS, stream, raw::OK).await?)
}

#[test]
fn a_limit_that_changes_while_conns_are_open_is_kept() -> TestResult {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let site = Site::cleartext(socket.local_addr()?);
        let client = site.client_builder().max_links_per_origin(1).build()?;
        let connect = || {
            let (client, url) = (client.clone(), site.url("/"));
            tokio::spawn(async move { client.connect(url).await })
        };
        let first = connect();
        let mut raw = raw_link(&socket).await?;
        answer(&mut raw, 1).await?;
        let first = first.await??.0;
        let second = connect();
        answer(&mut raw, 3).await?;
        let second = second.await??.0;

        raw.send(SETTINGS, 0, 0, &limit(1)).await?;
        until(&client, |origin| origin.limit == Some(1)).await;
        let third = connect();
        until(&client, |origin| origin.waiting == 1).await;
        first.reset(h2conn::Reason::CANCEL);
        raw.wait_for(RST_STREAM, 1).await?;
        until(&client, |origin| origin.conns() == 1).await;
        ensure!(origin(&client).is_some_and(|origin| origin.waiting == 1), "one is one too many");

        raw.send(SETTINGS, 0, 0, &limit(0)).await?;
        until(&client, |origin| origin.limit == Some(0)).await;
        second.reset(h2conn::Reason::CANCEL);
        until(&client, |origin| origin.conns() == 0).await;
        ensure!(origin(&client).is_some_and(|origin| origin.waiting == 1), "there is no room");
        raw.send(SETTINGS, 0, 0, &limit(1)).await?;
        answer(&mut raw, 5).await?;
        third.await??;
        Ok(())
    })
}

#[test]
fn a_server_that_takes_no_streams_is_not_given_links_in_vain() -> TestResult {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let site = Site::cleartext(socket.local_addr()?);
        let short = Duration::from_secs(1);
        let client = site.client_builder().connect_timeout(short).build()?;
        let connecting = tokio::spawn({
            let (client, url) = (client.clone(), site.url("/"));
            async move { client.connect(url).await }
        });
        let mut raw = raw_link(&socket).await?;
        raw.wait_for(HEADERS, 1).await?;
        raw.send(SETTINGS, 0, 0, &limit(0)).await?;
        until(&client, |origin| origin.limit == Some(0)).await;
        raw.send(RST_STREAM, 0, 1, &7_u32.to_be_bytes()).await?;
        // The client tries again over another link, whose server then sends the same limit.
        let mut raw = raw_link(&socket).await?;
        answer(&mut raw, 1).await?;
        raw.send(SETTINGS, 0, 0, &limit(0)).await?;
        let conn = connecting.await??.0;
        until(&client, |origin| origin.limit == Some(0)).await;
        let error = client.connect(site.url("/")).await.expect_err("there is no room");
        ensure!(error.to_string().contains("the server's limit of 0 streams"), "{error}");
        drop(conn);
        ensure!(client.stats().dials == 2, "{:?}", client.stats());
        Ok(())
    })
}

#[test]
fn a_refused_request_is_sent_again_over_another_link_and_the_link_is_kept() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let url = site.url("/");
        let (kept, server) = tokio::join!(client.connect(&url), accept(&mut listener));
        let (kept, _server) = (kept?.0, server?);
        let serving = tokio::spawn(async move {
            drop(listener.accept().await.context("the first try")?);
            let second = accept(&mut listener).await?;
            TestResult::Ok((second, listener))
        });
        let retried = client.connect(&url).await?.0;
        let (_second, mut listener) = serving.await??;
        ensure!(link(&retried) != link(&kept), "another link");
        let stats = client.stats();
        ensure!((stats.refused, stats.retries, stats.dials) == (1, 1, 2), "{stats:?}");
        // The next connection uses the link on which nothing was refused.
        let (next, server) = tokio::join!(client.connect(&url), accept(&mut listener));
        ensure!(link(&next?.0) == link(&retried), "to the link that refuses nobody");
        server?;
        ensure!(origin(&client).is_some_and(|origin| origin.links_open() == 2));
        Ok(())
    })
}

#[test]
fn conns_are_spread_over_as_many_links_as_wanted() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 10).await?;
        let client = site.client_builder().link_policy(LinkPolicy::Spread(4)).build()?;
        let mut conns = Vec::new();
        for _ in 0..12 {
            conns.push(client.connect(site.url("/")).await?.0);
        }
        let links = by_link(&conns);
        ensure!(links.len() == 4 && links.values().all(|n| *n == 3), "{links:?}");
        // Beyond the capacity of these links, the client opens more.
        conns.extend(crowd(&client, &site, 38).await?);
        let links = by_link(&conns);
        ensure!(links.len() == 5 && links.values().all(|n| *n == 10), "{links:?}");
        Ok(())
    })
}

#[test]
fn an_exclusive_link_ends_with_its_conn() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 10).await?;
        let builder = site.client_builder().link_policy(LinkPolicy::Exclusive);
        let client = builder.max_links_per_origin(2).build()?;
        let conns = crowd(&client, &site, 20).await?;
        ensure!(by_link(&conns).len() == 20, "{:?}", by_link(&conns));
        let stats = origin(&client).context("the origin")?;
        ensure!((stats.links.len(), stats.links_going_away()) == (20, 0), "{stats:?}");
        for conn in conns {
            check_echo(conn, &noise(10_000, 1)).await?;
        }
        none_alive().await;
        ensure!(client.stats().origins.is_empty(), "{:?}", client.stats());
        let conn = client.connect(site.url("/")).await?.0;
        conn.close().await?;
        // The client also waits for the link of a connection that was dropped.
        drop(client.connect(site.url("/")).await?);
        client.close().await?;
        Ok(())
    })
}

#[test]
fn knobs_that_cannot_be_are_refused() {
    let site = Site::cleartext("127.0.0.1:1".parse().expect("an address"));
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    for (builder, knob) in [
        (site.client_builder().max_links_per_origin(0), "max_links_per_origin"),
        (site.client_builder().link_policy(LinkPolicy::Spread(0)), "link_policy"),
        (site.client_builder().link_policy(LinkPolicy::Spread(101)), "link_policy"),
        (site.client_builder().link_idle_timeout(year), "link_idle_timeout"),
        (site.client_builder().max_link_age(year), "max_link_age"),
    ] {
        let error = builder.build().expect_err(knob);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(knob), "{error}");
    }
}

/// The first TCP connection is reset, the others are served.
#[test]
fn the_failed_dial_of_one_is_not_the_failure_of_those_who_wait_for_it() -> TestResult {
    run(async {
        let tries = Arc::new(AtomicUsize::new(0));
        let site = Site::cleartext(
            tcp_server(move |stream| {
                let first = tries.fetch_add(1, SeqCst) == 0;
                async move {
                    if first {
                        return Ok(());
                    }
                    h2_echo(stream).await
                }
            })
            .await?,
        );
        let client = site.client()?;
        let mut connecting = JoinSet::new();
        for _ in 0..50 {
            let (client, url) = (client.clone(), site.url("/"));
            connecting.spawn(async move { client.connect(url).await });
        }
        let (mut conns, mut failed) = (Vec::new(), 0);
        while let Some(conn) = connecting.join_next().await {
            match conn? {
                Ok((conn, _)) => conns.push(conn),
                Err(_) => failed += 1,
            }
        }
        ensure!(failed <= 1, "{failed} failed");
        ensure!(by_link(&conns).len() == 1, "{:?}", by_link(&conns));
        Ok(())
    })
}

#[test]
fn what_is_dropped_while_it_connects_leaves_nothing() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 10).await?;
        let client = site.client_builder().max_links_per_origin(4).build()?;
        for round in 0..50 {
            let mut connecting = JoinSet::new();
            for number in 0..100 {
                let (client, url) = (client.clone(), site.url("/"));
                connecting.spawn(async move {
                    let connecting = client.connect(url);
                    tokio::pin!(connecting);
                    // Polls this many times, and then drops the future.
                    for _ in 0..(number * 7 + round) % 60 {
                        tokio::select! {
                            biased;
                            _ = &mut connecting => return,
                            () = tokio::task::yield_now() => {}
                        }
                    }
                });
            }
            while let Some(dropped) = connecting.join_next().await {
                dropped?;
            }
            // A few connections at once still find their places.
            for conn in crowd(&client, &site, 5).await? {
                conn.reset(h2conn::Reason::CANCEL);
            }
        }
        until(&client, |origin| origin.conns() == 0).await;
        let stats = origin(&client).context("its links stay")?;
        ensure!((stats.waiting, stats.dialing) == (0, 0), "{stats:?}");
        ensure!(stats.links.len() <= 4, "{stats:?}");
        client.close().await?;
        Ok(())
    })
}
