//! Connections that bypass the resolver and TCP: addresses that the program gives, and connectors
//! of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Addr, Client, Destination, ErrorKind, LinkPolicy};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::{Over, TestResult, chain, check_echo, echo_server, io_kind, run};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn a_host_is_reached_at_the_addresses_that_the_program_gives_for_its_port() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let port = site.addr.port();
            let client = site.client_builder().resolve("LOCALHOST", port, [HERE]).resolve(
                "no-such.invalid",
                port,
                [HERE],
            );
            // With TLS, the certificate must have the name, and it has only the first one.
            let host = if over == Over::Tls { "localhost" } else { "no-such.invalid" };
            let url = site.url("/").replace("127.0.0.1", host);
            let (conn, _) = client.clone().build()?.connect(&url).await?;
            ensure!(conn.uri().host() == Some(host), "{}", conn.uri());
            ensure!(conn.peer_addr().socket_addr() == Some(site.addr), "{}", conn.peer_addr());
            check_echo(conn, b"hello").await?;
            // The addresses do not apply to another port.
            let other = if over == Over::Tls { "https" } else { "http" };
            let url = format!("{other}://no-such.invalid:1/");
            let error = client.build()?.connect(url).await.err().context("no such host")?;
            ensure!(error.to_string().contains("no address is known"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn all_addresses_that_the_program_gives_are_tried() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        // No server listens on the first address, though it belongs to this machine.
        let nobody = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
        let client =
            Client::builder().resolve("two.invalid", site.addr.port(), [nobody, HERE]).build()?;
        let url = format!("http://two.invalid:{}/", site.addr.port());
        check_echo(client.connect(url).await?.0, b"hello").await
    })
}

#[test]
fn a_connector_makes_each_link_and_links_are_shared_as_always() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let (addr, dials) = (site.addr, Arc::new(AtomicUsize::new(0)));
            let counted = Arc::clone(&dials);
            let connect = move |to: Destination| {
                counted.fetch_add(1, SeqCst);
                async move {
                    if (to.host(), to.port(), to.is_tls()) != ("localhost", 7, over == Over::Tls) {
                        return Err(io::Error::other(format!("asked for {to}")));
                    }
                    TcpStream::connect(addr).await
                }
            };
            let url =
                format!("{}://localhost:7/", if over == Over::Tls { "https" } else { "http" });
            let builder = site.client_builder().connector(connect);
            let client = builder.clone().build()?;
            for _ in 0..3 {
                let (conn, _) = client.connect(&url).await?;
                ensure!(*conn.peer_addr() == Addr::Other && *conn.local_addr() == Addr::Other);
                check_echo(conn, b"hello").await?;
            }
            ensure!(dials.load(SeqCst) == 1, "{} dials", dials.load(SeqCst));
            let client = builder.link_policy(LinkPolicy::Exclusive).build()?;
            for _ in 0..2 {
                check_echo(client.connect(&url).await?.0, b"hello").await?;
            }
            ensure!(dials.load(SeqCst) == 3, "{} dials", dials.load(SeqCst));
        }
        Ok(())
    })
}

#[test]
fn the_error_of_a_connector_is_the_source_of_that_of_connecting() -> TestResult {
    run(async {
        let refuse = |_| async {
            Err::<TcpStream, _>(io::Error::new(io::ErrorKind::HostUnreachable, "the proxy says no"))
        };
        let client = Client::builder().connector(refuse).build()?;
        let error = client.connect("http://[::1]:9/").await.err().context("refused")?;
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::HostUnreachable, "{error:?}");
        let text = chain(&error);
        ensure!(
            text.contains("cannot reach [::1]:9") && text.contains("the proxy says no"),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn a_connector_that_takes_too_long_is_dropped_and_named() -> TestResult {
    run(async {
        let (alive, mut dropped) = watch::channel(());
        let alive = Arc::new(alive);
        let hang = move |_| {
            let alive = Arc::clone(&alive);
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                Err::<TcpStream, _>(io::ErrorKind::Other.into())
            }
        };
        let limit = Duration::from_millis(300);
        let client = Client::builder().connector(hang).connect_timeout(limit).build()?;
        let error = client.connect("http://somewhere/").await.err().context("hangs")?;
        ensure!(error.is_timeout() && error.to_string().contains("connector"), "{error}");
        drop(client);
        // The function and its future were the last holders of the sender.
        ensure!(dropped.changed().await.is_err());
        Ok(())
    })
}

#[test]
fn ways_that_would_not_be_heeded_are_refused() -> TestResult {
    run(async {
        let to = |addr: std::net::SocketAddr| move |_| TcpStream::connect(addr);
        let somewhere = to(([127, 0, 0, 1], 1).into());
        let with_connector = Client::builder().connector(somewhere);
        let mut builders = vec![
            (with_connector.clone().resolve("host", 1, [HERE]), "resolve"),
            (Client::builder().resolve("host", 1, []), "no address"),
        ];
        #[cfg(unix)]
        builders.extend([
            (with_connector.unix_socket("/x"), "unix_socket"),
            (Client::builder().unix_socket("/x").resolve("host", 1, [HERE]), "resolve"),
        ]);
        for (builder, expected) in builders {
            let error = builder.build().err().context("cannot be built")?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains(expected), "{error}");
        }
        Ok(())
    })
}
