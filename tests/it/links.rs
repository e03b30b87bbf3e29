//! Links that are shared, that come and go, and that end in order.

mod drain;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Client, Conn, ErrorKind, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::framework::Host;
use crate::support::{
    Over, Site, TestResult, accept, check_echo, echo, echo_server, listen, listen_with, noise,
    ours, port_of, run, serve, successor, within,
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// The local socket address, which identifies a link.
fn link(conn: &Conn) -> SocketAddr {
    conn.local_addr().socket_addr().expect("it goes over TCP")
}

/// Writes something, reads the echo, and leaves the connection open.
async fn round_trip(mut conn: &Conn, said: &str) -> TestResult {
    conn.write_all(said.as_bytes()).await?;
    let mut heard = vec![0; said.len()];
    conn.read_exact(&mut heard).await?;
    ensure!(heard == said.as_bytes(), "{heard:?}");
    Ok(())
}

/// A request that has arrived at the listener and waits for `accept`.
async fn arrived(client: &Client, site: &Site) -> TestResult<Conn> {
    let conn = client.open(site.url("/")).await?;
    // The answer to this PING comes after the request was taken in.
    conn.ping().await?;
    Ok(conn)
}

#[test]
fn a_client_uses_one_link_for_all_conns_to_an_origin() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            let site = host.echo(over).await?;
            let client = site.client()?;
            let first = client.connect(site.url("/a/b")).await?.0;
            let second = client.clone().connect(site.url("/a/b?c")).await?.0;
            let third = client.open(site.url("/a/d")).await?;
            ensure!(link(&first) == link(&second) && link(&second) == link(&third));
            ensure!(first.peer_addr().socket_addr() == Some(site.addr), "{:?}", first.peer_addr());
            round_trip(&first, "first").await?;
            round_trip(&second, "second").await?;
            round_trip(&third, "third").await?;
            // The link stays for later connections.
            for conn in [first, second, third] {
                conn.close().await?;
            }
            let before = client.connect(site.url("/")).await?.0;
            let after = client.connect(site.url("/")).await?.0;
            ensure!(link(&before) == link(&after));

            // Another client, and another origin, have links of their own.
            let other = site.connect().await?;
            ensure!(link(&other) != link(&before));
            let elsewhere = echo_server(Over::Cleartext).await?;
            let other = client.connect(elsewhere.url("/")).await?.0;
            ensure!(link(&other) != link(&before));
        }
        Ok(())
    })
}

#[test]
fn those_who_connect_at_the_same_time_share_the_link_that_is_being_made() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            let site = host.echo(over).await?;
            let client = site.client()?;
            let mut conns = JoinSet::new();
            for number in 0..200 {
                let (client, url) = (client.clone(), site.url("/"));
                conns.spawn(async move {
                    let conn = client.connect(url).await?.0;
                    let link = link(&conn);
                    check_echo(conn, &noise(2_000, number)).await?;
                    TestResult::Ok(link)
                });
            }
            let mut links = Vec::new();
            while let Some(link) = conns.join_next().await {
                links.push(link??);
            }
            links.sort();
            links.dedup();
            ensure!(links.len() == 1, "{links:?}");
        }
        Ok(())
    })
}

/// Regression: a command to a link whose driver was just running was overlooked until some timer
/// fired.
#[test]
fn conns_that_follow_at_once_do_not_wait_for_a_timer() -> TestResult {
    run(async {
        for _ in 0..500 {
            let site = echo_server(Over::Cleartext).await?;
            let client = site.client()?;
            let first = client.connect(site.url("/")).await?.0;
            let second = within(5, client.connect(site.url("/"))).await?.0;
            drop((first, second));
            within(5, client.close()).await?;
        }
        Ok(())
    })
}

