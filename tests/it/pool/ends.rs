//! The events that end a link, and connections that start in the meantime.

use h2conn::Reason;
use tokio::io::duplex;
use tokio::sync::mpsc;

use super::*;
use crate::support::raw::{DATA, END_HEADERS, END_STREAM, GOAWAY, REQUEST};
use crate::support::{LINGER, accept, checked, ours};

/// The moment at which the server of the first link sends GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Instead of SETTINGS.
    First,
    /// With its SETTINGS, before it has read a request.
    WithSettings,
    /// After it has read the request.
    AfterRequest,
    /// After it has answered.
    AfterResponse,
}

/// Plays the first link's server. The frames that the client sends after the GOAWAY are read to the
/// end.
async fn goes_away(stream: TcpStream, moment: Moment, last: u32, reason: u32) -> TestResult {
    let goaway = [last.to_be_bytes(), reason.to_be_bytes()].concat();
    if moment == Moment::First {
        let mut raw = Raw { io: stream };
        raw.send(GOAWAY, 0, 0, &goaway).await?;
        tokio::io::copy(&mut raw.io, &mut tokio::io::sink()).await?;
        return Ok(());
    }
    let mut raw = Raw::server(stream).await?;
    if moment == Moment::WithSettings {
        raw.send(GOAWAY, 0, 0, &goaway).await?;
    }
    raw.wait_for(HEADERS, 1).await?;
    if moment == Moment::AfterRequest {
        raw.send(GOAWAY, 0, 0, &goaway).await?;
    }
    if last >= 1 {
        raw.send(HEADERS, raw::END_HEADERS, 1, raw::OK).await?;
    }
    if moment == Moment::AfterResponse {
        raw.send(GOAWAY, 0, 0, &goaway).await?;
    }
    if reason == 0 && last >= 1 {
        // Its connection goes on.
        let data = raw.wait_for(raw::DATA, 1).await?;
        raw.send(raw::DATA, 0, 1, &data.payload).await?;
    } else if last >= 1 {
        // The server has sent its reason, and ends.
        return Ok(raw.io.shutdown().await?);
    }
    while raw.next().await?.is_some() {}
    Ok(())
}

/// A server that sends GOAWAY on its first link, and echoes on the others.
async fn site_that_goes_away(moment: Moment, last: u32, reason: u32) -> TestResult<Site> {
    let links = Arc::new(AtomicUsize::new(0));
    let addr = tcp_server(move |stream| {
        let first = links.fetch_add(1, SeqCst) == 0;
        async move {
            match first {
                true => goes_away(stream, moment, last, reason).await,
                false => h2_echo(stream).await,
            }
        }
    });
    Ok(Site::cleartext(addr.await?))
}

#[test]
fn whoever_meets_a_goaway_is_served_by_another_link_where_that_is_safe() -> TestResult {
    const ALL: u32 = (1 << 31) - 1;
    const NO_ERROR: u32 = 0;
    const INTERNAL_ERROR: u32 = 2;
    const CALM: u32 = 11;
    run(async {
        // The request was not processed, whatever the reason, so it is sent again.
        for moment in [Moment::WithSettings, Moment::AfterRequest] {
            for reason in [NO_ERROR, INTERNAL_ERROR, CALM] {
                let site = site_that_goes_away(moment, 0, reason).await?;
                let client = site.client()?;
                let case = || format!("{moment:?}, {reason}");
                let conn = client.connect(site.url("/")).await.with_context(case)?.0;
                check_echo(conn, b"hello").await?;
                ensure!(client.stats().dials >= 2, "{}: {:?}", case(), client.stats());
            }
        }
        // This breaks the rules (RFC 9113 §3.4): the request is sent again, or the error says so.
        for reason in [NO_ERROR, INTERNAL_ERROR] {
            let site = site_that_goes_away(Moment::First, 0, reason).await?;
            let client = site.client()?;
            if let Err(error) = client.connect(site.url("/")).await {
                ensure!(error.kind() == ErrorKind::Unsupported, "{error:?}");
            }
            check_echo(client.connect(site.url("/")).await?.0, b"the next").await?;
        }
        // The request was processed: it goes on there, and the next one uses another link.
        for moment in [Moment::AfterRequest, Moment::AfterResponse] {
            for last in [1, ALL] {
                let site = site_that_goes_away(moment, last, NO_ERROR).await?;
                let client = site.client()?;
                let case = || format!("{moment:?}, {last}");
                let first = client.connect(site.url("/")).await.with_context(case)?.0;
                round_trip(&first, b"still here").await.with_context(case)?;
                first.draining().await;
                let second = client.connect(site.url("/")).await.with_context(case)?.0;
                ensure!(link(&second) != link(&first), "{}", case());
                check_echo(second, b"hello").await?;
                let stats = origin(&client).with_context(case)?;
                ensure!((stats.links_open(), stats.links_going_away()) == (1, 1), "{stats:?}");
            }
        }
        // The request may have been processed, and the link has ended: the user must know.
        let site = site_that_goes_away(Moment::AfterRequest, 1, INTERNAL_ERROR).await?;
        let client = site.client()?;
        let error = match client.connect(site.url("/")).await {
            Ok((mut conn, _)) => ours(&conn.read(&mut [0]).await.expect_err("it ended")).clone(),
            Err(error) => error,
        };
        ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
        ensure!(error.kind() == ErrorKind::Reset && !error.was_not_processed(), "{error:?}");
        check_echo(client.connect(site.url("/")).await?.0, b"the next").await?;
        let site = site_that_goes_away(Moment::AfterResponse, 1, CALM).await?;
        let client = site.client()?;
        let mut conn = client.connect(site.url("/")).await?.0;
        let error = conn.read(&mut [0]).await.expect_err("the link has ended");
        ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        check_echo(client.connect(site.url("/")).await?.0, b"the next").await?;
        Ok(())
    })
}

