//! Fields and content of ordinary requests: what is sent, and what is refused.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use bytes::Bytes;
use h2conn::http::{Request, StatusCode};
use h2conn::{ErrorKind, Reason};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{channel, data, described, fields, full, hear, is_ours, post, says};
use crate::serve::answers::{app, hyper};
use crate::serve::served;
use crate::support::foreign::{Io, server};
use crate::support::{Over, Site, TestResult, noise, run};

/// A server of the crate h2 that tells of each request when it begins, and how its content ends.
async fn observed() -> TestResult<(Site, mpsc::UnboundedReceiver<Seen>)> {
    let (seen, heard) = mpsc::unbounded_channel();
    let site = server(Over::Cleartext, move |io| observe(io, seen.clone())).await?;
    Ok((site, heard))
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A request, and whether it has ended with its head.
    Head(bool),
    /// The length of its content, or the reset.
    End(Result<usize, h2::Reason>),
}

async fn observe(io: impl Io, seen: mpsc::UnboundedSender<Seen>) -> TestResult {
    let mut connection = h2::server::handshake(io).await?;
    while let Some(arrival) = connection.accept().await {
        let (request, mut respond) = arrival?;
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut body = request.into_body();
            seen.send(Seen::Head(body.is_end_stream()))?;
            let mut len = 0;
            let mut ended = Ok(());
            while let Some(bytes) = body.data().await {
                match bytes {
                    Ok(bytes) => {
                        len += bytes.len();
                        body.flow_control().release_capacity(bytes.len())?;
                    }
                    Err(error) => {
                        ended = Err(error.reason().context("a reset")?);
                        break;
                    }
                }
            }
            let ended = ended.map(|()| len);
            if ended.is_ok() {
                respond.send_response(h2conn::http::Response::new(()), true)?;
            }
            seen.send(Seen::End(ended))?;
            TestResult::Ok(())
        });
    }
    Ok(())
}

