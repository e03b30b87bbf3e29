//! Ordinary requests of our client (feature `requests`), to our server and to hyper's.

mod bodies;
mod ends;
mod links;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{Request as AxumRequest, State};
use axum::response::Response as AxumResponse;
use axum::routing::any;
use bytes::Bytes;
use futures_util::stream;
use h2conn::http::{HeaderMap, Method, Request, Response, StatusCode};
use h2conn::{Client, Error, Reason, ResponseBody};
use http_body_util::{BodyExt, Either, Empty, Full, StreamBody};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tower_service::Service;

use crate::serve::answers::{GET, ODD, PATHS, Row, app, hyper, shown, trailers};
use crate::serve::{Heard, ask, h2_client, served};
use crate::support::{Over, Site, TestResult, noise, run};

/// A body that is not all there at once: its frames come through a channel.
fn channel() -> (mpsc::UnboundedSender<Piece>, impl Body<Data = Bytes, Error = io::Error> + Send) {
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let next = move |cx: &mut TaskContext<'_>| -> Poll<Option<Piece>> { pieces.poll_recv(cx) };
    (sender, StreamBody::new(stream::poll_fn(next)))
}

type Piece = io::Result<Frame<Bytes>>;

fn data(bytes: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(bytes.into()))
}

fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}

/// A request for a path of a site.
fn post<B>(site: &Site, path: &str, body: B) -> TestResult<Request<B>> {
    Ok(Request::post(site.url(path)).body(body)?)
}

/// The whole response.
async fn hear(response: Response<ResponseBody>) -> TestResult<Heard> {
    let (head, mut body) = response.into_parts();
    let mut heard = Heard { head: Some(Response::from_parts(head, ())), ..Heard::default() };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => heard.body.extend_from_slice(&data),
                Err(frame) => heard.trailers = frame.into_trailers().ok(),
            },
            Err(error) => heard.reset = Some(reason(&error)?),
        }
    }
    Ok(heard)
}

fn reason(error: &Error) -> TestResult<h2::Reason> {
    Ok(h2::Reason::from(error.reason().with_context(|| format!("{error:#}"))?.code()))
}

async fn send_row(client: &Client, site: &Site, row: &Row) -> TestResult<Heard> {
    let mut request = Request::builder().method(&row.method).uri(site.url(row.target));
    for (name, value) in row.fields {
        request = request.header(*name, *value);
    }
    let mut frames: Vec<_> = row.content.iter().map(|piece| Frame::data(*piece)).collect();
    frames.extend(row.trailers.map(|(name, value)| Frame::trailers(trailers(name, value))));
    let body = match frames.is_empty() {
        true => Either::Right(Empty::new()),
        false => {
            Either::Left(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>))))
        }
    };
    match client.send(request.body(body)?).await {
        Ok(response) => hear(response).await,
        Err(error) => Ok(Heard { reset: Some(reason(&error)?), ..Heard::default() }),
    }
}

/// The same by another implementation.
async fn ask_row(site: &Site, row: &Row) -> TestResult<Heard> {
    let mut request = Request::builder().method(&row.method).uri(site.url(row.target));
    for (name, value) in row.fields {
        request = request.header(*name, *value);
    }
    let trailers = row.trailers.map(|(name, value)| trailers(name, value));
    let agent = concat!("h2conn/", env!("CARGO_PKG_VERSION"));
    ask(
        &h2_client(site).await?,
        request.header("user-agent", agent).body(())?,
        row.content,
        trailers,
    )
    .await
}

/// hyper sends content with a 204 (RFC 9110 §6.4.1), and heads of more than 100 fields. Our links
/// take neither.
const MALFORMED: [(&str, &str); 3] = [("GET", "/204/body"), ("GET", "/many"), ("HEAD", "/many")];

/// Shows a response. The description of a request lists its fields in any order.
fn in_order(row: &Row, mut heard: Heard) -> String {
    if row.target.starts_with("/describe") {
        let body = String::from_utf8_lossy(&heard.body).into_owned();
        let mut lines: Vec<&str> = body.lines().collect();
        lines.sort_unstable();
        heard.body = lines.join("\n").into_bytes();
    }
    shown(&heard)
}

#[test]
fn our_client_hears_what_another_client_hears() -> TestResult {
    run(async {
        for over in Over::BOTH {
            for site in [hyper(over, app()).await?, served(over, app()).await?] {
                let client = site.client()?;
                let gets = PATHS.map(|target| Row { target, ..GET });
                let heads = PATHS.map(|target| Row { method: Method::HEAD, target, ..GET });
                let mut wrong = Vec::new();
                for row in gets.iter().chain(&heads).chain(&ODD) {
                    if MALFORMED.contains(&(row.method.as_str(), row.target)) {
                        continue;
                    }
                    let heard = send_row(&client, &site, row).await.context(row.target)?;
                    let ours = in_order(row, heard);
                    let other = in_order(row, ask_row(&site, row).await?);
                    if ours != other {
                        wrong.push(format!("{row:?}\nours:\n{ours}\n\nthe other's:\n{other}"));
                    }
                }
                ensure!(wrong.is_empty(), "{over:?}:\n{}", wrong.join("\n\n"));
                ensure!(client.stats().dials == 1, "{:?}", client.stats());
                client.close().await?;
            }
        }
        Ok(())
    })
}

