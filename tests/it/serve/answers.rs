//! The same router under our server and under hyper: the client hears the same, field by field.

use std::collections::BTreeSet;
use std::convert::Infallible;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::response::Response as AxumResponse;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::stream;
use h2conn::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::{Heard, ask, h2_client, served};
use crate::support::foreign::server;
use crate::support::framework::stock;
use crate::support::{Over, Site, TestResult, noise, run};

/// A response with this status, these fields and this content.
fn respond(status: u16, fields: &[(&str, &str)], body: impl Into<Body>) -> AxumResponse {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body.into()).expect("a response")
}

fn frames(frames: Vec<Frame<Bytes>>) -> Body {
    Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>))))
}

pub(crate) fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().expect(name), HeaderValue::from_static(value))])
}

/// Says what a handler sees of a request.
async fn describe(request: AxumRequest) -> AxumResponse {
    let (parts, body) = request.into_parts();
    let known = http_body::Body::size_hint(&body).exact().filter(|length| *length > 0);
    let mut text = format!("{} {} {:?} {known:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {value:?}\n"));
    }
    match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned();
            let len = all.to_bytes().len();
            text.push_str(&format!("{len} bytes, trailers {trailers:?}\n"));
        }
        Err(_) => text.push_str("an error\n"),
    }
    respond(200, &[], text)
}

pub(crate) fn app() -> Router {
    let full = |bytes: &'static str| Body::new(Full::new(Bytes::from_static(bytes.as_bytes())));
    Router::new()
        .route("/text", get(|| async { "a text" }))
        .route("/json", get(|| async { axum::response::Html("{}") }))
        .route("/empty", get(|| async {}))
        .route("/204", get(|| async { StatusCode::NO_CONTENT }))
        .route("/204/body", get(move || async move { respond(204, &[], full("no")) }))
        .route("/205", get(|| async { StatusCode::RESET_CONTENT }))
        .route("/206", get(|| async { respond(206, &[("content-range", "bytes 0-1/9")], "ab") }))
        .route("/303", get(|| async { respond(303, &[("location", "/text")], "") }))
        .route("/304", get(|| async { respond(304, &[("etag", "\"a\"")], "") }))
        .route(
            "/304/length",
            get(|| async { respond(304, &[("etag", "\"a\""), ("content-length", "7")], "") }),
        )
        .route("/299", get(|| async { respond(299, &[], "odd") }))
        .route("/999", get(|| async { respond(999, &[], "odd") }))
        .route("/500", get(|| async { respond(500, &[], "a fault") }))
        .route(
            "/date",
            get(|| async { respond(200, &[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], "old") }),
        )
        .route(
            "/fields",
            get(|| async {
                respond(
                    200,
                    &[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", ""), ("X-B", "é")],
                    "x",
                )
            }),
        )
        .route(
            "/many",
            get(|| async {
                let fields: Vec<(String, String)> =
                    (0..100).map(|n| (format!("x-{n}"), "v".repeat(50))).collect();
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                respond(200, &fields, "x")
            }),
        )
        .route(
            "/hop",
            get(|| async {
                respond(
                    200,
                    &[
                        ("connection", "close"),
                        ("keep-alive", "5"),
                        ("transfer-encoding", "chunked"),
                        ("upgrade", "x"),
                        ("proxy-connection", "x"),
                    ],
                    "x",
                )
            }),
        )
        .route(
            "/stream",
            get(|| async {
                frames((0..10).map(|_| Frame::data(Bytes::from_static(b"piece "))).collect())
            }),
        )
        .route("/stream/empty", get(|| async { frames(Vec::new()) }))
        .route(
            "/stream/pieces",
            get(|| async {
                let pieces = ["", "a", "", "b", ""];
                frames(pieces.map(|piece| Frame::data(Bytes::from_static(piece.as_bytes()))).into())
            }),
        )
        .route(
            "/trailers",
            get(|| async {
                frames(vec![
                    Frame::data(Bytes::from_static(b"content")),
                    Frame::trailers(trailers("x-sum", "7")),
                ])
            }),
        )
        .route(
            "/trailers/only",
            get(|| async { frames(vec![Frame::trailers(trailers("grpc-status", "0"))]) }),
        )
        .route(
            "/trailers/large",
            get(|| async {
                frames(vec![
                    Frame::data(Bytes::from(noise(300_000, 3))),
                    Frame::trailers(trailers("x-sum", "7")),
                ])
            }),
        )
        .route("/large", get(|| async { noise(3 << 20, 1) }))
        .route(
            "/length",
            get(|| async {
                respond(
                    200,
                    &[("content-length", "60")],
                    frames((0..10).map(|_| Frame::data(Bytes::from_static(b"piece "))).collect()),
                )
            }),
        )
        .route("/describe/{*path}", any(describe))
        .route("/describe", any(describe))
        .route("/echo", any(|request: AxumRequest| async { Body::new(request.into_body()) }))
        .route("/ignore", any(|| async { "not read" }))
        .route("/early", any(|| async { respond(413, &[], "too much") }))
        .route(
            "/broken",
            get(|| async {
                Body::new(StreamBody::new(stream::iter([
                    Ok(Frame::data(Bytes::from_static(b"begun"))),
                    Err(std::io::Error::other("broken")),
                ])))
            }),
        )
}

/// A router under hyper.
pub(crate) async fn hyper(over: Over, app: Router) -> TestResult<Site> {
    server(over, move |io| {
        let service = TowerToHyperService::new(app.clone());
        let io = TokioIo::new(io);
        async move {
            let served = stock().serve_connection_with_upgrades(io, service).await;
            served.map_err(|error| anyhow::anyhow!("{error:?}"))
        }
    })
    .await
}

/// A request of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) method: Method,
    pub(crate) target: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) content: &'static [&'static [u8]],
    pub(crate) trailers: Option<(&'static str, &'static str)>,
}

