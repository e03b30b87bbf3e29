//! The module `testing`: pairs, hosts without a server, and networks with faults.

mod hosts;
mod networks;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use anyhow::{Context, ensure};
use h2conn::ErrorKind;
use h2conn::http::{Method, Request};
use h2conn::testing::{Pair, PairBuilder};
use tokio::io::AsyncWriteExt;

use crate::support::{TestResult, checked, run};

#[test]
fn the_ends_of_a_pair_know_the_request_that_the_test_has_set() -> TestResult {
    run(async {
        let builder = Pair::builder().method(Method::PUT).uri("/a/b?c=d");
        let builder = builder.header("x-one", "1").header("x-two", "2").header("x-two", "3");
        let mut pair = builder.build().await?;
        for _ in 0..2 {
            let (client, server) = pair.open().await?;
            for end in [&client, &server] {
                ensure!(*end.method() == Method::PUT, "{}", end.method());
                ensure!(end.uri() == "http://pair/a/b?c=d", "{}", end.uri());
                ensure!(end.headers()["x-one"] == "1", "{:?}", end.headers());
                let two: Vec<_> = end.headers().get_all("x-two").iter().collect();
                ensure!(two == ["2", "3"], "{two:?}");
            }
        }
        // Another one on the same link.
        let request = Request::post("https://example.com:8443").header("x-one", "other").body(())?;
        let (_client, server) = pair.open_with(request).await?;
        ensure!(server.uri() == "https://example.com:8443/", "{}", server.uri());
        ensure!(server.headers()["x-one"] == "other" && !server.headers().contains_key("x-two"));
        Ok(())
    })
}

#[test]
fn a_request_that_no_client_could_send_is_refused_by_its_name() -> TestResult {
    run(async {
        let wrong: [(PairBuilder, &str); 7] = [
            (Pair::builder().uri("a b"), "\"a b\""),
            (Pair::builder().uri("*"), "slash"),
            (Pair::builder().uri("host:80"), "scheme"),
            (Pair::builder().method(Method::CONNECT), "CONNECT"),
            (Pair::builder().method(Method::HEAD), "HEAD"),
            (Pair::builder().header("a b", "c"), "\"a b\""),
            (Pair::builder().header("connection", "close"), "connection"),
        ];
        for (builder, named) in wrong {
            let error = builder.build().await.err().context(named)?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains(named), "{named}: {error}");
        }
        Ok(())
    })
}

/// Polls a future at most so often, with time for other tasks between.
async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn a_pair_whose_open_was_dropped_anywhere_opens_ends_that_belong_together() -> TestResult {
    checked(60, async {
        let request = |path: &str| Request::post(path).header("x", "1").body(());
        for polls in 0.. {
            let mut pair = Pair::new().await?;
            // Two in a row, one of which may have begun behind the other.
            for path in ["/dropped/1", "/dropped/2"] {
                let opened = poll_at_most(polls, pair.open_with(request(path)?)).await;
                if let Some(opened) = opened {
                    ensure!(opened?.1.uri().path() == path);
                    ensure!(polls > 1, "no future was dropped on its way");
                    return Ok(());
                }
            }
            let (mut client, mut server) = pair.open_with(request("/kept")?).await?;
            ensure!(client.uri().path() == "/kept" && server.uri().path() == "/kept", "{polls}");
            client.write_all(b"hello").await?;
            ensure!(server.read_chunk().await?.as_deref() == Some(&b"hello"[..]), "{polls}");
            tokio::try_join!(client.shutdown(), server.shutdown())?;
        }
        Ok(())
    })
    .await
}

#[test]
fn a_drain_is_told_at_both_ends_and_nothing_more_is_opened() -> TestResult {
    run(async {
        let mut pair = Pair::new().await?;
        let (mut client, mut server) = pair.open().await?;
        pair.drain();
        client.draining().await;
        server.draining().await;
        // Open connections go on.
        client.write_all(b"still here").await?;
        ensure!(server.read_chunk().await?.as_deref() == Some(&b"still here"[..]));
        let error = pair.open().await.err().context("the link drains")?;
        ensure!(error.was_not_processed() || error.kind() == ErrorKind::Refused, "{error:?}");
        server.shutdown().await?;
        ensure!(client.read_chunk().await?.is_none());
        tokio::try_join!(client.close(), server.close())?;
        Ok(())
    })
}
