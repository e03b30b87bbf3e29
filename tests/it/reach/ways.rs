//! `Reach::Auto`: HTTP/2 where it passes, a WebSocket where it does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Client, ErrorKind, LinkPolicy, Reach, Transport};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::strange::{
    Behaviour, LONG, SHORT, Strange, answers, check, is_silent, serve_by_http1, status,
};
use crate::support::foreign::tls_server;
use crate::support::framework::Host;
use crate::support::{Over, Site, TestResult, echo_server, run, tcp_server};

#[test]
fn http2_is_taken_where_it_passes_and_the_request_is_sent_once() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            let (site, mut conns) = host.listen(over).await?;
            let client = site.client_builder().reach(Reach::Auto).fallback_delay(LONG).build()?;
            let (conn, response) = client.connect(site.url("/")).await?;
            ensure!(response.status() == 200 && *conn.transport() == Transport::Request);
            let conn = client.open(site.url("/")).await?;
            ensure!(*conn.transport() == Transport::Request);
            for _ in 0..2 {
                conns.recv().await.context("the server has ended")?;
            }
            ensure!(conns.try_recv().is_err(), "a third request");
        }
        Ok(())
    })
}

#[test]
fn a_status_that_refuses_the_form_leads_to_a_websocket() -> TestResult {
    run(async {
        for code in [400, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504, 505] {
            let strange = Strange::new(Over::Tls, true, answers(code)).await?;
            let client = strange.client(LONG)?;
            let (conn, response) = client.connect(strange.site.url("/")).await?;
            ensure!(response.status() == 101, "{code}: {}", response.status());
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 1), "{code}: {:?}", strange.counts());
            // It is remembered.
            let conn = client.open(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 2), "{code}: {:?}", strange.counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn other_answers_are_errors_at_once() -> TestResult {
    run(async {
        for code in [301, 401, 403, 404, 429, 500] {
            let strange = Strange::new(Over::Cleartext, true, answers(code)).await?;
            let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
            let error = error.map(drop).expect_err("it is refused");
            ensure!(error.status().is_some_and(|status| status == code), "{error}");
            ensure!(strange.counts() == (1, 0), "{code}: {:?}", strange.counts());
        }
        Ok(())
    })
}

#[test]
fn a_box_that_buffers_or_never_answers_leads_to_a_websocket() -> TestResult {
    run(async {
        let buffers: Behaviour = Arc::new(|request| {
            Box::pin(async {
                let _ = request.into_body().collect().await;
                status(200)
            })
        });
        for behaviour in [buffers, is_silent()] {
            let strange = Strange::new(Over::Tls, true, behaviour).await?;
            let client = strange.client(SHORT)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 1), "{:?}", strange.counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_is_only_slow_and_takes_no_websockets_is_waited_for() -> TestResult {
    run(async {
        let slow: Behaviour = Arc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                status(200)
            })
        });
        let strange = Strange::new(Over::Cleartext, false, slow).await?;
        let (conn, response) = strange.client(SHORT)?.connect(strange.site.url("/")).await?;
        ensure!(response.status() == 200 && *conn.transport() == Transport::Request);
        ensure!(strange.counts() == (1, 1), "{:?}", strange.counts());
        Ok(())
    })
}

#[test]
fn if_neither_works_the_error_has_both_reasons() -> TestResult {
    run(async {
        let strange = Strange::new(Over::Cleartext, false, answers(502)).await?;
        let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
        let error = error.map(drop).expect_err("it is refused");
        ensure!(error.status().is_some_and(|status| status == 502), "{error}");
        let text = error.to_string();
        for part in ["502 Bad Gateway", "and by a WebSocket", "404 Not Found"] {
            ensure!(text.contains(part), "{text}");
        }
        Ok(())
    })
}

/// A client that goes to the address that the test has set, whatever the URL says. Each connection has a link of its own.
fn guided(delay: Duration, goal: &Arc<Mutex<SocketAddr>>) -> h2conn::Result<Client> {
    let goal = Arc::clone(goal);
    Client::builder()
        .reach(Reach::Auto)
        .fallback_delay(delay)
        .link_policy(LinkPolicy::Exclusive)
        .connector(move |_| TcpStream::connect(*goal.lock().expect("nothing panics with it")))
        .build()
}

fn go(goal: &Mutex<SocketAddr>, to: SocketAddr) {
    *goal.lock().expect("nothing panics with it") = to;
}

#[test]
fn a_way_that_no_longer_works_is_forgotten() -> TestResult {
    run(async {
        let strange = Strange::new(Over::Cleartext, true, answers(505)).await?;
        let goal = Arc::new(Mutex::new(strange.site.addr));
        let client = guided(LONG, &goal)?;
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::WebSocketHttp1).await?;
        // The way changes to one without HTTP/1.1, and back.
        let plain = echo_server(Over::Cleartext).await?;
        go(&goal, plain.addr);
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::Request).await?;
        go(&goal, strange.site.addr);
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::WebSocketHttp1).await
    })
}

