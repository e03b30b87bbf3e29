//! Large amounts of data, and many Conns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Conn, Listener};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::framework::axum_server;
use crate::support::process::{self, memory, output, said};
use crate::support::{Over, check_echo, checked, echo, long, noise};

/// The most memory that an end may use at any time, in KiB.
const MEMORY: u64 = 64 << 10;

/// The bytes of each direction: 1 GiB in the long form.
fn volume() -> u64 {
    if long() { 1 << 30 } else { 64 << 20 }
}

/// Sends and receives at the same time. Returns the digests of the sent and the received bytes.
async fn both_ways(conn: Conn, seed: u64, volume: u64) -> Result<(String, String)> {
    let (read, mut write) = conn.into_split();
    let sender = tokio::spawn(async move {
        let (mut digest, mut state) = (Sha256::new(), seed);
        let mut chunk = vec![0; 64 << 10];
        for _ in 0..volume / chunk.len() as u64 {
            for word in chunk.chunks_exact_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                word.copy_from_slice(&state.to_le_bytes());
            }
            digest.update(&chunk);
            write.write_all(&chunk).await?;
        }
        write.shutdown().await?;
        anyhow::Ok(hex(digest))
    });
    let (mut digest, mut total) = (Sha256::new(), 0);
    while let Some(chunk) = read.read_chunk().await? {
        total += chunk.len() as u64;
        digest.update(&chunk);
    }
    ensure!(total == volume, "{total} of {volume} bytes came");
    Ok((sender.await??, hex(digest)))
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Not a real test, but one end of the transfer below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_the_transfer() -> Result<()> {
    let Some(role) = process::role() else { return Ok(()) };
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut line = async || input.next_line().await?.context("a line from the test");
    let (sent, received) = match role.as_str() {
        "server tls" | "server clear" => {
            let identity = Identity::self_signed(["localhost"])?;
            let pem = identity.certificate_pem();
            let builder = Listener::builder();
            let builder = if role.ends_with("tls") { builder.tls(identity) } else { builder };
            let mut listener = builder.bind("127.0.0.1:0").await?;
            println!("\n@port {}", listener.local_addr().socket_addr().context("TCP")?.port());
            println!("@pem {}", pem.replace('\n', "|"));
            let conn = listener.accept().await.context("a client")?.accept()?;
            let digests = both_ways(conn, 1, volume()).await?;
            listener.drain(Duration::from_secs(10)).await;
            digests
        }
        "server axum-tls" | "server axum-clear" => {
            let over = if role.ends_with("tls") { Over::Tls } else { Over::Cleartext };
            let (sender, mut conns) = mpsc::unbounded_channel();
            let site = axum_server(over, move |conn| {
                let _ = sender.send(conn);
                std::future::ready(())
            })
            .await?;
            println!("\n@port {}", site.addr.port());
            // A cleartext client accepts any certificate here.
            let unused = Identity::self_signed(["localhost"])?.certificate_pem();
            println!("@pem {}", site.certificate.unwrap_or(unused).replace('\n', "|"));
            let conn = conns.recv().await.context("a client")?;
            let digests = both_ways(conn, 1, volume()).await?;
            // hyper may still hold some bytes. The end of the input tells that the client has them.
            while line().await.is_ok() {}
            digests
        }
        _ => {
            let (url, pem) = (line().await?, line().await?);
            let client = Client::builder()
                .tls(ClientTls::new().only_root_certificates(pem.replace('|', "\n")))
                .build()?;
            let (conn, _) = client.connect(url).await?;
            let digests = both_ways(conn, 2, volume()).await?;
            client.close().await?;
            digests
        }
    };
    println!("\n@done {sent} {received} {}", memory("VmHWM"));
    Ok(())
}