pub(crate) const GET: Row =
    Row { method: Method::GET, target: "/", fields: &[], content: &[], trailers: None };
const POST: Row = Row { method: Method::POST, content: &[b"some ", b"content"], ..GET };

const LARGE: &[u8] = &[7; 300_000];

pub(crate) const PATHS: [&str; 28] = [
    "/text",
    "/json",
    "/empty",
    "/204",
    "/204/body",
    "/205",
    "/206",
    "/303",
    "/304",
    "/304/length",
    "/299",
    "/999",
    "/500",
    "/date",
    "/fields",
    "/many",
    "/hop",
    "/stream",
    "/stream/empty",
    "/stream/pieces",
    "/trailers",
    "/trailers/only",
    "/trailers/large",
    "/large",
    "/length",
    "/describe?a=b%20c",
    "/nowhere",
    "/describe/a//b/../%41",
];

pub(crate) const ODD: [Row; 24] = [
    Row { target: "/describe", ..POST },
    Row { target: "/describe", content: &[b""], ..POST },
    Row { target: "/describe", content: &[LARGE, LARGE, LARGE, LARGE, LARGE], ..POST },
    Row { target: "/describe", fields: &[("content-length", "12")], ..POST },
    Row { target: "/describe", fields: &[("content-length", "0")], content: &[b""], ..POST },
    Row { target: "/describe", fields: &[("x", "1"), ("x", "2"), ("y", "")], ..POST },
    Row {
        target: "/describe",
        fields: &[("te", "trailers")],
        trailers: Some(("x-sum", "7")),
        ..POST
    },
    Row { target: "/describe", content: &[], trailers: Some(("x-sum", "7")), ..POST },
    Row { target: "/describe", method: Method::PUT, ..POST },
    Row { target: "/describe", method: Method::PATCH, ..POST },
    Row { target: "/describe", method: Method::DELETE, ..GET },
    Row { target: "/describe", method: Method::OPTIONS, ..GET },
    Row { target: "/describe", method: Method::TRACE, ..GET },
    Row { target: "/text", method: Method::OPTIONS, ..GET },
    Row { target: "/text", ..POST },
    Row { target: "/echo", ..POST },
    Row { target: "/echo", trailers: Some(("x-sum", "7")), ..POST },
    Row { target: "/echo", content: &[LARGE, LARGE, LARGE, LARGE], ..POST },
    Row { target: "/echo", ..GET },
    Row { target: "/ignore", ..POST },
    Row { target: "/ignore", content: &[LARGE, LARGE, LARGE, LARGE, LARGE], ..POST },
    Row { target: "/early", ..POST },
    Row { target: "/early", content: &[LARGE, LARGE, LARGE, LARGE, LARGE], ..POST },
    Row { target: "/broken", ..GET },
];

