//! `accept` inside a stock hyper server. The connection test (`nettest.rs`) runs on it too.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{Method, Request, StatusCode};
use h2conn::{Acceptor, Conn, ErrorKind, OnDrop, Reason, accept};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::framework::{Host, hyper_server};
use crate::support::raw::{self, DATA, END_STREAM, HEADERS, REQUEST, RST_STREAM, Raw};
use crate::support::{
    Over, TestResult, check_echo, check_many, check_turns, echo, noise, ours, run,
};

/// More than any window on the path.
const MUCH: usize = 3 << 20;

fn acceptor() -> h2conn::Result<Acceptor> {
    Acceptor::builder().build()
}

async fn read_all(mut conn: &Conn) -> (Vec<u8>, Option<io::Error>) {
    let mut got = Vec::new();
    let error = conn.read_to_end(&mut got).await.err();
    (got, error)
}

#[test]
fn conns_of_our_client_are_accepted_inside_hyper() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = hyper_server(over, acceptor()?, echo).await?;
            check_turns(&site).await.with_context(|| format!("in turns over {over:?}"))?;
            let conn = site.connect().await?;
            check_echo(conn, &noise(MUCH, 1)).await.with_context(|| format!("bulk, {over:?}"))?;
            check_many(&site).await.with_context(|| format!("many over {over:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn the_response_comes_before_anything_is_written_and_carries_what_the_acceptor_sets() -> TestResult
{
    run(async {
        let acceptor = Acceptor::builder().status(StatusCode::ACCEPTED).header("x-room", "7");
        let site = hyper_server(Over::Cleartext, acceptor.build()?, |conn: Conn| async move {
            let head = conn.response().await?;
            assert_eq!(head.status(), StatusCode::ACCEPTED);
            assert_eq!((conn.method(), conn.uri().path()), (&Method::POST, "/room"));
            echo(conn).await
        })
        .await?;
        let (conn, response) = site.client()?.connect(site.url("/room")).await?;
        ensure!(response.status() == StatusCode::ACCEPTED);
        ensure!(response.headers()["x-room"] == "7");
        check_echo(conn, b"hello").await
    })
}

#[test]
fn half_close_goes_both_ways() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for swapped in [false, true] {
                let (client, server) = Host::Hyper.pair(over).await?;
                let (one, other) = if swapped { (server, client) } else { (client, server) };
                (&one).write_all(b"question").await?;
                (&one).shutdown().await?;
                let error = (&one).write(b"more").await.err().context("it was shut down")?;
                ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
                ensure!(read_all(&other).await.0 == b"question");
                for _ in 0..3 {
                    (&other).write_all(b"answer").await?;
                    (&one).read_exact(&mut [0; 6]).await?;
                }
                (&other).shutdown().await?;
                ensure!((&one).read(&mut [0; 1]).await? == 0);
                one.closed().await?;
                other.closed().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn resets_arrive_with_their_reason_and_are_no_end_of_file() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (client, server) = Host::Hyper.pair(over).await?;
            (&server).write_all(b"before").await?;
            (&client).read_exact(&mut [0; 6]).await?;
            server.reset(Reason::from_code(0xbeef));
            let (_, error) = read_all(&client).await;
            let error = error.context("a reset is no end of file")?;
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error}");
            ensure!(ours(&error).reason() == Some(Reason::from_code(0xbeef)), "{error}");
            let error = server.closed().await.err().context("it was reset here")?;
            ensure!(error.kind() == ErrorKind::Aborted, "{error}");

            let (client, server) = Host::Hyper.pair(over).await?;
            (&client).write_all(b"before").await?;
            client.sent().await?;
            (&server).read_exact(&mut [0; 6]).await?;
            client.reset(Reason::ENHANCE_YOUR_CALM);
            for _ in 0..2 {
                let error = (&server).read(&mut [0; 1]).await.err().context("it was reset")?;
                ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error}");
                ensure!(ours(&error).reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error}");
            }
            let error = (&server).write_all(b"x").await.err().context("it was reset")?;
            ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error}");
            ensure!(server.closed().await.is_err());
        }
        Ok(())
    })
}

#[test]
fn a_client_that_vanishes_is_no_end_of_file() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        raw.send(DATA, 0, 1, b"half a mess").await?;
        let server = conns.recv().await.context("the server's end")?;
        // When hyper fails to write its response, it reads nothing more, not even bytes that have
        // arrived.
        let mut got = [0; 11];
        (&server).read_exact(&mut got).await?;
        ensure!(&got == b"half a mess");
        drop(raw);
        let error = (&server).read(&mut got).await.err().context("it was cut")?;
        ensure!(
            [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&error.kind()),
            "{error}"
        );
        ensure!((&server).write_all(&vec![0; MUCH]).await.is_err());
        Ok(())
    })
}