#[test]
fn more_conns_than_the_peer_takes_at_once_wait_for_their_turn() -> TestResult {
    run(async {
        let builder = Listener::builder().max_conns_per_link(10);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counting = (Arc::clone(&now), Arc::clone(&most));
        serve(listener, move |conn| {
            let (now, most) = (Arc::clone(&counting.0), Arc::clone(&counting.1));
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let result = echo(conn).await;
                now.fetch_sub(1, SeqCst);
                result
            }
        });
        let client = site.client_builder().max_links_per_origin(1).build()?;
        let mut conns = JoinSet::new();
        for number in 0..100 {
            let (client, url) = (client.clone(), site.url("/"));
            conns.spawn(async move {
                let conn = client.connect(url).await?.0;
                check_echo(conn, &noise(1_000, number)).await
            });
        }
        while let Some(conn) = conns.join_next().await {
            conn??;
        }
        ensure!(most.load(SeqCst) <= 11, "{} at once", most.load(SeqCst));
        Ok(())
    })
}

#[test]
fn a_server_that_went_and_came_back_is_connected_to_anew() -> TestResult {
    run(async {
        for _ in 0..10 {
            let (listener, site) = listen(Over::Cleartext).await?;
            let (conns, mut accepted) = mpsc::channel(1);
            let server = tokio::spawn(async move {
                let mut listener = listener;
                let conn = accept(&mut listener).await?;
                conns.send(conn).await.ok().context("the test waits for it")?;
                // Reset everything at once.
                ensure!(!listener.drain(Duration::ZERO).await, "somebody was there");
                TestResult::Ok(())
            });
            let client = site.client()?;
            let mut first = client.connect(site.url("/")).await?.0;
            let held = accepted.recv().await.context("it was accepted")?;
            let error = first.read(&mut [0; 1]).await.expect_err("the server has gone");
            ensure!(ours(&error).kind() == ErrorKind::Reset, "{error:?}");
            server.await??;
            drop(held);

            serve(successor(site.addr).await?, echo);
            let second = client.connect(site.url("/")).await?.0;
            ensure!(link(&second) != link(&first), "a new link");
            round_trip(&second, "hello again").await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_died_and_came_back_is_connected_to_anew() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for round in 0..10 {
                // A separate runtime is the closest thing to a separate process. The server's end
                // outlives it here: if it were dropped with its task, it might still end in order.
                let runtime = tokio::runtime::Runtime::new()?;
                let (mut listener, site) = runtime.spawn(listen(over)).await??;
                let accepting = runtime.spawn(async move { accept(&mut listener).await });
                let client = site.client()?;
                let mut first = client.connect(site.url("/")).await?.0;
                let mut held = accepting.await??;
                runtime.shutdown_background();
                let error = first.read(&mut [0; 1]).await.expect_err("the server has died");
                ensure!(ours(&error).kind() == ErrorKind::Truncated, "{error:?}");
                let error = held.read(&mut [0; 1]).await.expect_err("its link has died");
                ensure!(ours(&error).kind() == ErrorKind::Aborted, "{error:?}");

                // A user that learns of the death connects again at once, and must not get the dead
                // link.
                if over == Over::Cleartext {
                    serve(successor(site.addr).await?, echo);
                    let connected = client.connect(site.url("/")).await;
                    let second = connected.with_context(|| format!("round {round}"))?.0;
                    ensure!(link(&second) != link(&first), "a new link");
                    round_trip(&second, "hello again").await?;
                } else {
                    // While the dead server's runtime goes, its socket can take a link and reset it.
                    let mut error =
                        client.connect(site.url("/")).await.expect_err("nobody is there");
                    while error.kind() == ErrorKind::Tls && !error.is_permanent() {
                        error = client.connect(site.url("/")).await.expect_err("nobody is there");
                    }
                    ensure!(error.kind() == ErrorKind::Connect, "round {round}: {error:?}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_closed_client_makes_no_more_conns_and_leaves_those_there_are_their_time() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        let client = site.client()?;
        let mut live = client.connect(site.url("/")).await?.0;
        let mut dropped = client.connect(site.url("/")).await?.0;
        dropped.write_all(&noise(100_000, 1)).await?;
        drop(dropped);
        let closing = client.close();
        let living = async {
            round_trip(&live, "while the client closes").await?;
            let error = client.connect(site.url("/")).await.expect_err("it is closed");
            ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
            live.shutdown().await?;
            ensure!(live.read(&mut [0; 1]).await? == 0, "the echo ends as well");
            TestResult::Ok(())
        };
        let (closed, lived) = tokio::join!(closing, living);
        closed?;
        lived
    })
}

#[test]
fn close_waits_for_what_an_earlier_one_has_begun_to_end() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (conn, server) = (conn?.0, server?);
        ensure!(timeout(Duration::from_millis(20), client.close()).await.is_err(), "it is open");
        let again = tokio::spawn({
            let client = client.clone();
            async move { client.close().await }
        });
        ensure!(timeout(Duration::from_millis(20), client.close()).await.is_err(), "and still is");
        ensure!(!again.is_finished());
        tokio::try_join!(conn.close(), server.close())?;
        within(5, again).await??;
        within(5, client.close()).await?;
        Ok(())
    })
}

#[test]
fn a_dropped_listener_refuses_those_that_nobody_has_accepted_and_keeps_the_others() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let (connected, accepted) =
            tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (live, server) = (connected?.0, accepted?);
        tokio::spawn(echo(server));
        let waiting = arrived(&client, &site).await?;
        drop(listener);
        let error = waiting.response().await.expect_err("it was refused");
        ensure!(error.kind() == ErrorKind::Refused && error.was_not_processed(), "{error:?}");
        check_echo(live, b"still here").await
    })
}

