//! WebSockets of a client over HTTP/2 (RFC 8441): where they are tried, and what leads from them to HTTP/1.1. `shared_link`
//! has what they do on the link.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{HeaderValue, Response, Version, header};
use h2conn::{ErrorKind, LinkPolicy, Reach, Transport};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;

use super::client_by;
use super::strange::{
    Answering, Behaviour, LONG, SHORT, Strange, accept, answers, check, is_silent, status,
};
use crate::support::framework::Host;
use crate::support::{Over, TestResult, run};

fn takes() -> Behaviour {
    Arc::new(|request| Box::pin(ready(Some(accept(request)))))
}

fn resets(reason: h2::Reason) -> Behaviour {
    Arc::new(move |_| -> Answering {
        let mut answer = status(500);
        if let Some(answer) = &mut answer {
            answer.extensions_mut().insert(reason);
        }
        Box::pin(ready(answer))
    })
}

#[test]
fn auto_takes_the_link_that_it_has_and_remembers_it() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for refuses in [true, false] {
                let strange = Strange::announcing(over, true, refuses, takes()).await?;
                let client = strange.client(if refuses { LONG } else { SHORT })?;
                let (conn, response) = client.connect(strange.site.url("/")).await?;
                ensure!(response.status() == 200, "{}", response.status());
                let link = conn.local_addr().clone();
                check(conn, &Transport::WebSocketHttp2).await?;
                ensure!(strange.all_counts() == [1, 1, 0], "{:?}", strange.all_counts());
                let conn = client.open(strange.site.url("/")).await?;
                ensure!(*conn.local_addr() == link, "another link");
                check(conn, &Transport::WebSocketHttp2).await?;
                ensure!(strange.all_counts() == [1, 2, 0], "{:?}", strange.all_counts());
                client.close().await?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_client_for_websockets_makes_no_link_of_its_own() -> TestResult {
    run(async {
        for policy in [None, Some(LinkPolicy::Exclusive)] {
            let site = Host::Listener.echo(Over::Tls).await?;
            let builder = site.client_builder();
            let client = match policy {
                None => builder.reach(Reach::WebSocket).build()?,
                // The link of the request is not shared.
                Some(policy) => {
                    client_by(Version::HTTP_2, &site, builder.link_policy(policy)).await?
                }
            };
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn an_answer_that_refuses_the_form_leads_to_http1_which_is_remembered() -> TestResult {
    run(async {
        let codes = [400, 404, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504, 505];
        for code in codes {
            let strange = Strange::announcing(Over::Tls, true, true, answers(code)).await?;
            let client = strange.client(LONG)?;
            let (conn, response) = client.connect(strange.site.url("/")).await?;
            ensure!(response.status() == 101, "{code}: {}", response.status());
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.all_counts() == [1, 1, 1], "{code}: {:?}", strange.all_counts());
            let conn = client.open(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.all_counts() == [1, 1, 2], "{code}: {:?}", strange.all_counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn an_answer_about_the_caller_is_the_error_at_once() -> TestResult {
    run(async {
        for code in [301, 401, 403, 429, 500] {
            let strange = Strange::announcing(Over::Cleartext, true, true, answers(code)).await?;
            let site = &strange.site;
            // The request by HTTP/2 is refused first.
            let client = client_by(Version::HTTP_2, site, site.client_builder()).await?;
            let error = client.connect(site.url("/")).await.map(drop).expect_err("it is refused");
            ensure!(error.status().is_some_and(|status| status == code), "{error}");
            ensure!(error.to_string().contains("CONNECT http://"), "{error}");
            ensure!(strange.all_counts() == [1, 1, 0], "{code}: {:?}", strange.all_counts());
        }
        Ok(())
    })
}

#[test]
fn a_server_that_resets_each_connect_is_reached_by_http1() -> TestResult {
    run(async {
        let reasons = [
            h2::Reason::PROTOCOL_ERROR,
            h2::Reason::INTERNAL_ERROR,
            h2::Reason::CANCEL,
            h2::Reason::REFUSED_STREAM,
            h2::Reason::HTTP_1_1_REQUIRED,
        ];
        for reason in reasons {
            let strange = Strange::announcing(Over::Cleartext, true, true, resets(reason)).await?;
            let client = strange.client(LONG)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            // A stream that was not looked at is tried again.
            let tries = if reason == h2::Reason::REFUSED_STREAM { 4 } else { 1 };
            ensure!(strange.all_counts() == [1, tries, 1], "{:?}", strange.all_counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_connect_without_an_answer_leads_to_http1_and_its_stream_is_taken_back() -> TestResult {
    run(async {
        let strange = Strange::announcing(Over::Tls, true, true, is_silent()).await?;
        let client = strange.client(SHORT)?;
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp1).await?;
        ensure!(strange.all_counts() == [1, 1, 1], "{:?}", strange.all_counts());
        // It waits for its streams.
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_connect_that_is_only_slow_is_waited_for_where_http1_is_refused() -> TestResult {
    run(async {
        let slow: Behaviour = Arc::new(|request| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some(accept(request))
            })
        });
        let strange = Strange::announcing(Over::Cleartext, false, true, slow).await?;
        let client = strange.client(SHORT)?;
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        ensure!(strange.all_counts() == [1, 1, 1], "{:?}", strange.all_counts());
        // Now it is known, and waited for alone.
        let (conn, _) = client.connect(strange.site.url("/")).await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        ensure!(strange.all_counts() == [1, 2, 1], "{:?}", strange.all_counts());
        Ok(())
    })
}

#[test]
fn an_answer_that_opens_no_websocket_leads_to_http1() -> TestResult {
    run(async {
        let page: Behaviour = Arc::new(|_| {
            let page = Full::new(Bytes::from_static(b"<html>")).map_err(|never| match never {});
            let mut response = Response::new(page.boxed());
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("6"));
            Box::pin(ready(Some(response)))
        });
        let other: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            let chosen = HeaderValue::from_static("not-offered");
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
            Box::pin(ready(Some(response)))
        });
        let extends: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            let extension = HeaderValue::from_static("permessage-deflate");
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extension);
            Box::pin(ready(Some(response)))
        });
        let two: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            // The subprotocol of this library, which is there, and the other one that was offered.
            let another = HeaderValue::from_static("h2conn.plain");
            response.headers_mut().append(header::SEC_WEBSOCKET_PROTOCOL, another);
            Box::pin(ready(Some(response)))
        });
        for behaviour in [page, other, two, extends] {
            let strange = Strange::announcing(Over::Cleartext, true, true, behaviour).await?;
            let client = strange.client(LONG)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn where_no_way_works_the_error_names_each() -> TestResult {
    run(async {
        let strange = Strange::announcing(Over::Cleartext, false, true, answers(501)).await?;
        let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
        let text = error.map(drop).expect_err("it is refused").to_string();
        let parts = [
            "POST http://",
            "405 Method Not Allowed",
            "; and by a WebSocket: GET http://",
            "404 Not Found",
            "; and by a WebSocket over HTTP/2: CONNECT http://",
            "501 Not Implemented",
        ];
        let mut rest = text.as_str();
        for part in parts {
            rest = rest.split_once(part).with_context(|| format!("{part:?} in {text}"))?.1;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_answers_no_more_is_given_up_and_its_way_forgotten() -> TestResult {
    run(async {
        let calls = Arc::new(AtomicUsize::new(0));
        let once: Behaviour = Arc::new(move |request| {
            let is_first = calls.fetch_add(1, SeqCst) == 0;
            Box::pin(ready(is_first.then(|| accept(request))))
        });
        let strange = Strange::announcing(Over::Cleartext, true, true, once).await?;
        let client = strange
            .site
            .client_builder()
            .reach(Reach::WebSocket)
            .fallback_delay(SHORT)
            .response_timeout(Duration::from_millis(500));
        let client = client_by(Version::HTTP_2, &strange.site, client).await?;
        // The deadline of the first one is that of the test: it is answered at once.
        let (conn, _) =
            client.request(strange.site.url("/")).response_timeout(LONG).connect().await?;
        check(conn, &Transport::WebSocketHttp2).await?;
        let error = client.connect(strange.site.url("/")).await.map(drop).expect_err("silence");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().starts_with("CONNECT http://"), "{error}");
        ensure!(!error.to_string().contains("Client::open"), "{error}");
        let (conn, _) =
            client.request(strange.site.url("/")).response_timeout(LONG).connect().await?;
        check(conn, &Transport::WebSocketHttp1).await
    })
}

#[test]
fn a_connect_that_is_dropped_leaves_nothing_open() -> TestResult {
    run(async {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let silent: Behaviour = Arc::new(move |request| {
            let _ = asked.send(request.into_body());
            Box::pin(ready(None))
        });
        let strange = Strange::announcing(Over::Cleartext, true, true, silent).await?;
        let client = strange.client(LONG)?;
        let connecting = client.connect(strange.site.url("/"));
        let body = tokio::select! {
            connected = connecting => anyhow::bail!("{connected:?}"),
            body = asks.recv() => body.context("a request")?,
        };
        // The server is told by a reset, which hyper takes for the end.
        let _ = body.collect().await;
        client.close().await?;
        ensure!(strange.all_counts() == [1, 1, 0], "{:?}", strange.all_counts());
        Ok(())
    })
}

#[test]
fn a_request_without_content_needs_a_server_that_speaks_the_subprotocol() -> TestResult {
    run(async {
        // An answer without the subprotocol, as of another library.
        let plain: Behaviour = Arc::new(|request| {
            let mut response = accept(request);
            response.headers_mut().remove(header::SEC_WEBSOCKET_PROTOCOL);
            Box::pin(ready(Some(response)))
        });
        let strange = Strange::announcing(Over::Cleartext, false, true, plain).await?;
        let client = strange.client(LONG)?;
        let asking = client.request(strange.site.url("/")).without_content().connect();
        let error = asking.await.map(drop).expect_err("its sides cannot end one by one");
        ensure!(error.to_string().contains("h2conn.v1"), "{error}");
        Ok(())
    })
}