#[test]
fn a_request_without_content_ends_with_its_head() -> TestResult {
    run(async {
        let (site, mut seen) = observed().await?;
        let client = site.client()?;
        let nothing = Request::get(site.url("/")).body(Empty::<Bytes>::new())?;
        client.send(nothing).await?;
        ensure!(seen.recv().await == Some(Seen::Head(true)));
        ensure!(seen.recv().await == Some(Seen::End(Ok(0))));
        client.send(post(&site, "/", full("four"))?).await?;
        ensure!(seen.recv().await == Some(Seen::Head(false)));
        ensure!(seen.recv().await == Some(Seen::End(Ok(4))));
        // Not known to be empty, and empty. Go's gRPC servers overlook an end in the head.
        let (sender, body) = channel();
        drop(sender);
        client.send(post(&site, "/", body)?).await?;
        ensure!(seen.recv().await == Some(Seen::Head(false)));
        ensure!(seen.recv().await == Some(Seen::End(Ok(0))));
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_body_of_a_known_length_announces_it() -> TestResult {
    run(async {
        let site = hyper(Over::Cleartext, app()).await?;
        let client = site.client()?;
        let said = |body: &'static str| post(&site, "/describe", full(body));
        let heard = hear(client.send(said("four")?).await?).await?;
        ensure!(described(&heard, r#"content-length: "4""#), "{heard:?}");
        let heard = hear(client.send(said("")?).await?).await?;
        ensure!(described(&heard, r#"content-length: "0""#), "{heard:?}");
        let nothing = Request::get(site.url("/describe")).body(Empty::<Bytes>::new())?;
        let heard = hear(client.send(nothing).await?).await?;
        ensure!(!String::from_utf8(heard.body)?.contains("content-length"));
        let (sender, body) = channel();
        sender.send(data("four"))?;
        drop(sender);
        let heard = hear(client.send(post(&site, "/describe", body)?).await?).await?;
        ensure!(described(&heard, "4 bytes, trailers None"), "{heard:?}");
        ensure!(!String::from_utf8(heard.body)?.contains("content-length"));
        Ok(())
    })
}

#[test]
fn the_clients_fields_and_the_requests_are_sent_without_those_of_http_1() -> TestResult {
    run(async {
        let site = hyper(Over::Cleartext, app()).await?;
        let client = site
            .client_builder()
            .header("x-both", "the client's")
            .header("x-client", "1")
            .headers_with(|fields| {
                let mut set = |name, value| {
                    fields.insert(name, h2conn::http::HeaderValue::from_static(value));
                };
                set("x-called", "1");
                set("x-last", "the callback's");
            })
            .build()?;
        let mut request = post(&site, "/describe", full("four"))?;
        *request.headers_mut() = fields(&[
            ("x-both", "the request's"),
            ("x-last", "the request's"),
            ("user-agent", "mine"),
            ("host", "other.example:8"),
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "4"),
        ]);
        let heard = hear(client.send(request).await?).await?;
        let text = String::from_utf8(heard.body.clone())?;
        for line in [
            r#"x-both: "the request's""#,
            r#"x-client: "1""#,
            r#"x-called: "1""#,
            r#"x-last: "the callback's""#,
            r#"user-agent: "mine""#,
            r#"te: "trailers""#,
            r#"content-length: "4""#,
            "4 bytes, trailers None",
        ] {
            ensure!(described(&heard, line), "{line} is not there: {text}");
        }
        ensure!(text.starts_with("POST http://other.example:8/describe HTTP/2.0"), "{text}");
        for absent in ["the client's", "x-hop", "keep-alive", "chunked", "connection", "host:"] {
            ensure!(!text.contains(absent), "{absent} is there: {text}");
        }
        Ok(())
    })
}

#[test]
fn a_request_that_cannot_be_sent_is_refused_with_the_reason() -> TestResult {
    run(async {
        let site = hyper(Over::Cleartext, app()).await?;
        let client = site.client()?;
        let url = site.url("/text");
        let begin = || Request::post(&url);
        for (request, text) in [
            (Request::post("/text"), "scheme"),
            (Request::post("ftp://localhost/"), "ftp"),
            (Request::builder().method("CONNECT").uri(&url), "tunnel"),
            (begin().header("content-length", "four"), "content-length"),
            (begin().header("content-length", "4").header("content-length", "4"), "once"),
            (begin().header("host", "a").header("host", "b"), "once"),
            (begin().header("host", "a b"), "host"),
            (begin().header("host", "user@host"), "host"),
        ] {
            let request = request.body(full("four"))?;
            let error = client.send(request).await.err().with_context(|| text)?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:#}");
            ensure!(error.to_string().contains(text), "{text}: {error:#}");
        }
        ensure!(client.stats().dials == 0, "{:?}", client.stats());
        Ok(())
    })
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_never_sent_as_whole() -> TestResult {
    run(async {
        let (site, mut seen) = observed().await?;
        let client = site.client()?;
        for (length, text) in [("3", "longer"), ("5", "1 bytes shorter")] {
            // All of it is there before the request is sent.
            let request = Request::post(site.url("/")).header("content-length", length);
            let error = client.send(request.body(full("four"))?).await;
            let error = error.err().context("it is not sent")?;
            ensure!(error.kind() == ErrorKind::Aborted && says(&error, text), "{error:#}");
            ensure!(client.stats().dials == 0);
        }
        for (length, text) in [("3", "longer"), ("5", "1 bytes shorter")] {
            // It comes while the request is being sent.
            let (sender, body) = channel();
            let request = Request::post(site.url("/")).header("content-length", length);
            let sent = client.send(request.body(body)?);
            sender.send(data("fo"))?;
            let rest = async {
                sender.send(data("ur"))?;
                drop(sender);
                TestResult::Ok(())
            };
            let (sent, rest) = tokio::join!(sent, rest);
            rest?;
            let error = sent.err().context("it is reset")?;
            ensure!(error.kind() == ErrorKind::Aborted && says(&error, text), "{error:#}");
        }
        // The server hears of a reset, or of nothing at all. A last request is whole.
        client.send(post(&site, "/", full("the last"))?).await?;
        client.close().await?;
        let (mut begun, mut ended, mut is_last) = (0, 0, false);
        while !is_last || ended < begun {
            match seen.recv().await.context("the server tells")? {
                Seen::Head(false) => begun += 1,
                Seen::End(Err(h2::Reason::CANCEL)) => ended += 1,
                Seen::End(Ok(8)) => (ended, is_last) = (ended + 1, true),
                seen => anyhow::bail!("{seen:?}"),
            }
        }
        Ok(())
    })
}

#[test]
fn a_body_that_fails_resets_the_request_and_its_error_is_told() -> TestResult {
    run(async {
        let (site, mut seen) = observed().await?;
        let client = site.client()?;
        let (sender, body) = channel();
        let sent = tokio::spawn({
            let (client, request) = (client.clone(), post(&site, "/", body)?);
            async move { client.send(request).await }
        });
        sender.send(data("some"))?;
        ensure!(seen.recv().await == Some(Seen::Head(false)));
        sender.send(Err(io::Error::other("the disk is gone")))?;
        let error = sent.await?.err().context("it is reset")?;
        ensure!(is_ours(&error, Reason::CANCEL) && says(&error, "the disk is gone"), "{error:#}");
        ensure!(seen.recv().await == Some(Seen::End(Err(h2::Reason::CANCEL))));
        // Before anything was sent.
        let failing = [Err::<Frame<Bytes>, _>(io::Error::other("no disk"))];
        let body = StreamBody::new(futures_util::stream::iter(failing));
        let error = client.send(post(&site, "/", body)?).await.err().context("not sent")?;
        ensure!(error.kind() == ErrorKind::Aborted && says(&error, "no disk"), "{error:#}");
        client.close().await?;
        ensure!(seen.try_recv().is_err(), "the second was never sent");
        Ok(())
    })
}

#[test]
fn large_content_flows_both_ways_at_once() -> TestResult {
    const LEN: usize = 20 << 20;
    run(async {
        for site in [served(Over::Tls, app()).await?, hyper(Over::Tls, app()).await?] {
            let client = site.client()?;
            let (sender, body) = channel();
            let mut response = client.send(post(&site, "/echo", body)?).await?.into_body();
            let said = tokio::task::spawn_blocking(move || {
                let mut digest = Sha256::new();
                for seed in 0..(LEN >> 20) as u64 {
                    let piece = noise(1 << 20, seed);
                    digest.update(&piece);
                    sender.send(data(piece))?;
                }
                TestResult::Ok(digest.finalize())
            });
            let (mut digest, mut len) = (Sha256::new(), 0);
            while let Some(frame) = response.frame().await {
                let bytes = frame?.into_data().ok().context("no trailers were sent")?;
                len += bytes.len();
                digest.update(&bytes);
            }
            ensure!(len == LEN, "{len}");
            ensure!(said.await?? == digest.finalize());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_reads_nothing_stops_the_body() -> TestResult {
    run(async {
        let stuck = any(|request: AxumRequest| async move {
            let (parts, body) = request.into_parts();
            if parts.uri.path() == "/never" {
                std::future::pending::<()>().await;
            }
            AxumBody::new(body)
        });
        let site = served(Over::Cleartext, Router::new().fallback(stuck)).await?;
        let client = site.client()?;
        let (sender, mut asked) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
        let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| asked.poll_recv(cx)));
        let request = post(&site, "/never", body)?;
        let sent = tokio::spawn({
            let client = client.clone();
            async move { client.send(request).await }
        });
        // The server takes its window, and the client its queue.
        const WINDOW: usize = 16;
        let mut pieces = 0;
        let stops = async {
            loop {
                let piece = Frame::data(Bytes::from(vec![0; (1 << 20) / WINDOW]));
                let sending = sender.send(Ok(piece));
                tokio::pin!(sending);
                tokio::select! {
                    sent = &mut sending => { sent?; pieces += 1 }
                    () = tokio::time::sleep(Duration::from_millis(500)), if pieces >= WINDOW => break,
                }
            }
            TestResult::Ok(())
        };
        stops.await?;
        ensure!(pieces < 1000, "{pieces}");
        // Another request on the same link is not held up.
        let heard = client.send(post(&site, "/echo", full("here"))?).await?;
        ensure!(hear(heard).await?.body == b"here");
        sent.abort();
        Ok(())
    })
}

#[test]
fn every_status_is_a_response() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        let client = site.client()?;
        for (path, status, body) in [
            ("/nowhere", 404, ""),
            ("/500", 500, "a fault"),
            ("/303", 303, ""),
            ("/early", 413, "too much"),
            ("/999", 999, "odd"),
        ] {
            let request = Request::get(site.url(path)).body(Empty::<Bytes>::new())?;
            let response = client.send(request).await?;
            ensure!(response.status() == StatusCode::from_u16(status)?, "{path}");
            ensure!(response.version() == h2conn::http::Version::HTTP_2);
            ensure!(hear(response).await?.body == body.as_bytes(), "{path}");
        }
        Ok(())
    })
}