#[test]
fn a_refused_request_is_tried_again_a_few_times() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let serving = tokio::spawn(async move {
            drop(listener.accept().await.context("the first try")?);
            let conn = accept(&mut listener).await.context("the second try")?;
            echo(conn).await?;
            // This server refuses every attempt.
            let mut tries = 0;
            while let Some(incoming) = listener.accept().await {
                if incoming.uri().path() == "/done" {
                    break;
                }
                tries += 1;
            }
            TestResult::Ok(tries)
        });
        let client = site.client()?;
        check_echo(client.connect(site.url("/")).await?.0, b"hello").await?;
        let error = client.connect(site.url("/")).await.expect_err("it is refused each time");
        ensure!(error.kind() == ErrorKind::Refused && error.was_not_processed(), "{error:?}");
        let done = client.open(site.url("/done")).await?;
        ensure!(serving.await?? == 4, "the first try and three more");
        drop(done);
        Ok(())
    })
}

/// Two listeners share one socket: the successor takes over while the first one drains, and clients
/// that connect in the meantime notice nothing.
#[test]
fn a_rolling_restart_turns_nobody_away() -> TestResult {
    run(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let next = || -> TestResult<Listener> {
            let socket = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
            Ok(Listener::builder().listen(socket)?)
        };
        let mut listener = next()?;
        let site = Site::cleartext(port_of(&listener));
        let over = Arc::new(AtomicBool::new(false));

        let mut clients = JoinSet::new();
        for number in 0..4 {
            let (client, url, over) = (site.client()?, site.url("/"), Arc::clone(&over));
            clients.spawn(async move {
                let mut served = 0;
                while !over.load(SeqCst) {
                    let conn = client.connect(&url).await.context("connecting")?.0;
                    check_echo(conn, &noise(1_000, number)).await?;
                    served += 1;
                }
                TestResult::Ok(served)
            });
        }
        let rolling = async {
            for _ in 0..20 {
                // Each listener serves a few connections, then ends.
                for _ in 0..10 {
                    let conn = accept(&mut listener).await?;
                    tokio::spawn(echo(conn));
                }
                let old = std::mem::replace(&mut listener, next()?);
                ensure!(old.drain(LONG).await, "all ended by themselves");
            }
            TestResult::Ok(())
        };
        tokio::select! {
            rolled = rolling => rolled?,
            Some(client) = clients.join_next() => {
                client?.context("a client during the restarts")?;
            }
        }
        over.store(true, SeqCst);
        serve(listener, echo);
        while let Some(served) = clients.join_next().await {
            ensure!(served?? > 0);
        }
        Ok(())
    })
}