/// Answers with what another server answers, and copies nothing.
async fn forward(
    State((client, backend)): State<(Client, String)>,
    request: AxumRequest,
) -> Result<AxumResponse, (StatusCode, String)> {
    let bad = |error: String| (StatusCode::BAD_GATEWAY, error);
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{backend}{path}").parse().map_err(|_| bad("a bad path".into()))?;
    let response = client.send(Request::from_parts(parts, body)).await;
    Ok(response.map_err(|error| bad(format!("{error:#}")))?.map(AxumBody::new))
}

#[test]
fn a_router_forwards_requests_through_a_client() -> TestResult {
    run(async {
        let backend = served(Over::Tls, app()).await?;
        let client = backend.client()?;
        let state = (client.clone(), backend.url(""));
        let proxy = Router::new().fallback(any(forward)).with_state(state);
        let proxy = served(Over::Cleartext, proxy).await?;
        for row in &ODD {
            if row.target == "/broken" || row.target == "/describe" {
                continue;
            }
            let direct = shown(&ask_row(&backend, row).await?);
            let forwarded = shown(&ask_row(&proxy, row).await?);
            ensure!(forwarded == direct, "{row:?}:\n{forwarded}\n\ndirect:\n{direct}");
        }
        let heard = ask_row(&proxy, &Row { target: "/broken", ..GET }).await?;
        ensure!(heard.head.as_ref().is_some_and(|head| head.status() == 502), "{heard:?}");
        let row = Row { target: "/describe", content: &[b"x"], method: Method::PUT, ..GET };
        let heard = String::from_utf8(ask_row(&proxy, &row).await?.body)?;
        ensure!(heard.contains("1 bytes, trailers None"), "{heard}");
        client.close().await?;
        Ok(())
    })
}

#[test]
fn a_client_is_a_service() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        let mut client = site.client()?;
        let body = full("as a service");
        std::future::poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut client, cx))
            .await?;
        let response = client.call(post(&site, "/echo", body)?).await?;
        ensure!(hear(response).await?.body == b"as a service");
        Ok(())
    })
}

#[test]
fn many_requests_at_once_share_a_link_with_conns() -> TestResult {
    run(async {
        let echo = any(|accept: h2conn::axum::Accept| async move {
            accept.on_conn(|conn| async {
                // The client's end tells of an error.
                let _ = crate::support::echo(conn).await;
            })
        });
        let site = served(Over::Tls, app().route("/conn", echo)).await?;
        let client = site.client()?;
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..60_usize {
            let content = noise(number * 3331, number as u64);
            let request = post(&site, "/echo", full(content.clone()))?;
            let sender = client.clone();
            asked.spawn(async move {
                let heard = hear(sender.send(request).await?).await?;
                ensure!(heard.body == content, "{number}: {} bytes", heard.body.len());
                TestResult::Ok(())
            });
            let conn = client_conn(&client, &site).await?;
            let said = noise(number * 997, number as u64);
            asked.spawn(async move { crate::support::check_echo(conn, &said).await });
        }
        while let Some(outcome) = asked.join_next().await {
            outcome?.context("one of many")?;
        }
        let stats = client.stats();
        ensure!((stats.dials, stats.retries) == (1, 0), "{stats:?}");
        client.close().await?;
        Ok(())
    })
}

async fn client_conn(client: &Client, site: &Site) -> TestResult<h2conn::Conn> {
    Ok(client.connect(site.url("/conn")).await?.0)
}

/// Whether a level of an error says this.
fn says(error: &Error, text: &str) -> bool {
    let mut next = Some(error as &(dyn StdError + 'static));
    while let Some(level) = next {
        if level.to_string().contains(text) {
            return true;
        }
        next = level.source();
    }
    false
}

/// The headers of a request that `/describe` has seen, and the line about its content.
fn described(heard: &Heard, line: &str) -> bool {
    String::from_utf8_lossy(&heard.body).lines().any(|seen| seen == line)
}

/// An error of this side, by this reason.
fn is_ours(error: &Error, reason: Reason) -> bool {
    error.kind() == h2conn::ErrorKind::Aborted && error.reason() == Some(reason)
}

fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in all {
        fields.append(*name, h2conn::http::HeaderValue::from_static(value));
    }
    fields
}
