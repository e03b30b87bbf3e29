//! The ends of streams and of transports.

use std::io;

use anyhow::{Context, Result, ensure};
use h2conn::testing::{Pair, pair_over};
use h2conn::{Client, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;

use super::{echo, listen};
use crate::support::checked;
use crate::support::raw::{self, DATA, END_STREAM, HEADERS, OK, REQUEST, RST_STREAM, Raw};
use crate::support::trickle::Trickle;

#[tokio::test]
async fn data_its_end_and_the_end_of_the_transport_in_one_read_is_a_clean_end() -> Result<()> {
    checked(30, async {
        for len in [0, 1, 300, 16_384] {
            let (client_io, server_io) = duplex(1 << 20);
            let server = tokio::spawn(async move {
                let mut raw = Raw::server(server_io).await?;
                raw.wait_for(HEADERS, 1).await?;
                let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
                all.extend(raw::frame(DATA, END_STREAM, 1, &vec![9; len]));
                raw.io.write_all(&all).await
            });
            let client = Client::builder().build_over(client_io).await?;
            let mut conn = client.open("http://raw/").await?;
            server.await??;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await.with_context(|| format!("{len} bytes"))?;
            ensure!(got == vec![9; len]);
            ensure!(conn.read(&mut [0; 1]).await? == 0, "the end stays");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_end_of_the_transport_without_end_stream_is_no_end_of_file() -> Result<()> {
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let server = tokio::spawn(async move {
            let mut raw = Raw::server(server_io).await?;
            raw.wait_for(HEADERS, 1).await?;
            let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
            all.extend(raw::frame(DATA, 0, 1, b"half a mess"));
            raw.io.write_all(&all).await
        });
        let client = Client::builder().build_over(client_io).await?;
        let mut conn = client.open("http://raw/").await?;
        server.await??;
        let mut got = Vec::new();
        let error = conn.read_to_end(&mut got).await.err().context("it was cut")?;
        ensure!(got == b"half a mess");
        ensure!(error.kind() == io::ErrorKind::UnexpectedEof, "{error}");
        let error = conn.write_all(b"x").await.err().context("it was cut")?;
        ensure!(error.kind() == io::ErrorKind::BrokenPipe, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_aborted_conns_with_messages_in_flight_leave_the_link_alive() -> Result<()> {
    checked(60, async {
        let mut pair = Pair::new().await?;
        let (mut first, mut last) = pair.open().await?;
        for round in 0..2_000 {
            let (client, server) = pair.open().await?;
            let (aborted, other) = if round % 2 == 0 { (client, server) } else { (server, client) };
            (&other).write_all(b"8 bytes!").await?;
            aborted.reset(Reason::CANCEL);
            // These bytes are for a stream that the other end has already forgotten.
            let _ = (&other).write_all(b"8 bytes!").await;
        }
        first.write_all(b"alive").await?;
        last.read_exact(&mut [0; 5]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn frames_for_streams_that_were_reset_here_do_not_end_the_link() -> Result<()> {
    checked(60, async {
        let (mut listener, address) = listen().await?;
        let mut raw = Raw::client(TcpStream::connect(&address).await?).await?;
        for index in 0..2_000 {
            let stream = index * 2 + 1;
            raw.send(HEADERS, raw::END_HEADERS, stream, REQUEST).await?;
            listener.accept().await.context("a stream")?.accept()?.reset(Reason::CANCEL);
            for _ in 0..3 {
                raw.send(DATA, 0, stream, b"8 bytes!").await?;
            }
        }
        raw.send(HEADERS, raw::END_HEADERS, 4_001, REQUEST).await?;
        tokio::spawn(echo(listener.accept().await.context("the last stream")?.accept()?));
        raw.send(DATA, END_STREAM, 4_001, b"alive").await?;
        ensure!(raw.wait_for(DATA, 4_001).await?.payload == b"alive");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reset_after_the_end_of_the_stream_leaves_the_end_of_file() -> Result<()> {
    checked(30, async {
        for (reason, kind) in [
            (Reason::NO_ERROR, io::ErrorKind::BrokenPipe),
            (Reason::CANCEL, io::ErrorKind::ConnectionReset),
        ] {
            let (client_io, server_io) = duplex(1 << 20);
            let server = tokio::spawn(async move {
                let mut raw = Raw::server(server_io).await?;
                raw.wait_for(HEADERS, 1).await?;
                let mut all = raw::frame(HEADERS, raw::END_HEADERS, 1, OK);
                all.extend(raw::frame(DATA, END_STREAM, 1, b"all"));
                all.extend(raw::frame(RST_STREAM, 0, 1, &reason.code().to_be_bytes()));
                raw.io.write_all(&all).await?;
                while raw.next().await?.is_some() {}
                io::Result::Ok(())
            });
            let client = Client::builder().build_over(client_io).await?;
            let mut conn = client.open("http://raw/").await?;
            let mut got = Vec::new();
            conn.read_to_end(&mut got).await?;
            ensure!(got == b"all");
            let error = loop {
                if let Err(error) = conn.write_all(b"x").await {
                    break error;
                }
                tokio::task::yield_now().await;
            };
            ensure!(error.kind() == kind, "{reason}: {error}");
            ensure!(conn.read(&mut [0; 1]).await? == 0, "the end stays");
            drop((conn, client));
            server.await??;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_transport_that_moves_a_few_bytes_a_call_changes_nothing() -> Result<()> {
    checked(60, async {
        for step in [1, 7, 1000] {
            let (client, server) = duplex(4096);
            let (mut client, server) =
                pair_over(Trickle(client, step), Trickle(server, step)).await?;
            let echoing = tokio::spawn(echo(server));
            let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
            let (mut read, mut write) = tokio::io::split(&mut client);
            let mut got = Vec::new();
            let (wrote, read) = tokio::join!(
                async {
                    write.write_all(&sent).await?;
                    write.shutdown().await
                },
                read.read_to_end(&mut got),
            );
            wrote?;
            read?;
            ensure!(got == sent, "{step} bytes a call");
            ensure!(echoing.await?? == 100_000);
        }
        Ok(())
    })
    .await
}
