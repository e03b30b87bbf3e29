//! The ends of ordinary requests: dropped responses, early answers, servers that go.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use bytes::Bytes;
use futures_util::stream;
use h2conn::http::{Request, Response, StatusCode};
use h2conn::{ErrorKind, Listener, Reason};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::{channel, data, full, hear, post};
use crate::serve::served;
use crate::support::foreign::server;
use crate::support::raw::{self, DATA, HEADERS, RST_STREAM, Raw};
use crate::support::{Over, Site, TestResult, listen, listen_with, noise, run, serve, tcp_server};

/// A router whose answer begins at once and goes on as long as the request's body does. It tells of
/// the body's end.
fn endless() -> (Router, mpsc::UnboundedReceiver<Result<(), String>>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let app = Router::new().fallback(any(move |request: AxumRequest| {
        let ended = ended.clone();
        async move {
            let mut body = request.into_body();
            tokio::spawn(async move {
                let end = loop {
                    match body.frame().await {
                        None => break Ok(()),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break Err(format!("{error:?}")),
                    }
                };
                let _ = ended.send(end);
            });
            let first = stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from("begun")))]);
            AxumBody::new(StreamBody::new(futures_util::StreamExt::chain(first, stream::pending())))
        }
    }));
    (app, ends)
}

#[test]
fn a_response_that_is_dropped_early_takes_the_request_back() -> TestResult {
    run(async {
        let (app, mut ends) = endless();
        let site = served(Over::Cleartext, app).await?;
        let client = site.client()?;
        let (sender, body) = channel();
        let mut response = client.send(post(&site, "/", body)?).await?.into_body();
        sender.send(data("some"))?;
        let frame = response.frame().await.context("it has begun")??;
        ensure!(frame.into_data().is_ok_and(|data| data == "begun"));
        drop(response);
        let end = ends.recv().await.context("the handler heard of it")?;
        ensure!(end.as_ref().is_err_and(|error| error.contains("CANCEL")), "{end:?}");
        // The body is dropped too.
        sender.closed().await;
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_request_whose_future_is_dropped_is_taken_back() -> TestResult {
    run(async {
        let (began, mut begun) = mpsc::unbounded_channel();
        let gone = Arc::new(Notify::new());
        let told = Arc::clone(&gone);
        let app = Router::new().fallback(any(move || {
            let (began, told) = (began.clone(), Arc::clone(&told));
            async move {
                struct Told(Arc<Notify>);
                impl Drop for Told {
                    fn drop(&mut self) {
                        self.0.notify_one();
                    }
                }
                let _told = Told(told);
                let _ = began.send(());
                pending::<()>().await;
            }
        }));
        let site = served(Over::Cleartext, app).await?;
        let client = site.client()?;
        let request = post(&site, "/", full("some"))?;
        tokio::select! {
            answer = client.send(request) => anyhow::bail!("an answer: {answer:?}"),
            _ = begun.recv() => {}
        }
        gone.notified().await;
        client.close().await?;
        Ok(())
    })
}

#[test]
fn an_early_answer_is_heard_whole_and_ends_the_body() -> TestResult {
    run(async {
        let app = Router::new().fallback(any(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "no") }));
        let ours = served(Over::Cleartext, app).await?;
        let h2 = server(Over::Cleartext, |io| async {
            let mut connection = h2::server::handshake(io).await?;
            while let Some(arrival) = connection.accept().await {
                let (_request, mut respond) = arrival?;
                let head = Response::builder().status(413).body(())?;
                // h2 resets a request that is dropped unread, with NO_ERROR.
                respond.send_response(head, false)?.send_data("no".into(), true)?;
            }
            Ok(())
        })
        .await?;
        for site in [ours, h2] {
            let client = site.client()?;
            for pieces in [0, 1, 2] {
                let (sender, body) = channel();
                for _ in 0..pieces {
                    sender.send(data(vec![7; 3 << 20]))?;
                }
                let heard = hear(client.send(post(&site, "/", body)?).await?).await?;
                ensure!(heard.head.is_some_and(|head| head.status() == 413), "no 413");
                ensure!((&heard.body[..], heard.reset) == (b"no", None), "{:?}", heard.reset);
                sender.closed().await;
            }
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn an_answer_that_ends_first_does_not_end_the_body() -> TestResult {
    run(async {
        let (whole, mut bodies) = mpsc::unbounded_channel();
        // It answers, and reads on.
        let site = server(Over::Cleartext, move |io| {
            let whole = whole.clone();
            async move {
                let mut connection = h2::server::handshake(io).await?;
                while let Some(arrival) = connection.accept().await {
                    let (request, mut respond) = arrival?;
                    respond.send_response(Response::new(()), true)?;
                    let whole = whole.clone();
                    tokio::spawn(async move {
                        let body = crate::support::foreign::h2_read(request.into_body()).await;
                        whole.send(body.map(|body| body.len()).map_err(|error| error.to_string()))
                    });
                }
                Ok(())
            }
        })
        .await?;
        let client = site.client()?;
        let (sender, body) = channel();
        let response = client.send(post(&site, "/", body)?).await?;
        hear(response).await?;
        for _ in 0..30 {
            sender.send(data(vec![1; 100_000]))?;
        }
        drop(sender);
        let body = bodies.recv().await.context("the server read it")?;
        ensure!(body == Ok(3_000_000), "{body:?}");
        client.close().await?;
        Ok(())
    })
}

/// A server that answers the first request with the head of a response and these frames.
async fn raw_server(frames: Vec<(u8, u8, Vec<u8>)>) -> TestResult<Site> {
    Ok(Site::cleartext(
        tcp_server(move |io| {
            let frames = frames.clone();
            async move {
                let mut raw = Raw::server(io).await?;
                raw.wait_for(HEADERS, 1).await?;
                for (kind, flags, payload) in frames {
                    raw.send(kind, flags, 1, &payload).await?;
                }
                while raw.next().await?.is_some() {}
                Ok(())
            }
        })
        .await?,
    ))
}

#[test]
fn a_response_that_breaks_off_is_an_error_after_what_has_come() -> TestResult {
    run(async {
        let reset = |reason: Reason| reason.code().to_be_bytes().to_vec();
        let head = (HEADERS, raw::END_HEADERS, raw::OK.to_vec());
        for (frames, reason) in [
            (vec![(RST_STREAM, 0, reset(Reason::INTERNAL_ERROR))], Reason::INTERNAL_ERROR),
            (vec![(RST_STREAM, 0, reset(Reason::NO_ERROR))], Reason::NO_ERROR),
        ] {
            let content = (DATA, 0, b"begun".to_vec());
            let frames = [vec![head.clone(), content], frames].concat();
            let site = raw_server(frames).await?;
            let client = site.client()?;
            let request = Request::get(site.url("/")).body(Empty::<Bytes>::new())?;
            let mut body = client.send(request).await?.into_body();
            let first = body.frame().await.context("the content")??;
            ensure!(first.into_data().is_ok_and(|data| data == "begun"));
            let error = body.frame().await.context("not the end")?.err().context("an error")?;
            ensure!(error.reason() == Some(reason), "{error:#}");
            ensure!(body.frame().await.is_none(), "an error is the last frame");
        }
        Ok(())
    })
}

#[test]
fn a_link_that_dies_under_a_request_is_an_error() -> TestResult {
    run(async {
        let site = Site::cleartext(
            tcp_server(|io| async {
                let mut raw = Raw::server(io).await?;
                raw.wait_for(HEADERS, 1).await?;
                Ok(())
            })
            .await?,
        );
        let client = site.client()?;
        let error = client.send(post(&site, "/", full("x"))?).await;
        let error = error.err().context("there was no response")?;
        ensure!(
            error.kind() == ErrorKind::Reset || error.kind() == ErrorKind::Truncated,
            "{error:#}"
        );
        ensure!(!error.was_not_processed(), "the server may have acted on it: {error:#}");
        ensure!(client.stats().retries == 0);
        Ok(())
    })
}

#[test]
fn a_client_that_closes_waits_for_its_requests() -> TestResult {
    run(async {
        let go_on = Arc::new(Notify::new());
        let waits = Arc::clone(&go_on);
        let (began, mut begun) = mpsc::unbounded_channel();
        let has_answered = Arc::new(AtomicBool::new(false));
        let answered = Arc::clone(&has_answered);
        let app = Router::new().fallback(any(move || {
            let (waits, began) = (Arc::clone(&waits), began.clone());
            let answered = Arc::clone(&answered);
            async move {
                let _ = began.send(());
                waits.notified().await;
                answered.store(true, SeqCst);
                "late"
            }
        }));
        let site = served(Over::Cleartext, app).await?;
        let client = site.client()?;
        let sent = tokio::spawn({
            let (client, request) = (client.clone(), post(&site, "/", full("x"))?);
            async move { hear(client.send(request).await?).await }
        });
        begun.recv().await.context("the handler has begun")?;
        let closing = async {
            client.close().await?;
            ensure!(has_answered.load(SeqCst), "it has not waited");
            Ok(())
        };
        let going_on = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            go_on.notify_one();
        };
        let (closed, (), heard) = tokio::join!(closing, going_on, sent);
        closed?;
        ensure!(heard??.body == b"late");
        Ok(())
    })
}

#[test]
fn a_client_closes_though_a_whole_response_is_unread() -> TestResult {
    run(async {
        let app = Router::new().fallback(any(|| async { "not read yet" }));
        let site = served(Over::Cleartext, app).await?;
        let client = site.client()?;
        let response = client.send(post(&site, "/", full("x"))?).await?;
        client.close().await?;
        ensure!(hear(response).await?.body == b"not read yet");
        Ok(())
    })
}

#[test]
fn a_client_closes_though_a_whole_conn_is_unread() -> TestResult {
    run(async {
        let said = noise(600_000, 1);
        let (listener, site) = listen(Over::Cleartext).await?;
        serve(listener, {
            let said = said.clone();
            move |mut conn| {
                let said = said.clone();
                async move {
                    conn.write_all(&said).await?;
                    conn.shutdown().await?;
                    conn.read_to_end(&mut Vec::new()).await?;
                    Ok(())
                }
            }
        });
        let client = site.client()?;
        let (mut conn, _) = client.connect(site.url("/")).await?;
        conn.shutdown().await?;
        client.close().await?;
        let mut heard = Vec::new();
        conn.read_to_end(&mut heard).await?;
        ensure!(heard == said, "{} bytes", heard.len());
        conn.close().await?;
        Ok(())
    })
}

#[test]
fn a_client_that_closes_cuts_requests_when_its_time_is_up_and_says_so() -> TestResult {
    run(async {
        let (began, mut begun) = mpsc::unbounded_channel();
        let app = Router::new().fallback(any(move || {
            let began = began.clone();
            async move {
                let _ = began.send(());
                pending::<()>().await;
            }
        }));
        let site = served(Over::Cleartext, app).await?;
        let client = site.client_builder().linger_timeout(Duration::from_millis(200)).build()?;
        let sent = tokio::spawn({
            let (client, request) = (client.clone(), post(&site, "/", full("x"))?);
            async move { client.send(request).await }
        });
        begun.recv().await.context("the handler has begun")?;
        let error = client.close().await.err().context("a request was in use")?;
        ensure!(error.kind() == ErrorKind::Aborted, "{error:#}");
        let error = sent.await?.err().context("it was cut")?;
        ensure!(error.reason() == Some(Reason::CANCEL), "{error:#}");
        Ok(())
    })
}

#[test]
fn a_panic_of_the_body_resets_the_request() -> TestResult {
    run(async {
        let (app, mut ends) = endless();
        let (listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        tokio::spawn(async move { h2conn::serve(listener, app).await });
        let client = site.client()?;
        let (sender, mut pieces) = mpsc::unbounded_channel::<()>();
        let body = StreamBody::new(stream::poll_fn(move |cx| {
            pieces.poll_recv(cx).map(|piece| -> Option<Result<Frame<Bytes>, std::io::Error>> {
                piece.map(|()| panic!("on purpose"))
            })
        }));
        let mut response = client.send(post(&site, "/", body)?).await?.into_body();
        sender.send(())?;
        let end = ends.recv().await.context("the handler heard of it")?;
        ensure!(end.as_ref().is_err_and(|error| error.contains("CANCEL")), "{end:?}");
        let error = loop {
            match response.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => anyhow::bail!("the response looks whole"),
            }
        };
        ensure!(error.kind() == ErrorKind::Aborted, "{error:#}");
        Ok(())
    })
}