/// Only a reset with NO_ERROR looks like the end of the request's body to hyper.
#[test]
fn a_reset_with_no_error_is_not_taken_for_the_end() -> TestResult {
    run(async {
        let (client, server) = Host::Hyper.pair(Over::Cleartext).await?;
        (&client).write_all(b"before").await?;
        client.sent().await?;
        (&server).read_exact(&mut [0; 6]).await?;
        client.reset(Reason::NO_ERROR);
        let error = (&server).read(&mut [0; 1]).await.err().context("no end of file")?;
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        Ok(())
    })
}

#[test]
fn a_reset_after_the_end_leaves_the_reader_at_the_end_and_fails_the_writer() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let mut raw = Raw::client(TcpStream::connect(site.addr).await?).await?;
        raw.send(HEADERS, raw::END_HEADERS, 1, REQUEST).await?;
        raw.send(DATA, END_STREAM, 1, b"all").await?;
        let server = conns.recv().await.context("the server's end")?;
        ensure!(read_all(&server).await.0 == b"all");
        raw.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await?;
        ensure!(server.closed().await.is_err());
        let (got, error) = read_all(&server).await;
        ensure!(got.is_empty() && error.is_none(), "the end stays: {error:?}");
        let error = (&server).write_all(b"x").await.err().context("it was reset")?;
        ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{error}");
        Ok(())
    })
}

#[test]
fn a_reset_is_known_though_what_came_before_it_is_not_read() -> TestResult {
    run(async {
        for host in Host::OF_ACCEPT {
            let (client, server) = host.pair(Over::Cleartext).await?;
            // More than hyper takes of the request's body before the handler reads.
            (&client).write_all(&[7; 300 << 10]).await?;
            client.sent().await?;
            client.reset(Reason::CANCEL);
            ensure!(server.closed().await.is_err());
            let (got, error) = read_all(&server).await;
            ensure!(got == [7; 300 << 10], "{host:?}: {} bytes", got.len());
            let error = error.context("it was reset")?;
            ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{host:?}: {error}");
        }
        Ok(())
    })
}

#[test]
fn a_handler_that_drops_its_conn_ends_it_well_or_resets_it_as_it_is_set() -> TestResult {
    run(async {
        let dropping = |conn: Conn| async move {
            (&conn).write_all(b"bye").await?;
            Ok(())
        };
        let site = hyper_server(Over::Cleartext, acceptor()?, dropping).await?;
        let (got, error) = read_all(&site.connect().await?).await;
        ensure!(got == b"bye" && error.is_none(), "{error:?}");

        let resets = Acceptor::builder().on_drop(OnDrop::Reset).build()?;
        let site = hyper_server(Over::Cleartext, resets, dropping).await?;
        // The reset may overtake the response.
        let conn = site.client()?.open(site.url("/")).await?;
        let (_, error) = read_all(&conn).await;
        let error = error.context("it was reset")?;
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
        Ok(())
    })
}

#[test]
fn a_response_that_the_program_drops_fails_the_conn() -> TestResult {
    run(async {
        let request = Request::post("/").version(h2conn::http::Version::HTTP_2);
        let body = Full::new(Bytes::from_static(b"question"));
        let (mut conn, response) = accept(request.body(body)?)?;
        let mut got = String::new();
        drop(response);
        let error = conn.closed().await.err().context("nobody takes what is written")?;
        ensure!(error.kind() == ErrorKind::Reset, "{error}");
        conn.read_to_string(&mut got).await?;
        ensure!(got == "question", "what had come is there");
        ensure!(conn.write_all(b"x").await.is_err());
        Ok(())
    })
}

/// How many bytes a writer can write while its peer does not read.
async fn taken_at_most(mut conn: &Conn) -> usize {
    let mut taken = 0;
    let limit = Duration::from_millis(500);
    while tokio::time::timeout(limit, conn.write_all(&[7; 64 << 10])).await.is_ok() {
        taken += 64 << 10;
    }
    taken
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_holds_little() -> TestResult {
    run(async {
        let (client, server) = Host::Hyper.pair(Over::Cleartext).await?;
        for conn in [&client, &server] {
            // This side's queue, hyper's window or its queue, the inbox, and some smaller buffers.
            let taken = taken_at_most(conn).await;
            ensure!((512 << 10..4 << 20).contains(&taken), "{taken} bytes were taken");
        }
        client.reset(Reason::CANCEL);
        Ok(())
    })
}