/// The fields of a head in their order of names, and those of one name in their own order. A date
/// that is not a test's own is only named.
pub(crate) fn shown(heard: &Heard) -> String {
    let Some(head) = &heard.head else { return format!("reset {:?}", heard.reset) };
    if heard.reset == Some(h2::Reason::INTERNAL_ERROR) {
        // Its head may come before, or be overtaken.
        return format!("reset {:?}", heard.reset);
    }
    let mut text = format!("{}\n", head.status());
    let names: BTreeSet<&str> = head.headers().keys().map(|name| name.as_str()).collect();
    for name in names {
        for value in head.headers().get_all(name) {
            let is_now = name == "date" && !value.to_str().is_ok_and(|date| date.contains("1994"));
            match is_now {
                true => text.push_str("date\n"),
                false => {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    text.push_str(&format!("{name}: {value:?}\n"));
                }
            }
        }
    }
    let body = match heard.body.len() {
        ..1_000 => String::from_utf8_lossy(&heard.body).into_owned(),
        len => format!(
            "{len} bytes, {:x}",
            heard
                .body
                .iter()
                .fold(7_u64, |sum, byte| { sum.wrapping_mul(31).wrapping_add(u64::from(*byte)) })
        ),
    };
    text.push_str(&format!("{body}\ntrailers {:?}, reset {:?}", heard.trailers, heard.reset));
    text
}

/// hyper sends a length with a 204, and content too, which RFC 9110 §8.6 and §6.4.1 forbid.
const RIGHT_204: &str = "204 No Content\ndate\n\ntrailers None, reset None";

async fn compare(sites: &[Site; 2], row: &Row) -> TestResult {
    let mut all = Vec::new();
    for site in sites {
        let client = h2_client(site).await?;
        let uri = format!("http://127.0.0.1:1{}", row.target);
        let mut request = Request::builder().method(&row.method).uri(uri);
        for (name, value) in row.fields {
            request = request.header(*name, *value);
        }
        let trailers = row.trailers.map(|(name, value)| trailers(name, value));
        let heard = ask(&client, request.body(())?, row.content, trailers).await?;
        all.push(shown(&heard));
    }
    if row.target.starts_with("/204") {
        ensure!(all[0] != RIGHT_204, "hyper has improved: {}", all[0]);
        all[0] = RIGHT_204.to_owned();
    }
    ensure!(all[0] == all[1], "under hyper:\n{}\n\nunder ours:\n{}", all[0], all[1]);
    Ok(())
}

#[test]
fn a_router_answers_the_same_under_our_server_and_under_hyper() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let sites = [hyper(over, app()).await?, served(over, app()).await?];
            let gets = PATHS.map(|target| Row { target, ..GET });
            let heads = PATHS.map(|target| Row { method: Method::HEAD, target, ..GET });
            let mut wrong = Vec::new();
            for row in gets.iter().chain(&heads).chain(&ODD) {
                if let Err(error) = compare(&sites, row).await {
                    wrong.push(format!("{} {}: {error:#}", row.method, row.target));
                }
            }
            ensure!(wrong.is_empty(), "{over:?}:\n{}", wrong.join("\n\n"));
        }
        Ok(())
    })
}

#[test]
fn many_requests_at_once_get_their_own_answers() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        let client = h2_client(&site).await?;
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..100_usize {
            let client = client.clone();
            asked.spawn(async move {
                let request = Request::post("http://127.0.0.1/echo").body(())?;
                let content = noise(number * 331, number as u64);
                let heard = ask(&client, request, &[&content], None).await?;
                ensure!(heard.body == content, "{number}: {} bytes", heard.body.len());
                TestResult::Ok(())
            });
        }
        while let Some(outcome) = asked.join_next().await {
            outcome?.context("one of many")?;
        }
        Ok(())
    })
}
