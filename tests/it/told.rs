//! `draining` and `closed`: what they tell the user of a connection, over everything that can carry it. The handlers in the
//! rustdoc of both are tested here, word for word.

use std::future::pending;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{FutureExt, SinkExt, StreamExt};
use h2conn::tokio_util::codec::{Framed, LinesCodec};
use h2conn::{Acceptor, Client, Conn, ErrorKind, Listener, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::framework::{Host, hand_out, hyper_listen, hyper_server};
use crate::support::raw::{self, GOAWAY, HEADERS, PING, REQUEST, Raw};
use crate::support::websocket::{BOTH, open};
use crate::support::{LINGER, Over, TestResult, accept, listen, run};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Waits for the end of a connection, of which no drain may have been told.
async fn is_over_undrained(conn: &Conn) -> TestResult<h2conn::Result<()>> {
    let how = conn.closed().await;
    ensure!(conn.draining().now_or_never().is_none(), "a drain was told: {how:?}");
    Ok(how)
}

#[test]
fn an_end_in_order_and_a_reset_are_no_drain() -> TestResult {
    run(async {
        for host in Host::ALL {
            let (client, server) = host.pair(Over::Cleartext).await?;
            tokio::try_join!(client.close(), server.close())?;
            is_over_undrained(&client).await??;
            is_over_undrained(&server).await??;

            let (client, server) = host.pair(Over::Cleartext).await?;
            client.reset(Reason::CANCEL);
            ensure!(is_over_undrained(&client).await?.is_err());
            ensure!(is_over_undrained(&server).await?.is_err());

            let (client, server) = host.pair(Over::Cleartext).await?;
            server.reset(Reason::INTERNAL_ERROR);
            ensure!(is_over_undrained(&client).await?.is_err());
            ensure!(is_over_undrained(&server).await?.is_err());
        }
        Ok(())
    })
}

#[test]
fn a_network_that_fails_is_no_drain_at_either_end() -> TestResult {
    run(async {
        let ((near, mut a), (mut b, far)) = (duplex(1 << 16), duplex(1 << 16));
        let carrying = tokio::spawn(async move { copy_bidirectional(&mut a, &mut b).await });
        let mut listener = Listener::builder().build_over(far)?;
        let client = Client::builder().build_over(near).await?;
        let (opened, accepted) = tokio::join!(client.connect("http://x/"), accept(&mut listener));
        let (conn, server) = (opened?.0, accepted?);
        carrying.abort();
        for conn in [&conn, &server] {
            let error = is_over_undrained(conn).await?.err().context("it was cut")?;
            ensure!(error.kind() == ErrorKind::Truncated, "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_client_that_vanishes_is_gone_and_does_not_drain() -> TestResult {
    run(async {
        for host in Host::ALL {
            let (site, mut conns) = host.listen(Over::Cleartext).await?;
            let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
            let server = conns.recv().await.context("the server's end")?;
            drop(raw);
            ensure!(is_over_undrained(&server).await?.is_err(), "{host:?}");
        }
        Ok(())
    })
}

#[test]
fn a_websocket_that_ends_or_breaks_is_no_drain() -> TestResult {
    run(async {
        for by in BOTH {
            let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
            let mut socket = open(&site, by, "/").await?;
            let server = conns.recv().await.context("the server's end")?;
            socket.close(None).await?;
            server.close().await?;
            is_over_undrained(&server).await??;

            let socket = open(&site, by, "/").await?;
            let server = conns.recv().await.context("the server's end")?;
            drop(socket);
            ensure!(is_over_undrained(&server).await?.is_err(), "{by:?}");
        }
        Ok(())
    })
}

#[test]
fn a_goaway_with_an_error_is_no_drain_and_one_without_is() -> TestResult {
    run(async {
        for (reason, is_drain) in
            [(Reason::NO_ERROR, true), (Reason::INTERNAL_ERROR, false), (Reason::CANCEL, false)]
        {
            let (mut listener, site) = listen(Over::Cleartext).await?;
            let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
            raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
            let server = accept(&mut listener).await?;
            let goaway = [[0; 4], reason.code().to_be_bytes()].concat();
            raw.send(GOAWAY, 0, 0, &goaway).await?;
            // The answer shows that the GOAWAY was looked at.
            raw.send(PING, 0, 0, b"heard it").await?;
            loop {
                let frame = raw.next().await?.context("the link has ended")?;
                if frame.kind == PING && frame.payload == b"heard it" {
                    break;
                }
            }
            let told = server.draining().now_or_never().is_some();
            ensure!(told == is_drain, "{reason}: {told}");
            // The stream goes on in either case, until the client ends the transport.
            ensure!(server.closed().now_or_never().is_none(), "{reason}");
            drop(raw);
            ensure!(server.closed().await.is_err(), "{reason}");
            ensure!(server.draining().now_or_never().is_some() == is_drain, "{reason}");
        }
        Ok(())
    })
}

#[test]
fn a_drain_is_told_at_both_ends_and_stays_told_after_the_end() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let (conn, server) = tokio::join!(site.connect(), accept(&mut listener));
        let (conn, server) = (conn?, server?);
        let drain = tokio::spawn(listener.drain(LONG));
        conn.draining().await;
        server.draining().await;
        ensure!(conn.closed().now_or_never().is_none(), "it goes on");
        tokio::try_join!(conn.close(), server.close())?;
        conn.draining().await;
        server.draining().await;
        ensure!(drain.await?);

        let acceptor = Acceptor::builder().linger_timeout(LINGER).build()?;
        let (handler, mut conns) = hand_out();
        let site = hyper_server(Over::Cleartext, acceptor.clone(), handler).await?;
        let conn = site.connect().await?;
        let server = conns.recv().await.context("the server's end")?;
        let drain = tokio::spawn(async move { acceptor.drain(LONG).await });
        server.draining().await;
        ensure!(conn.draining().now_or_never().is_none(), "hyper's own shutdown tells the client");
        tokio::try_join!(conn.close(), server.close())?;
        server.draining().await;
        ensure!(drain.await?);
        Ok(())
    })
}

#[test]
fn a_drain_that_begins_after_the_end_is_not_told() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (over, over_here) = (conn?.0, server?);
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (conn, server) = (conn?.0, server?);
        over.reset(Reason::CANCEL);
        ensure!(over.closed().await.is_err() && over_here.closed().await.is_err());
        let drain = tokio::spawn(listener.drain(LONG));
        // These share the link, so it is known there.
        conn.draining().await;
        server.draining().await;
        ensure!(over.draining().now_or_never().is_none());
        ensure!(over_here.draining().now_or_never().is_none());
        tokio::try_join!(conn.close(), server.close())?;
        ensure!(drain.await?);
        Ok(())
    })
}

