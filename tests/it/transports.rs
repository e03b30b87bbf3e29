//! Transports that the program itself provides, at both ends.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Addr, Client, ErrorKind, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::support::{TestResult, accept, check_echo, echo, identity, noise, run, serve};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// A client and a listener over one pipe.
async fn both_ends() -> TestResult<(Client, Listener)> {
    let (client_io, server_io) = duplex(4096);
    let listener = Listener::builder().build_over(server_io)?;
    Ok((Client::builder().build_over(client_io).await?, listener))
}

#[test]
fn a_listener_over_a_transport_of_the_programs_own_serves_many_conns() -> TestResult {
    run(async {
        let (client, mut listener) = both_ends().await?;
        ensure!(*listener.local_addr() == Addr::Other);
        for number in 0..3 {
            let opened = client.open(format!("http://pipe/{number}")).await?;
            let incoming = listener.accept().await.context("the next conn")?;
            ensure!(incoming.uri().path() == format!("/{number}"), "{}", incoming.uri());
            ensure!(*incoming.peer_addr() == Addr::Other && *incoming.local_addr() == Addr::Other);
            let accepted = incoming.accept()?;
            // The server writes first and the client answers, and then the other way round.
            let said = noise(200_000, number);
            if number % 2 == 0 {
                let answering = tokio::spawn(echo(opened));
                check_echo(accepted, &said).await?;
                answering.await??;
            } else {
                let answering = tokio::spawn(echo(accepted));
                check_echo(opened, &said).await?;
                answering.await??;
            }
        }
        Ok(())
    })
}

#[test]
fn accept_gives_what_waits_and_then_none_when_the_transport_has_ended() -> TestResult {
    run(async {
        let (client, mut listener) = both_ends().await?;
        let mut conn = client.open("http://pipe/").await?;
        conn.write_all(b"all").await?;
        conn.shutdown().await?;
        // The answer to a PING comes after all of that.
        conn.ping().await?;
        drop(conn);
        drop(client);
        let mut last = accept(&mut listener).await?;
        let mut heard = Vec::new();
        last.read_to_end(&mut heard).await?;
        ensure!(heard == b"all");
        last.shutdown().await?;
        ensure!(listener.accept().await.is_none(), "the link has ended");
        ensure!(listener.accept().await.is_none(), "and stays so");
        Ok(())
    })
}

#[test]
fn accept_gives_none_when_no_link_came_about() -> TestResult {
    run(async {
        let (client_io, server_io) = duplex(4096);
        let mut listener = Listener::builder().build_over(server_io)?;
        drop(client_io);
        ensure!(listener.accept().await.is_none(), "a client that left");

        let (_client_io, server_io) = duplex(4096);
        let builder = Listener::builder().handshake_timeout(Duration::from_millis(10));
        let mut listener = builder.build_over(server_io)?;
        ensure!(listener.accept().await.is_none(), "a client that says nothing");
        Ok(())
    })
}

#[test]
fn drain_over_a_transport_waits_for_the_conns_and_resets_what_is_left() -> TestResult {
    run(async {
        let (client, mut listener) = both_ends().await?;
        let opened = client.open("http://pipe/").await?;
        let echoing = tokio::spawn(echo(accept(&mut listener).await?));
        let draining = tokio::spawn(listener.drain(LONG));
        opened.draining().await;
        ensure!(!draining.is_finished(), "a conn is still there");
        check_echo(opened, b"said on the way out").await?;
        echoing.await??;
        ensure!(draining.await?, "all ended by themselves");
        let error = client.open("http://pipe/").await.err().context("the server has gone")?;
        ensure!(error.kind() == ErrorKind::Refused, "{error}");

        let (client, mut listener) = both_ends().await?;
        let opened = client.open("http://pipe/").await?;
        let _held = accept(&mut listener).await?;
        ensure!(!listener.drain(Duration::from_millis(10)).await, "it did not end by itself");
        let error = opened.closed().await.err().context("it was reset")?;
        ensure!(error.kind() == ErrorKind::Reset, "{error}");
        Ok(())
    })
}

#[test]
fn a_dropped_listener_leaves_the_conns_of_its_transport_alone() -> TestResult {
    run(async {
        let (client, mut listener) = both_ends().await?;
        let opened = client.open("http://pipe/").await?;
        let echoing = tokio::spawn(echo(accept(&mut listener).await?));
        drop(listener);
        opened.draining().await;
        check_echo(opened, b"still here").await?;
        echoing.await??;
        Ok(())
    })
}

async fn ask(mut io: DuplexStream, request: &[u8]) -> TestResult<String> {
    io.write_all(request).await?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn http1_over_a_transport_gets_505() -> TestResult {
    run(async {
        let (client_io, server_io) = duplex(4096);
        let mut listener = Listener::builder().build_over(server_io)?;
        let answer = ask(client_io, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        ensure!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
        ensure!(listener.accept().await.is_none(), "nobody else comes by it");
        Ok(())
    })
}

#[test]
fn knobs_are_checked_and_no_tls_is_added() -> TestResult {
    run(async {
        let (_client_io, server_io) = duplex(4096);
        let error = Listener::builder().send_queue_size(0).build_over(server_io);
        let error = error.err().context("a queue of nothing")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error}");

        let (client_io, server_io) = duplex(4096);
        let listener = Listener::builder().tls(identity()?).build_over(server_io)?;
        serve(listener, echo);
        let client = Client::builder().build_over(client_io).await?;
        check_echo(client.open("http://pipe/").await?, b"in the clear").await
    })
}
