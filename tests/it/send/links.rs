//! Requests that a server refuses unseen, and those that wait for a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{Request, Response};
use h2conn::{ErrorKind, Reason};
use http_body_util::Empty;

use super::{channel, data, full, hear, post};
use crate::support::foreign::{h2_echo, server};
use crate::support::{Over, Site, TestResult, noise, run};

/// A server that refuses the first request of each of its first `refusing` links, and echoes after
/// that.
async fn refusing(refusing: usize) -> TestResult<Site> {
    let links = Arc::new(AtomicUsize::new(0));
    server(Over::Cleartext, move |io| {
        let is_refusing = links.fetch_add(1, SeqCst) < refusing;
        async move {
            if !is_refusing {
                return h2_echo(io).await;
            }
            let mut connection = h2::server::handshake(io).await?;
            while let Some(arrival) = connection.accept().await {
                arrival?.1.send_reset(h2::Reason::REFUSED_STREAM);
            }
            Ok(())
        }
    })
    .await
}

#[test]
fn a_refused_request_is_sent_again_with_all_of_its_content() -> TestResult {
    run(async {
        for content in [vec![], noise(60_000, 1), noise(3 << 20, 2)] {
            let site = refusing(2).await?;
            let client = site.client()?;
            let request = post(&site, "/", full(content.clone()))?;
            let heard = hear(client.send(request).await?).await?;
            ensure!(heard.body == content, "{} of {} bytes", heard.body.len(), content.len());
            let stats = client.stats();
            ensure!((stats.retries, stats.refused) == (2, 2), "{stats:?}");
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_refused_request_whose_content_is_gone_is_an_error_that_says_so() -> TestResult {
    run(async {
        let site = refusing(1).await?;
        let client = site.client()?;
        let (sender, body) = channel();
        sender.send(data("some"))?;
        let error = client.send(post(&site, "/", body)?).await;
        let error = error.err().context("it is not sent again")?;
        ensure!(error.was_not_processed(), "the caller may try again: {error:#}");
        ensure!(
            (error.kind(), error.reason()) == (ErrorKind::Refused, Some(Reason::REFUSED_STREAM))
        );
        sender.closed().await;
        let stats = client.stats();
        ensure!((stats.retries, stats.refused) == (0, 1), "{stats:?}");
        client.close().await?;
        Ok(())
    })
}

#[test]
fn requests_beyond_the_servers_limit_of_streams_go_over_more_links() -> TestResult {
    run(async {
        let site = server(Over::Cleartext, |io| async {
            let mut builder = h2::server::Builder::new();
            let mut connection =
                builder.max_concurrent_streams(5).handshake::<_, Bytes>(io).await?;
            while let Some(arrival) = connection.accept().await {
                let (_, mut respond) = arrival?;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    respond.send_response(Response::new(()), true)
                });
            }
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let client = site.client_builder().max_links_per_origin(3).build()?;
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let (client, url) = (client.clone(), site.url("/"));
            asked.spawn(async move {
                client.send(Request::get(url).body(Empty::<Bytes>::new())?).await?;
                TestResult::Ok(())
            });
        }
        while let Some(outcome) = asked.join_next().await {
            outcome??;
        }
        let stats = client.stats();
        ensure!((stats.dials, stats.failed_dials) == (3, 0), "{stats:?}");
        Ok(())
    })
}

#[test]
fn a_request_to_nowhere_fails_as_a_connection_does() -> TestResult {
    run(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/", socket.local_addr()?);
        drop(socket);
        let client = h2conn::Client::new()?;
        let request = Request::get(&url).body(Empty::<Bytes>::new())?;
        let error = client.send(request).await.err().context("nothing listens there")?;
        let other = client.connect(&url).await.err().context("nothing listens there")?;
        ensure!(error.kind() == ErrorKind::Connect && error.kind() == other.kind(), "{error:#}");
        client.close().await?;
        let request = Request::get(&url).body(Empty::<Bytes>::new())?;
        let error = client.send(request).await.err().context("the client is closed")?;
        ensure!(error.kind() == ErrorKind::Aborted && error.is_permanent(), "{error:#}");
        Ok(())
    })
}