#[test]
fn a_client_that_is_closed_tells_its_conns() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client()?;
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (conn, server) = (conn?.0, server?);
        let closing = tokio::spawn(async move { client.close().await });
        conn.draining().await;
        ensure!(conn.closed().now_or_never().is_none(), "it goes on");
        tokio::try_join!(conn.close(), server.close())?;
        closing.await??;
        Ok(())
    })
}

const LAST_WORDS: &[u8] = b"the last words";

/// Waits until so many bytes wait to be read.
async fn have_come(conn: &Conn, bytes: u64) {
    while conn.stats().receive_queued < bytes {
        tokio::task::yield_now().await;
    }
}

/// The race of `closed` with messages, in its worst order.
#[test]
fn bytes_from_before_the_end_are_read_after_closed_has_told_of_it() -> TestResult {
    run(async {
        for host in Host::ALL {
            let (client, server) = host.pair(Over::Cleartext).await?;
            (&client).write_all(LAST_WORDS).await?;
            have_come(&server, LAST_WORDS.len() as u64).await;
            client.reset(Reason::CANCEL);
            ensure!(server.closed().await.is_err());
            let mut heard = Vec::new();
            let error = (&server).read_to_end(&mut heard).await.err().context("a reset")?;
            ensure!(heard == LAST_WORDS, "{host:?}: {heard:?}, {error}");
        }
        for by in BOTH {
            let (site, mut conns) = hyper_listen(Over::Cleartext).await?;
            let mut socket = open(&site, by, "/").await?;
            let server = conns.recv().await.context("the server's end")?;
            socket.send(Message::binary(LAST_WORDS)).await?;
            have_come(&server, LAST_WORDS.len() as u64).await;
            drop(socket);
            ensure!(server.closed().await.is_err());
            let mut heard = Vec::new();
            let error = (&server).read_to_end(&mut heard).await.err().context("it was cut")?;
            ensure!(heard == LAST_WORDS, "{by:?}: {heard:?}, {error}");
        }
        Ok(())
    })
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn answer(question: &str) -> String {
    question.to_uppercase()
}

async fn talk(conn: Conn) -> Result {
    let mut lines = Framed::new(&conn, LinesCodec::new_with_max_length(64 << 10));
    loop {
        tokio::select! {
            biased;
            () = conn.draining() => break,
            line = lines.next() => match line {
                Some(line) => lines.send(answer(&line?)).await?,
                // The client has said everything.
                None => return Ok(conn.close().await?),
            },
        }
    }
    // In the protocol of your own: the client hears it, finishes and shuts down its side.
    lines.send("goodbye").await?;
    // Lines that it has sent before it heard are still answered.
    while let Some(line) = lines.next().await {
        lines.send(answer(&line?)).await?;
    }
    Ok(conn.close().await?)
}

async fn work_out(question: String) -> String {
    if question == "the hardest" { pending().await } else { question }
}

async fn answer_questions(conn: Conn) -> Result {
    let mut lines = Framed::new(&conn, LinesCodec::new_with_max_length(64 << 10));
    while let Some(question) = lines.next().await {
        let answer = tokio::select! {
            answer = work_out(question?) => answer,
            // Nothing is read meanwhile, so no read would tell.
            how = conn.closed() => return Ok(how?),
        };
        lines.send(answer).await?;
    }
    conn.close().await?;
    Ok(())
}

/// The race of `draining` with messages, both of them there from the start.
#[test]
fn the_handler_of_the_docs_heeds_a_drain_before_messages_and_answers_them_all() -> TestResult {
    const LINES: usize = 1_000;
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let (conn, server) = tokio::join!(site.connect(), accept(&mut listener));
        let (conn, server) = (conn?, server?);
        let mut client = Framed::new(&conn, LinesCodec::new());
        for number in 0..LINES {
            client.feed(format!("line {number}")).await?;
        }
        SinkExt::<String>::flush(&mut client).await?;
        // All of them have come, and wait for the reader.
        have_come(&server, conn.stats().bytes_written).await;
        let drain = tokio::spawn(listener.drain(LONG));
        server.draining().await;
        let talking = tokio::spawn(talk(server));
        let first = client.next().await.context("the server's end")??;
        ensure!(first == "goodbye", "{first}");
        (&conn).shutdown().await?;
        for number in 0..LINES {
            let line = client.next().await.context("the server's end")??;
            ensure!(line == format!("LINE {number}"), "{line}");
        }
        ensure!(client.next().await.is_none());
        conn.close().await?;
        talking.await?.map_err(anyhow::Error::from_boxed)?;
        ensure!(drain.await?, "it has ended by itself");
        Ok(())
    })
}