#[test]
fn those_who_wait_for_a_place_get_one_elsewhere_when_the_link_goes() -> TestResult {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let site = Site::cleartext(socket.local_addr()?);
        let client = site.client_builder().max_links_per_origin(1).build()?;
        let connect = || {
            let (client, url) = (client.clone(), site.url("/"));
            tokio::spawn(async move { client.connect(url).await })
        };
        for goes_well in [true, false] {
            let first = connect();
            let mut raw = raw_link(&socket).await?;
            raw.send(SETTINGS, 0, 0, &limit(1)).await?;
            answer(&mut raw, 1).await?;
            let first = first.await??.0;
            let waiting = [connect(), connect()];
            until(&client, |origin| origin.waiting == 2).await;
            if goes_well {
                raw.send(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await?;
            } else {
                drop(raw);
            }
            let mut other = raw_link(&socket).await?;
            other.send(SETTINGS, 0, 0, &limit(2)).await?;
            answer(&mut other, 1).await?;
            answer(&mut other, 3).await?;
            for conn in waiting {
                ensure!(link(&conn.await??.0) != link(&first));
            }
            drop(first);
            drop(other);
            while origin(&client).is_some_and(|origin| origin.links_open() > 0) {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    })
}

#[test]
fn a_link_without_conns_ends_and_one_with_conns_stays() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 10).await?;
        let short = Duration::from_millis(20);
        let client = site.client_builder().link_idle_timeout(short).build()?;
        check_echo(client.connect(site.url("/")).await?.0, b"hello").await?;
        none_alive().await;

        let conn = client.connect(site.url("/")).await?.0;
        tokio::time::sleep(5 * short).await;
        round_trip(&conn, b"still here").await?;
        ensure!(client.stats().dials == 2, "{:?}", client.stats());
        conn.close().await?;
        drop(conn);
        none_alive().await;
        Ok(())
    })
}

#[test]
fn no_conn_is_lost_to_a_link_that_ends_because_it_was_idle() -> TestResult {
    run(async {
        let site = echo_with(Over::Cleartext, 10).await?;
        for timeout in [Duration::ZERO, Duration::from_millis(1)] {
            let client = site.client_builder().link_idle_timeout(timeout).build()?;
            let mut users = JoinSet::new();
            for number in 0..4_u64 {
                let (client, url) = (client.clone(), site.url("/"));
                users.spawn(async move {
                    for round in 0..150 {
                        // `open` does not try again.
                        let conn = client.open(&url).await?;
                        round_trip(&conn, b"hello").await.with_context(|| format!("{round}"))?;
                        conn.close().await?;
                        // Sometimes wait about as long as a link may be idle.
                        let pause = (round * 37 + number * 11) % 5;
                        tokio::time::sleep(Duration::from_micros(500 * pause)).await;
                    }
                    TestResult::Ok(())
                });
            }
            while let Some(user) = users.join_next().await {
                user??;
            }
            let stats = client.stats();
            ensure!(stats.dials > 1 && stats.refused == 0, "{stats:?}");
        }
        Ok(())
    })
}

#[test]
fn an_old_link_takes_no_more_conns_and_ends_with_those_that_it_has() -> TestResult {
    run(async {
        let age = Duration::from_millis(100);
        // The age limit of the client, and then that of the server.
        for of_client in [true, false] {
            let mut builder = Listener::builder().linger_timeout(LINGER);
            if !of_client {
                builder = builder.max_link_age(age);
            }
            let (listener, site) = listen_with(Over::Cleartext, builder).await?;
            let (ended, mut ends) = mpsc::unbounded_channel();
            serve(listener, move |conn| {
                let ended = ended.clone();
                async move {
                    // Both ends of an old link are told.
                    tokio::select! {
                        () = conn.draining() => drop(ended.send(())),
                        // The client is told of its own age, and ends.
                        _ = conn.closed() => {}
                    }
                    echo(conn).await
                }
            });
            let builder = site.client_builder();
            let builder = if of_client { builder.max_link_age(age) } else { builder };
            let client = builder.build()?;
            let old = client.connect(site.url("/")).await?.0;
            old.draining().await;
            let new = client.connect(site.url("/")).await?.0;
            ensure!(link(&new) != link(&old));
            if !of_client {
                ends.recv().await.context("the server knows it too")?;
                check_echo(old, b"to its end").await?;
            }
        }
        Ok(())
    })
}

