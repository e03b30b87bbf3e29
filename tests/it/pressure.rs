//! A lack of resources: windows, buffers, time, or the transport itself.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::testing::{Pair, pair};
use h2conn::{Client, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::checked;
use crate::support::raw::{self, DATA, END_STREAM, HEADERS, OK, Raw};

#[tokio::test]
async fn what_a_broken_transport_has_not_taken_is_never_said_to_be_sent() -> Result<()> {
    checked(30, async {
        for half_closed in [false, true] {
            let (client_io, server_io) = duplex(4096);
            let client = Client::builder().build_over(client_io).await?;
            let conn = client.open("http://raw/").await?;
            let mut raw = Raw::server(server_io).await?;
            raw.wait_for(HEADERS, 1).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, OK).await?;
            if half_closed {
                raw.send(DATA, END_STREAM, 1, &[]).await?;
                ensure!((&conn).read(&mut [0; 1]).await? == 0);
            }
            // Less than the window that every peer has, and more than the pipe takes.
            (&conn).write_all(&[1; 50_000]).await?;
            let finishing = timeout(Duration::from_millis(50), (&conn).shutdown()).await;
            ensure!(finishing.is_err(), "50,000 bytes in a pipe of 4,096");
            drop(raw);
            ensure!(conn.sent().await.is_err());
            ensure!((&conn).shutdown().await.is_err());
            ensure!(conn.closed().await.is_err() && conn.close().await.is_err());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_conn_that_only_its_peer_has_ended_is_not_over_well_when_the_transport_goes() -> Result<()>
{
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let conn = client.open("http://raw/").await?;
        let mut raw = Raw::server(server_io).await?;
        raw.wait_for(HEADERS, 1).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, OK).await?;
        raw.send(DATA, END_STREAM, 1, b"all").await?;
        drop(raw);
        let mut got = Vec::new();
        (&conn).read_to_end(&mut got).await?;
        ensure!(got == b"all");
        let error = conn.closed().await.err().context("this side had not ended")?;
        ensure!(error.kind() == h2conn::ErrorKind::Closed, "{error}");
        let error = (&conn).write(b"x").await.err().context("the transport is gone")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_the_peer_resets_before_it_is_written_is_never_said_to_be_sent() -> Result<()> {
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let conn = client.open("http://raw/").await?;
        let mut raw = Raw::server(server_io).await?;
        raw.wait_for(HEADERS, 1).await?;
        let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
        all.extend(raw::frame(DATA, END_STREAM, 1, &[]));
        all.extend(raw::frame(raw::RST_STREAM, 0, 1, &[0; 4]));
        // There is no yield in between: the link finds the bytes, their end and the reset in one
        // turn, and it reads before it writes.
        (&conn).write_all(&[1; 1_000]).await?;
        raw.io.write_all(&all).await?;
        ensure!((&conn).shutdown().await.is_err());
        ensure!(conn.sent().await.is_err() && conn.close().await.is_err());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_flush_succeeds_when_everything_was_sent_before_the_end_and_fails_otherwise() -> Result<()>
{
    checked(30, async {
        for (shut, gone) in [(true, false), (true, true), (false, false), (false, true)] {
            let (client_io, server_io) = duplex(1 << 20);
            let client = Client::builder().build_over(client_io).await?;
            let conn = client.open("http://raw/").await?;
            let mut raw = Raw::server(server_io).await?;
            raw.wait_for(HEADERS, 1).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, OK).await?;
            (&conn).write_all(b"all").await?;
            if shut {
                (&conn).shutdown().await?;
            } else {
                conn.sent().await?;
            }
            raw.wait_for(DATA, 1).await?;
            if gone {
                drop(raw);
            } else {
                raw.send(raw::RST_STREAM, 0, 1, &[0; 4]).await?;
            }
            let error = (&conn).read(&mut [0; 1]).await.err().context("the peer did not end")?;
            ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
            (&conn).flush().await.with_context(|| format!("shut {shut}, gone {gone}"))?;
            let error = (&conn).write(b"x").await.err().context("nobody hears it")?;
            ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        }

        let (client_io, server_io) = duplex(4096);
        let client = Client::builder().build_over(client_io).await?;
        let conn = client.open("http://raw/").await?;
        let mut raw = Raw::server(server_io).await?;
        raw.wait_for(HEADERS, 1).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, OK).await?;
        (&conn).write_all(&[1; 50_000]).await?;
        (&conn).flush().await?;
        drop(raw);
        let error = (&conn).read(&mut [0; 1]).await.err().context("the peer did not end")?;
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        let error = (&conn).flush().await.err().context("50,000 bytes in a pipe of 4,096")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_conn_goes_on_after_a_crowd_has_made_its_window_small() -> Result<()> {
    checked(60, async {
        let mut links = Pair::new().await?;
        let (client, server) = links.open().await?;
        // All bytes are read, but not all of their window has been given back.
        (&client).write_all(&[1; 300 << 10]).await?;
        (&server).read_exact(&mut vec![0; 300 << 10]).await?;
        let mut crowd = Vec::new();
        for _ in 0..400 {
            crowd.push(links.open().await?);
        }
        let reader = tokio::spawn(async move {
            let mut rest = Vec::new();
            (&server).read_to_end(&mut rest).await.map(|_| rest.len())
        });
        (&client).write_all(&vec![2; 4 << 20]).await?;
        (&client).shutdown().await?;
        ensure!(reader.await?? == 4 << 20);
        drop(crowd);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn streams_that_a_smaller_window_has_stopped_do_not_stop_the_others() -> Result<()> {
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let mut raw = Raw::server(server_io).await?;
        let mut conns = Vec::new();
        for _ in 0..9 {
            conns.push(client.open("http://raw/").await?);
        }
        raw.wait_for(HEADERS, 17).await?;
        // The link has enough room. Only the windows of the streams stop them.
        raw.send(raw::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await?;
        let (ping, pinged) = tokio::join!(conns[8].ping(), raw.wait_for(raw::PING, 0));
        ping?;
        pinged?;
        // There is no yield from here on: the link already has the bytes when it gets the SETTINGS.
        for conn in &conns[..8] {
            (conn).write_chunk(vec![1; 65_535].into()).await?;
        }
        // INITIAL_WINDOW_SIZE of 0: bytes that have not left by now stay.
        raw.send(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await?;
        for conn in &conns[..8] {
            (conn).write_chunk(vec![1; 65_535].into()).await?;
        }
        raw.send(raw::WINDOW_UPDATE, 0, 17, &100_000_u32.to_be_bytes()).await?;
        (&conns[8]).write_all(b"through").await?;
        ensure!(raw.wait_for(DATA, 17).await?.payload == b"through");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_thousand_requests_with_long_heads_over_a_narrow_pipe_do_not_end_the_link() -> Result<()>
{
    checked(60, async {
        let (client_io, server_io) = duplex(4096);
        let server = tokio::spawn(async move {
            let mut link = h2::server::handshake(server_io).await?;
            let mut answers = Vec::new();
            while let Some(arrival) = link.accept().await {
                let (_, mut respond) = arrival?;
                answers.push(respond.send_response(http::Response::new(()), false)?);
                if answers.len() == 1_000 {
                    break;
                }
            }
            // Drives the link until the client has gone.
            while link.accept().await.is_some() {}
            Ok::<_, h2::Error>(answers.len())
        });
        let token = "t".repeat(1_000);
        let client = Client::builder().header("authorization", token).build_over(client_io).await?;
        let mut conns = Vec::new();
        for _ in 0..1_000 {
            conns.push(client.open("http://raw/").await?);
        }
        for conn in &conns {
            conn.response().await?;
        }
        drop((conns, client));
        ensure!(server.await?? == 1_000);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deadline_that_is_set_before_each_read_takes_hold_when_nothing_comes() -> Result<()> {
    checked(30, async {
        // A task may do 128 operations before it must yield. Any of them may be the last.
        for bytes in 110..140 {
            let (client, server) = pair().await?;
            (&client).write_all(&vec![7; bytes]).await?;
            client.ping().await?;
            client.ping().await?;
            let mut got = 0;
            let error = loop {
                server.set_read_deadline(Some(Instant::now() + Duration::from_millis(50)));
                match (&server).read(&mut [0; 1]).await {
                    Ok(n) => got += n,
                    Err(error) => break error,
                }
            };
            ensure!(error.kind() == io::ErrorKind::TimedOut && got == bytes, "{got}: {error}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_client_that_has_written_and_gone_is_heard_when_it_is_accepted_late() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let client = Client::builder().linger_timeout(Duration::from_secs(1)).build()?;
        let conn = client.open(format!("http://{}/", listener.local_addr())).await?;
        (&conn).write_all(b"remember me").await?;
        drop(conn);
        client.close().await?;
        let conn = listener.accept().await.context("it was there")?.accept()?;
        let mut got = Vec::new();
        (&conn).read_to_end(&mut got).await?;
        ensure!(got == b"remember me");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hundred_tasks_can_wait_for_the_same_drain() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let client = Client::new()?;
        let url = format!("http://{}/", listener.local_addr());
        let mut handlers = JoinSet::new();
        let mut conns = Vec::new();
        for _ in 0..100 {
            conns.push(client.open(&url).await?);
            let conn = listener.accept().await.context("a conn")?.accept()?;
            handlers.spawn(async move {
                conn.draining().await;
                conn.close().await
            });
        }
        for conn in &conns {
            conn.response().await?;
        }
        let draining = tokio::spawn(listener.drain(Duration::from_secs(20)));
        for conn in &conns {
            conn.close().await?;
        }
        for result in handlers.join_all().await {
            result?;
        }
        ensure!(draining.await?, "all ended by themselves");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_link_that_has_ended_is_not_kept_by_a_peer_that_takes_nothing() -> Result<()> {
    checked(60, async {
        for breaks_the_rules in [false, true] {
            let (client_io, server_io) = duplex(100);
            let client = Client::builder().build_over(client_io).await?;
            let conn = client.open("http://raw/").await?;
            let mut raw = Raw::server(server_io).await?;
            raw.wait_for(HEADERS, 1).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, OK).await?;
            (&conn).write_all(&[1; 10_000]).await?;
            if breaks_the_rules {
                raw.send(DATA, 0, 0, b"of no stream").await?;
            } else {
                raw.io.shutdown().await?;
            }
            ensure!(conn.closed().await.is_err());
            // The link's last frames stay in the pipe, which `raw` holds.
            ensure!(conn.ping().await.is_err());
            ensure!(client.open("http://raw/").await.is_err(), "a client that is of no more use");
            drop(raw);
        }
        Ok(())
    })
    .await
}