#[test]
fn where_http2_has_passed_passing_troubles_are_no_reason_for_a_websocket() -> TestResult {
    run(async {
        let plain = echo_server(Over::Cleartext).await?;
        let strange = Strange::new(Over::Cleartext, true, answers(503)).await?;
        let goal = Arc::new(Mutex::new(plain.addr));
        let client = guided(SHORT, &goal)?;
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::Request).await?;
        go(&goal, strange.site.addr);
        let error = client.connect("http://somewhere/").await.map(drop).expect_err("it is busy");
        ensure!(error.status().is_some_and(|status| status == 503), "{error}");
        ensure!(strange.counts() == (1, 0), "{:?}", strange.counts());
        Ok(())
    })
}

#[test]
fn many_that_connect_at_once_through_a_silent_box_all_find_the_way() -> TestResult {
    run(async {
        let strange = Strange::new(Over::Tls, true, is_silent()).await?;
        let client = strange.client(SHORT)?;
        let connecting = (0..20).map(|_| client.connect(strange.site.url("/")));
        for connected in futures_util::future::join_all(connecting).await {
            check(connected?.0, &Transport::WebSocketHttp1).await?;
        }
        Ok(())
    })
}

/// Whether a client begins with the preface of HTTP/2, which stays in the socket.
async fn begins_http2(io: &TcpStream) -> TestResult<bool> {
    let mut first = [0; 3];
    while io.peek(&mut first).await? < 3 {
        tokio::task::yield_now().await;
    }
    Ok(first == *b"PRI")
}

/// Serves HTTP/1.1, and does something else to HTTP/2.
async fn only_http1(mut io: TcpStream, answer: &'static [u8]) -> TestResult {
    if begins_http2(&io).await? {
        io.write_all(answer).await?;
        if answer.is_empty() {
            return Ok(());
        }
        // The client must be able to read it.
        io.shutdown().await?;
        io.read_to_end(&mut Vec::new()).await?;
        return Ok(());
    }
    serve_by_http1(io).await
}

#[test]
fn a_server_of_http1_alone_is_reached_by_a_websocket() -> TestResult {
    run(async {
        let bad = &b"HTTP/1.1 400 Bad Request\r\nserver: nginx\r\ncontent-length: 0\r\n\r\n"[..];
        let old = &b"HTTP/1.0 505 HTTP Version Not Supported\r\n\r\n"[..];
        for answer in [&b""[..], bad, old] {
            let addr = tcp_server(move |io| only_http1(io, answer)).await?;
            let site = Site::cleartext(addr);
            let client = site.client_builder().reach(Reach::Auto).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
        }
        // Over TLS, ALPN says it.
        for alpn in [&["http/1.1"][..], &[]] {
            let site = tls_server(alpn, serve_by_http1).await?;
            let client = site.client_builder().reach(Reach::Auto).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
        }
        Ok(())
    })
}

#[test]
fn a_host_that_is_not_there_and_settings_that_exclude_each_other_are_errors() -> TestResult {
    run(async {
        let client = Client::builder().reach(Reach::Auto).build()?;
        let error = client.connect("http://127.0.0.1:1/").await.map(drop).expect_err("nobody");
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(!error.to_string().contains("WebSocket"), "{error}");
        for reach in [Reach::Auto, Reach::WebSocket] {
            let both = Client::builder().reach(reach).protocol("websocket").build();
            let error = both.expect_err("they exclude each other");
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            let (near, _far) = tokio::io::duplex(1 << 10);
            let over = Client::builder().reach(reach).build_over(near).await;
            let error = over.expect_err("it makes no transport");
            ensure!(error.to_string().contains("connector"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn an_answer_about_the_caller_is_given_at_once_whatever_http2_does() -> TestResult {
    run(async {
        let addr = tcp_server(|mut io: TcpStream| async move {
            let mut head = Vec::new();
            if begins_http2(&io).await? {
                // It never answers.
                io.read_to_end(&mut head).await?;
                return Ok(());
            }
            while !head.ends_with(b"\r\n\r\n") {
                head.push(io.read_u8().await?);
            }
            io.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await?;
            Ok(())
        })
        .await?;
        let site = Site::cleartext(addr);
        let client = site
            .client_builder()
            .reach(Reach::Auto)
            .fallback_delay(SHORT)
            .response_timeout(LONG)
            .build()?;
        let error = client.connect(site.url("/")).await.map(drop).expect_err("no token");
        ensure!(error.status().is_some_and(|status| status == 401), "{error:?}");
        Ok(())
    })
}