/// In memory, with a paused clock.
#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goaway_of_an_old_link_is_served_for_as_long_as_it_takes()
-> TestResult {
    let hour = Duration::from_secs(3600);
    checked(24 * 3600, async {
        let (client_io, server_io) = duplex(1 << 16);
        let mut listener = Listener::builder()
            .max_link_age(hour)
            .keep_alive_interval(None)
            .build_over(server_io)?;
        let mut raw = Raw::client(client_io).await?;
        raw.wait_for(GOAWAY, 0).await?;
        raw.send(HEADERS, END_HEADERS, 1, REQUEST).await?;
        let mut conn = accept(&mut listener).await?;
        raw.wait_for(HEADERS, 1).await?;
        for answer in [b"first", b"later"] {
            conn.write_all(answer).await?;
            ensure!(raw.wait_for(DATA, 1).await?.payload == answer);
            tokio::time::sleep(hour).await;
        }
        conn.shutdown().await?;
        raw.send(DATA, END_STREAM, 1, &[]).await?;
        conn.closed().await?;
        ensure!(listener.accept().await.is_none(), "and then the link ends");
        Ok(())
    })
    .await
}

/// The server's process dies with its runtime, and its clients reconnect.
#[test]
fn the_conns_after_a_dead_server_find_its_successor() -> TestResult {
    run(async {
        let runtime = tokio::runtime::Runtime::new()?;
        let site = runtime.spawn(echo_with(Over::Cleartext, 2)).await??;
        let client = site.client()?;
        let conns = crowd(&client, &site, 10).await?;
        ensure!(by_link(&conns).len() == 5);
        runtime.shutdown_background();
        for mut conn in conns {
            // Its handler may still have ended it in order.
            let _ = conn.read(&mut [0]).await;
        }
        serve(crate::support::successor(site.addr).await?, echo);
        for conn in crowd(&client, &site, 10).await? {
            check_echo(conn, b"hello again").await?;
        }
        // As many links as the dead server would have had, and no more.
        let stats = origin(&client).context("the origin")?;
        ensure!(stats.links_open() <= 5 && stats.limit == Some(4096), "{stats:?}");
        Ok(())
    })
}

/// A server that ends each link in good order, and never acknowledges that it has everything.
#[tokio::test(start_paused = true)]
async fn links_that_a_server_does_not_let_go_count_and_come_back() -> TestResult {
    for policy in [LinkPolicy::Shared, LinkPolicy::Exclusive] {
        checked(600, async {
            let (linked, mut links) = mpsc::unbounded_channel();
            let connect = move |_: h2conn::Destination| {
                let (near, far) = duplex(1 << 20);
                let sent = linked.send(far).map_err(std::io::Error::other);
                async move { sent.map(|()| near) }
            };
            let client = Client::builder()
                .connector(connect)
                .link_policy(policy)
                .max_links_per_origin(3)
                .connect_timeout(Duration::from_secs(5))
                .build()?;
            let mut held = Vec::new();
            for _ in 0..3 {
                let conn = client.open("http://raw/").await?;
                let mut raw = Raw::server(links.recv().await.context("a link")?).await?;
                raw.wait_for(HEADERS, 1).await?;
                (&conn).write_all(b"not acknowledged").await?;
                drop(conn);
                raw.wait_for(DATA, 1).await?;
                raw.send(HEADERS, END_HEADERS | END_STREAM, 1, raw::OK).await?;
                raw.send(GOAWAY, 0, 0, &[1_u32.to_be_bytes(), [0; 4]].concat()).await?;
                // It reads nothing more.
                held.push(raw);
                tokio::time::sleep(Duration::from_secs(11)).await;
            }
            let error = client.connect("http://raw/").await.err().context("no place")?;
            ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
            ensure!(error.to_string().contains("3 without connections wait"), "{error}");
            ensure!(links.try_recv().is_err(), "no other link was made");
            // The first one is silent for 45 s soon, and is given up.
            tokio::time::sleep(Duration::from_secs(10)).await;
            let conn = client.open("http://raw/").await?;
            links.recv().await.context("a link for it")?;
            drop(conn);
            Ok(())
        })
        .await?;
    }
    Ok(())
}
