//! The answers of `accept` to unusual requests, under hyper and under axum. `websocket/requests.rs`
//! has those for WebSockets.

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use h2conn::{Acceptor, Conn};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::foreign::h2_read;
use crate::support::framework::{Host, hyper_server};
use crate::support::{Over, Site, TestResult, echo, run};

struct Row {
    request: &'static str,
    by: Version,
    method: Method,
    field: Option<(&'static str, &'static str)>,
    /// The part of the request that follows the head, once the head is answered.
    body: Body,
    status: StatusCode,
    allow: Option<&'static str>,
    /// The whole body of the answer, or the beginning of a refusal.
    heard: &'static str,
}

#[derive(Clone, Copy)]
enum Body {
    /// The head has ended the request.
    Ended,
    /// These bytes, then the end.
    Bytes(&'static str),
    /// These bytes, then trailers.
    WithTrailers(&'static str),
}

/// A normal request.
const PLAIN: Row = Row {
    request: "a plain one",
    by: Version::HTTP_2,
    method: Method::POST,
    field: None,
    body: Body::Bytes("hello"),
    status: StatusCode::OK,
    allow: None,
    heard: "hello",
};

const REFUSED: Row = Row { body: Body::Ended, ..PLAIN };

const LIVE: &str = "this URL is for connections that stay open both ways, and a ";

const TABLE: [Row; 14] = [
    PLAIN,
    Row {
        request: "HTTP/1.1 that asks for no WebSocket",
        by: Version::HTTP_11,
        status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        heard: "a full-duplex connection needs HTTP/2, and this request came by HTTP/1.1",
        ..REFUSED
    },
    Row {
        request: "HEAD",
        method: Method::HEAD,
        status: StatusCode::METHOD_NOT_ALLOWED,
        allow: Some("POST, PUT"),
        heard: "",
        ..REFUSED
    },
    Row {
        request: "TRACE",
        method: Method::TRACE,
        status: StatusCode::METHOD_NOT_ALLOWED,
        allow: Some("POST, PUT"),
        heard: "TRACE cannot open a connection here; use one of: POST, PUT\n",
        ..REFUSED
    },
    Row { request: "PUT, as curl has it", method: Method::PUT, ..PLAIN },
    Row { request: "GET with a body", method: Method::GET, ..PLAIN },
    Row {
        request: "GET of somebody who opens the URL",
        method: Method::GET,
        status: StatusCode::BAD_REQUEST,
        heard: LIVE,
        ..REFUSED
    },
    Row {
        request: "the same by HTTP/1.1",
        by: Version::HTTP_11,
        method: Method::GET,
        status: StatusCode::BAD_REQUEST,
        heard: LIVE,
        ..REFUSED
    },
    Row {
        request: "OPTIONS, as browsers ask before",
        method: Method::OPTIONS,
        status: StatusCode::BAD_REQUEST,
        heard: LIVE,
        ..REFUSED
    },
    Row {
        request: "DELETE without a body",
        method: Method::DELETE,
        body: Body::Ended,
        heard: "",
        ..PLAIN
    },
    Row { request: "a body that has already ended", body: Body::Ended, heard: "", ..PLAIN },
    Row { request: "a length, after which it ends", field: Some(("content-length", "5")), ..PLAIN },
    Row {
        request: "a question whether to go on, answered at once",
        field: Some(("expect", "100-continue")),
        ..PLAIN
    },
    Row { request: "trailers", body: Body::WithTrailers("hello"), ..PLAIN },
];

/// Returns the status, fields and body. The request's body is sent after the answer's head has
/// arrived.
async fn ask(site: &Site, row: &Row) -> TestResult<Response<Vec<u8>>> {
    let mut request = Request::builder().method(&row.method).uri(site.url("/"));
    if let Some((name, value)) = row.field {
        request = request.header(name, value);
    }
    let io = TcpStream::connect(site.addr).await?;
    if row.by == Version::HTTP_11 {
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        let request = request.header("host", site.addr.to_string()).body(Empty::<Bytes>::new())?;
        let (head, body) = send.send_request(request).await?.into_parts();
        return Ok(Response::from_parts(head, body.collect().await?.to_bytes().to_vec()));
    }
    let (send, connection) = h2::client::handshake(io).await?;
    tokio::spawn(connection);
    let mut send = send.ready().await?;
    let ended = matches!(row.body, Body::Ended);
    let (response, mut stream) = send.send_request(request.body(())?, ended)?;
    let (head, answer) = response.await?.into_parts();
    match row.body {
        Body::Ended => {}
        Body::Bytes(bytes) => stream.send_data(bytes.into(), true)?,
        Body::WithTrailers(bytes) => {
            stream.send_data(Bytes::from(bytes), false)?;
            stream.send_trailers(HeaderMap::from_iter([("x".parse()?, "y".parse()?)]))?;
        }
    }
    Ok(Response::from_parts(head, h2_read(answer).await?))
}

async fn check(site: &Site, row: &Row) -> TestResult {
    let answer = ask(site, row).await?;
    ensure!(answer.status() == row.status, "{}", answer.status());
    let allow = answer.headers().get("allow").map(|allow| allow.to_str()).transpose()?;
    ensure!(allow == row.allow, "{allow:?}");
    let heard = String::from_utf8(answer.into_body())?;
    let right = if row.status == StatusCode::OK {
        heard == row.heard
    } else {
        heard.starts_with(row.heard)
    };
    ensure!(right, "{heard:?}");
    Ok(())
}

#[test]
fn each_odd_request_is_a_conn_or_is_told_why_it_is_none() -> TestResult {
    run(async {
        for host in Host::OF_ACCEPT {
            let site = host.echo(Over::Cleartext).await?;
            for row in &TABLE {
                check(&site, row).await.with_context(|| format!("{host:?}: {}", row.request))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_method_that_the_acceptor_does_not_take_is_told_which_it_takes() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().methods([Method::PUT, Method::POST]).build()?;
        let site = hyper_server(Over::Cleartext, acceptor, echo).await?;
        let row = Row {
            request: "PATCH",
            method: Method::PATCH,
            status: StatusCode::METHOD_NOT_ALLOWED,
            allow: Some("PUT, POST"),
            heard: "PATCH cannot open a connection here; use one of: PUT, POST\n",
            ..REFUSED
        };
        check(&site, &row).await
    })
}

#[test]
fn a_get_without_a_body_is_told_how_to_connect() -> TestResult {
    run(async {
        let get = |by| Row { request: "GET", by, method: Method::GET, ..REFUSED };
        let refused = async |site: &Site, by| {
            let answer = ask(site, &get(by)).await?;
            ensure!(answer.status() == StatusCode::BAD_REQUEST, "{}", answer.status());
            let plain = answer.headers().get("content-type").context("a type")?;
            ensure!(plain == "text/plain; charset=utf-8", "{plain:?}");
            Ok(String::from_utf8(answer.into_body())?)
        };
        let without = Acceptor::builder().no_websockets().build()?;
        let without = hyper_server(Over::Cleartext, without, echo).await?;
        for host in Host::OF_ACCEPT {
            let site = host.echo(Over::Cleartext).await?;
            for by in [Version::HTTP_2, Version::HTTP_11] {
                let text = refused(&site, by).await?;
                for way in ["h2conn connect URL", "curl -T . URL", "POST over HTTP/2", "WebSocket"]
                {
                    ensure!(text.contains(way), "{way} is not in: {text}");
                }
                let text = refused(&without, by).await?;
                ensure!(!text.contains("WebSocket"), "none is taken: {text}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_get_without_a_body_is_a_conn_where_the_acceptor_does_not_require_one() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().require_body(false).build()?;
        let site = hyper_server(Over::Cleartext, acceptor, |mut conn: Conn| async move {
            assert_eq!(*conn.method(), Method::GET);
            let mut said = String::new();
            conn.read_to_string(&mut said).await?;
            conn.write_all(b"news").await?;
            conn.shutdown().await
        })
        .await?;
        let row = Row {
            request: "GET to listen",
            method: Method::GET,
            body: Body::Ended,
            heard: "news",
            ..PLAIN
        };
        check(&site, &row).await?;
        let row = Row {
            request: "GET by HTTP/1.1",
            by: Version::HTTP_11,
            method: Method::GET,
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            heard: "a full-duplex connection needs HTTP/2",
            ..REFUSED
        };
        check(&site, &row).await
    })
}

#[test]
fn a_method_that_the_acceptor_does_not_take_is_told_so_before_its_body_is_asked_for() -> TestResult
{
    run(async {
        let acceptor = Acceptor::builder().methods([Method::POST]).build()?;
        let site = hyper_server(Over::Cleartext, acceptor, echo).await?;
        let row = Row {
            request: "GET",
            method: Method::GET,
            status: StatusCode::METHOD_NOT_ALLOWED,
            allow: Some("POST"),
            heard: "GET cannot open a connection here; use one of: POST\n",
            ..REFUSED
        };
        check(&site, &row).await
    })
}
