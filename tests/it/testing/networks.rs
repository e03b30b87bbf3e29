//! `testing::Network`, in memory with a paused clock and over TCP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{Flow, Line, Network, pair_over};
use h2conn::tls::rustls::pki_types::ServerName;
use h2conn::{Client, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::foreign::{client_config, server_config};
use crate::support::{TestResult, accept, check_echo, checked, echo, port_of, run, serve};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn every_byte_takes_the_delay_of_its_direction() -> TestResult {
    checked(60, async {
        let network = Network::new();
        network.set_up(Line::new().delay(3 * SECOND));
        network.set_down(Line::new().delay(SECOND));
        let (mut client, mut server) = network.memory();
        let began = Instant::now();
        client.write_all(b"up").await?;
        server.read_exact(&mut [0; 2]).await?;
        ensure!(began.elapsed().as_secs() == 3, "{:?}", began.elapsed());
        server.write_all(b"down").await?;
        client.read_exact(&mut [0; 4]).await?;
        ensure!(began.elapsed().as_secs() == 4, "{:?}", began.elapsed());
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn bytes_take_their_time_at_the_rate_and_their_end_comes_behind_them() -> TestResult {
    checked(600, async {
        let network = Network::new();
        network.set(Line::new().bytes_per_second(1_000).depth(1_000));
        let (mut client, mut server) = network.memory();
        let began = Instant::now();
        let write = async {
            client.write_all(&[7; 100_000]).await?;
            client.shutdown().await
        };
        let mut heard = Vec::new();
        let (written, read) = tokio::join!(write, server.read_to_end(&mut heard));
        written?;
        read?;
        ensure!(heard.len() == 100_000);
        let seconds = began.elapsed().as_secs();
        ensure!((98..=101).contains(&seconds), "{seconds} s");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_line_stops_swallows_and_opens_again() -> TestResult {
    checked(600, async {
        let network = Network::new();
        let (mut client, mut server) = network.memory();
        network.set_up(Flow::Stopped);
        client.write_all(b"late").await?;
        let mut late = [0; 4];
        ensure!(timeout(SECOND, server.read_exact(&mut late)).await.is_err(), "it is stopped");
        server.write_all(b"x").await?;
        client.read_exact(&mut [0]).await?;
        network.set_up(Flow::Open);
        server.read_exact(&mut late).await?;
        ensure!(late == *b"late");

        network.set(Flow::Swallowed);
        client.write_all(&[7; 1 << 20]).await?;
        ensure!(timeout(SECOND, server.read_u8()).await.is_err(), "it is lost");
        network.set(Flow::Open);
        client.write_all(b"new").await?;
        ensure!(server.read_u8().await? == b'n', "what was swallowed does not come");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_flow_changes_after_so_many_bytes_of_each_transport() -> TestResult {
    checked(60, async {
        let network = Network::new();
        network.set_up(Line::new().after(10, Flow::Cut));
        for _ in 0..2 {
            let (mut client, mut server) = network.memory();
            client.write_all(b"0123456789abc").await?;
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await?;
            ensure!(heard == b"0123456789", "{heard:?}");
            ensure!(client.read(&mut [0]).await? == 0, "both directions are closed");
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_buffers_is_flushed_when_nothing_follows_at_once() -> TestResult {
    checked(600, async {
        let slow = Line::new().bytes_per_second(10);
        for line in [Line::new(), Line::new().delay(SECOND), slow] {
            let network = Network::new();
            network.set(line);
            let ((mut client, near), (far, mut server)) = (duplex(1 << 16), duplex(1 << 16));
            // These hold whatever is written until they are flushed.
            let buffered = |io| BufWriter::with_capacity(1 << 20, io);
            network.join(buffered(near), buffered(far));
            let mut heard = [0; 20];
            for _ in 0..2 {
                client.write_all(&[1; 20]).await?;
                server.read_exact(&mut heard).await?;
                server.write_all(&[2; 20]).await?;
                client.read_exact(&mut heard).await?;
                ensure!(heard == [2; 20], "{line:?}");
            }
        }
        Ok(())
    })
    .await
}

#[test]
fn the_last_record_of_tls_goes_through_a_full_transport() -> TestResult {
    run(async {
        const BYTES: usize = 100_000;
        let (certificate, config) = server_config(&[])?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let connector = TlsConnector::from(Arc::new(client_config(&certificate, &[])?));
        // rustls takes a record while the pipe is full, and holds the rest of it until a flush.
        let ((mut client, near), (inner, outer)) = (duplex(1 << 16), duplex(100));
        let name = ServerName::try_from("localhost")?;
        let accepting = tokio::spawn(acceptor.accept(outer));
        let network = Network::new();
        network.join(near, connector.connect(name, inner).await?);
        // The server's last words of the handshake need a reader, which is the network.
        let mut server = accepting.await??;
        let mut heard = vec![0; BYTES];
        let (written, read) =
            tokio::join!(client.write_all(&[1; BYTES]), server.read_exact(&mut heard));
        written?;
        read?;
        ensure!(heard == [1; BYTES]);
        Ok(())
    })
}

#[test]
fn a_cut_and_a_dropped_network_end_the_transports_of_the_moment() -> TestResult {
    run(async {
        let network = Network::new();
        let (near, far) = network.memory();
        let (client, server) = pair_over(near, far).await?;
        network.cut();
        ensure!(client.closed().await.is_err() && server.closed().await.is_err());

        let (near, far) = network.memory();
        let (client, server) = pair_over(near, far).await.context("a new one is not cut")?;
        drop(network);
        ensure!(client.closed().await.is_err() && server.closed().await.is_err());
        Ok(())
    })
}

#[test]
fn a_client_of_a_relay_comes_back_after_its_connection_was_cut_or_reset() -> TestResult {
    run(async {
        let listener = Listener::builder().bind("127.0.0.1:0").await?;
        let network = Network::new();
        let addr = network.relay(port_of(&listener)).await?;
        serve(listener, echo);
        let client = Client::builder().build()?;
        for end in [Network::cut, Network::reset] {
            let (mut conn, _) = client.connect(format!("http://{addr}/")).await?;
            conn.write_all(b"hello").await?;
            conn.read_exact(&mut [0; 5]).await?;
            end(&network);
            ensure!(conn.closed().await.is_err());
        }
        let (conn, _) = client.connect(format!("http://{addr}/")).await?;
        check_echo(conn, b"again").await?;
        Ok(())
    })
}

#[test]
fn an_end_on_tcp_sees_a_cut_as_an_end_and_a_reset_as_a_reset() -> TestResult {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let network = Network::new();
        let addr = network.relay(socket.local_addr()?).await?;
        for reset in [false, true] {
            let mut client = TcpStream::connect(addr).await?;
            let (mut server, _) = socket.accept().await?;
            client.write_all(b"x").await?;
            server.read_exact(&mut [0]).await?;
            if reset {
                network.reset()
            } else {
                network.cut()
            }
            for end in [&mut client, &mut server] {
                let read = end.read(&mut [0]).await.map_err(|error| error.kind());
                let expected = if reset { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) };
                ensure!(read == expected, "reset: {reset}, {read:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_relay_closes_its_port_with_its_network() -> TestResult {
    run(async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let network = Network::new();
        let addr = network.relay(port_of(&listener)).await?;
        let client = Client::builder().build()?;
        let url = format!("http://{addr}/");
        let (conn, _server) = tokio::join!(client.connect(&url), accept(&mut listener));
        let (conn, _) = conn?;
        drop(network);
        ensure!(conn.closed().await.is_err());
        while client.connect(&url).await.is_ok() {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}
