//! Between two ends of this library a WebSocket has the ends of an HTTP/2 stream.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::http::Version;
use h2conn::{Acceptor, ErrorKind, OnDrop, OriginStats, Reason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{HOSTS, by_websocket, client_by, next, pair_by};
use crate::support::framework::{Host, hyper_server};
use crate::support::websocket::BOTH;
use crate::support::{GRACE, Over, TestResult, check_echo, noise, ours, run};

#[test]
fn a_connection_echoes_and_tells_its_transport() -> TestResult {
    run(async {
        for (host, version) in HOSTS {
            for over in Over::BOTH {
                let site = host.echo(over).await?;
                let client = client_by(version, &site, site.client_builder()).await?;
                let (conn, response) = client.connect(site.url("/a/x?y=1")).await?;
                let is_old = version == Version::HTTP_11;
                let status = if is_old { 101 } else { 200 };
                ensure!(response.status() == status, "{}", response.status());
                let transport =
                    if is_old { Transport::WebSocketHttp1 } else { Transport::WebSocketHttp2 };
                ensure!(*conn.transport() == transport, "{}", conn.transport());
                ensure!(conn.peer_addr().socket_addr() == Some(site.addr), "{}", conn.peer_addr());
                ensure!(conn.peer_certificates().is_empty() == site.certificate.is_none());
                let stats = client.stats();
                ensure!(stats.websockets == 1, "{stats:?}");
                let conns: usize = stats.origins.iter().map(OriginStats::conns).sum();
                ensure!(conns == usize::from(!is_old), "{stats:?}");
                check_echo(conn, &noise(5 << 20, 7)).await?;
                client.close().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn each_side_ends_by_itself_and_the_other_goes_on() -> TestResult {
    run(async {
        for host in HOSTS {
            for swapped in [false, true] {
                let (client, server) = pair_by(host, Over::Cleartext).await?;
                let (mut first, mut second) =
                    if swapped { (server, client) } else { (client, server) };
                first.write_all(b"a question").await?;
                first.shutdown().await?;
                let mut heard = Vec::new();
                second.read_to_end(&mut heard).await?;
                ensure!(heard == b"a question");
                let said = noise(3 << 20, 3);
                let (written, read) = tokio::join!(
                    async {
                        second.write_all(&said).await?;
                        second.close().await?;
                        TestResult::Ok(())
                    },
                    async {
                        let mut heard = Vec::new();
                        first.read_to_end(&mut heard).await?;
                        TestResult::Ok(heard)
                    }
                );
                written?;
                ensure!(read? == said);
                first.close().await?;
                first.closed().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn resets_keep_their_reason_after_the_bytes_before_them() -> TestResult {
    run(async {
        for (code, version) in
            [0, 2, 8, 1000, u32::MAX].into_iter().flat_map(|code| BOTH.map(|it| (code, it)))
        {
            for swapped in [false, true] {
                let (client, server) = pair_by((Host::Hyper, version), Over::Cleartext).await?;
                let (mut first, mut second) =
                    if swapped { (server, client) } else { (client, server) };
                first.write_all(b"half of it").await?;
                first.sent().await?;
                first.reset(Reason::from_code(code));
                let mut heard = Vec::new();
                let error = second.read_to_end(&mut heard).await.expect_err("it was reset");
                ensure!(heard == b"half of it");
                let kind = if code == 0 { UnexpectedEof } else { ConnectionReset };
                ensure!(error.kind() == kind, "{code}: {error}");
                ensure!(ours(&error).reason() == Some(Reason::from_code(code)), "{error:?}");
                ensure!(ours(&error).is_by_peer());
                let error = second.write(b"too late").await.expect_err("it was reset");
                let kind = if code == 0 { BrokenPipe } else { ConnectionReset };
                ensure!(error.kind() == kind, "{code}: {error}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_end_and_then_a_reset_is_no_good_end() -> TestResult {
    run(async {
        for (swapped, version) in [false, true].into_iter().flat_map(|it| BOTH.map(|by| (it, by))) {
            let (client, server) = pair_by((Host::Served, version), Over::Cleartext).await?;
            let (mut first, mut second) = if swapped { (server, client) } else { (client, server) };
            first.shutdown().await?;
            ensure!(second.read(&mut [0]).await? == 0);
            first.reset(Reason::INTERNAL_ERROR);
            let error = second.closed().await.expect_err("it was reset");
            ensure!(error.reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
            ensure!(second.close().await.is_err());
        }
        Ok(())
    })
}

#[test]
fn a_server_that_drains_tells_its_clients() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().linger_timeout(GRACE).build()?;
        let (sender, mut conns) = tokio::sync::mpsc::unbounded_channel();
        let site = hyper_server(Over::Cleartext, acceptor.clone(), move |conn| {
            let _ = sender.send(conn);
            std::future::ready(Ok(()))
        })
        .await?;
        let (client, mut server) = next(by_websocket(&site), &site, &mut conns).await?;
        let drain = tokio::spawn(async move { acceptor.drain(Duration::from_secs(60)).await });
        tokio::join!(client.draining(), server.draining());
        // Both sides finish their work.
        let (mut reader, mut writer) = client.into_split();
        writer.write_all(b"the last").await?;
        writer.shutdown().await?;
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await?;
        ensure!(heard == b"the last");
        server.shutdown().await?;
        ensure!(reader.read(&mut [0]).await? == 0);
        ensure!(drain.await?, "it has not ended by itself");
        Ok(())
    })
}

#[test]
fn a_drop_that_resets_is_no_end() -> TestResult {
    run(async {
        let (site, mut conns) = Host::Hyper.listen(Over::Cleartext).await?;
        let builder = by_websocket(&site).on_drop(OnDrop::Reset);
        let (client, mut server) = next(builder, &site, &mut conns).await?;
        drop(client);
        let error = server.read(&mut [0]).await.expect_err("it was reset");
        ensure!(ours(&error).reason() == Some(Reason::CANCEL), "{error}");
        Ok(())
    })
}

#[test]
fn pings_measure_the_round_trip_in_both_directions() -> TestResult {
    run(async {
        for version in BOTH {
            let (client, server) = pair_by((Host::Hyper, version), Over::Cleartext).await?;
            for _ in 0..3 {
                let (there, back) = tokio::join!(client.ping(), server.ping());
                ensure!(there? > Duration::ZERO && back? > Duration::ZERO);
            }
            let (one, two) = tokio::join!(client.ping(), client.ping());
            ensure!(one.is_ok() && two.is_ok());
            let (one, two) = tokio::join!(client.close(), server.close());
            one?;
            two?;
            for conn in [client, server] {
                ensure!(conn.ping().await.is_err(), "nobody answers any more");
            }
        }
        Ok(())
    })
}

#[test]
fn a_request_without_content_is_only_read() -> TestResult {
    run(async {
        for version in BOTH {
            let (site, mut conns) = Host::Served.listen(Over::Cleartext).await?;
            let client = client_by(version, &site, site.client_builder()).await?;
            let asking = client.request(site.url("/")).without_content().connect();
            let (mut conn, _) = asking.await?;
            let mut server = conns.recv().await.context("the server has ended")?;
            ensure!(server.read(&mut [0]).await? == 0);
            ensure!(conn.write(b"x").await.is_err());
            server.write_all(b"an answer").await?;
            server.close().await?;
            let mut heard = String::new();
            conn.read_to_string(&mut heard).await?;
            ensure!(heard == "an answer");
        }
        Ok(())
    })
}

#[test]
fn a_peer_that_goes_on_sending_is_reset_after_its_limit() -> TestResult {
    run(async {
        for (swapped, version) in [false, true].into_iter().flat_map(|it| BOTH.map(|by| (it, by))) {
            let (client, server) = pair_by((Host::Hyper, version), Over::Cleartext).await?;
            let (first, mut second) = if swapped { (server, client) } else { (client, server) };
            let closing = tokio::spawn(async move { first.close().await });
            let piece = vec![7; 64 << 10];
            let error = loop {
                if let Err(error) = second.write_all(&piece).await {
                    break error;
                }
            };
            // A server has said everything, and a client gives up.
            let reason = if swapped { Reason::NO_ERROR } else { Reason::CANCEL };
            ensure!(ours(&error).reason() == Some(reason), "{error:?}");
            let error = closing.await?.expect_err("the peer has not ended its side");
            ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
            ensure!(error.to_string().contains("has acknowledged everything"), "{error}");
        }
        Ok(())
    })
}