async fn transfer(scheme: &str, kind: &str) -> Result<()> {
    const END: &str = "bulk::an_end_of_the_transfer";
    let mut server = process::spawn(END, &format!("server {kind}"))?;
    let mut client = process::spawn(END, "client")?;
    let (mut from_server, mut from_client) = (output(&mut server)?, output(&mut client)?);
    let port = said(&mut from_server, "port").await?;
    let pem = said(&mut from_server, "pem").await?;
    let mut to_client = client.stdin.take().context("piped")?;
    to_client.write_all(format!("{scheme}://localhost:{port}/\n{pem}\n").as_bytes()).await?;

    let client_done = said(&mut from_client, "done").await?;
    drop(server.stdin.take());
    let server_done = said(&mut from_server, "done").await?;
    for (output, end) in [(&mut from_client, &mut client), (&mut from_server, &mut server)] {
        while output.next_line().await?.is_some() {}
        ensure!(end.wait().await?.success());
    }
    let parse = |line: &str| -> Result<(String, String, u64)> {
        let fields: Vec<_> = line.split(' ').map(str::to_owned).collect();
        Ok((fields[0].clone(), fields[1].clone(), fields[2].parse()?))
    };
    let (client_sent, client_got, client_memory) = parse(&client_done)?;
    let (server_sent, server_got, server_memory) = parse(&server_done)?;
    eprintln!(
        "{} MiB each way, {kind}: peak memory of the client {client_memory} KiB, of the server \
         {server_memory} KiB",
        volume() >> 20
    );
    ensure!(client_sent == server_got && server_sent == client_got, "the digests differ");
    ensure!(client_memory < MEMORY && server_memory < MEMORY, "too much memory");
    Ok(())
}

#[tokio::test]
async fn a_gibibyte_each_way_at_once_in_cleartext_arrives_whole_in_little_memory() -> Result<()> {
    checked(240, transfer("http", "clear")).await
}

#[tokio::test]
async fn a_gibibyte_each_way_at_once_over_tls_arrives_whole_in_little_memory() -> Result<()> {
    checked(240, transfer("https", "tls")).await
}

#[tokio::test]
async fn a_gibibyte_each_way_at_once_through_axum_arrives_whole_in_little_memory() -> Result<()> {
    checked(480, async {
        transfer("http", "axum-clear").await?;
        transfer("https", "axum-tls").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_conns_of_one_axum_link_echo_at_once() -> Result<()> {
    checked(60, async {
        let echoing = |conn| async move {
            // The test checks the clients' side.
            let _ = echo(conn).await;
        };
        let site = axum_server(Over::Cleartext, echoing).await?;
        let client = site.client()?;
        let mut conns = JoinSet::new();
        // Five times as many streams as hyper takes at once.
        for number in 0..1_000 {
            let (client, url) = (client.clone(), site.url("/"));
            conns.spawn(async move {
                let (conn, _) = client.connect(url).await?;
                check_echo(conn, &noise(5_000, number)).await
            });
        }
        while let Some(echoed) = conns.join_next().await {
            echoed??;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_conns_of_one_link_echo_at_once() -> Result<()> {
    checked(60, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let server = tokio::spawn(async move {
            let mut echoes = JoinSet::new();
            for _ in 0..1_000 {
                let conn = listener.accept().await.context("a conn")?.accept()?;
                echoes.spawn(async move {
                    let (mut read, mut write) = conn.into_split();
                    tokio::io::copy(&mut read, &mut write).await?;
                    write.shutdown().await
                });
            }
            for result in echoes.join_all().await {
                result?;
            }
            anyhow::Ok(listener)
        });
        let client = Client::new()?;
        let mut conns = Vec::new();
        for _ in 0..1_000 {
            conns.push(client.open(&url).await?);
        }
        for conn in &conns {
            conn.response().await?;
        }
        let ports: std::collections::HashSet<_> =
            conns.iter().map(|conn| conn.local_addr().socket_addr()).collect();
        ensure!(ports.len() == 1, "they share a link");
        let mut tasks = JoinSet::new();
        for (index, mut conn) in conns.into_iter().enumerate() {
            tasks.spawn(async move {
                let sent = vec![index as u8; 1000 + index];
                conn.write_all(&sent).await?;
                conn.shutdown().await?;
                let mut got = Vec::new();
                conn.read_to_end(&mut got).await?;
                ensure!(got == sent, "conn {index}");
                conn.close().await?;
                anyhow::Ok(())
            });
        }
        for result in tasks.join_all().await {
            result?;
        }
        client.close().await?;
        server.await??.drain(Duration::from_secs(5)).await;
        Ok(())
    })
    .await
}