#[test]
fn the_handler_of_the_docs_ends_with_its_client_where_there_is_no_drain() -> TestResult {
    run(async {
        let (conn, server) = Host::Listener.pair(Over::Cleartext).await?;
        let talking = tokio::spawn(talk(server));
        let mut client = Framed::new(&conn, LinesCodec::new());
        client.send("hello").await?;
        ensure!(client.next().await.context("an answer")?? == "HELLO");
        (&conn).shutdown().await?;
        ensure!(client.next().await.is_none());
        talking.await?.map_err(anyhow::Error::from_boxed)?;

        let (conn, server) = Host::Listener.pair(Over::Cleartext).await?;
        let talking = tokio::spawn(talk(server));
        conn.reset(Reason::CANCEL);
        ensure!(talking.await?.is_err(), "a client that is gone is told by the read");
        Ok(())
    })
}

#[test]
fn work_for_a_client_that_is_gone_ends_with_the_handler_of_the_docs() -> TestResult {
    run(async {
        let (conn, server) = Host::Listener.pair(Over::Cleartext).await?;
        let answering = tokio::spawn(answer_questions(server));
        let mut client = Framed::new(&conn, LinesCodec::new());
        client.send("easy").await?;
        ensure!(client.next().await.context("an answer")?? == "easy");
        client.send("the hardest").await?;
        conn.sent().await?;
        conn.reset(Reason::CANCEL);
        ensure!(answering.await?.is_err());
        Ok(())
    })
}

#[test]
fn the_handlers_of_the_rustdoc_are_those_that_are_tested() {
    let (code, docs) = (include_str!("told.rs"), include_str!("../../src/conn/close.rs"));
    let docs: Vec<_> =
        docs.lines().filter_map(|line| line.trim_start().strip_prefix("///")).collect();
    let docs = docs.iter().map(|line| line.strip_prefix(' ').unwrap_or(line));
    let docs: String = docs.flat_map(|line| [line, "\n"]).collect();
    for name in ["async fn talk(", "async fn answer_questions("] {
        let (_, rest) = code.split_once(&format!("\n{name}")).expect("it is above");
        let (body, _) = rest.split_once("\n}\n").expect("it has an end");
        assert!(docs.contains(&format!("{name}{body}\n}}\n")), "the rustdoc has another {name}…)");
    }
}
