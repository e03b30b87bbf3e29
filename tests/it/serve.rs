//! A router that a listener of ours serves (feature `serve`): ordinary requests beside connections.
//! The connection tests (`nettest.rs`) and the tests with a `Host` use such a server too.

pub(crate) mod answers;
mod application;
mod conns;
mod foreign;
mod half_closed;
mod http1;
mod memory;
mod parting;
mod shutdown;
mod unusual;

use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::client::SendRequest;
use h2conn::http::{HeaderMap, Request, Response};
use h2conn::{Listener, ListenerBuilder};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::support::foreign::io_to;
use crate::support::{GRACE, Over, Site, TestResult, listen_with, noise, websocket};

/// Serves a router with a listener of ours.
pub(crate) async fn served(over: Over, app: Router) -> TestResult<Site> {
    served_with(over, Listener::builder(), app).await
}

async fn served_with(over: Over, builder: ListenerBuilder, app: Router) -> TestResult<Site> {
    let builder = builder.linger_timeout(GRACE).first_conn_timeout(None);
    let (listener, site) = listen_with(over, builder).await?;
    tokio::spawn(async move { h2conn::serve(listener, app).await });
    Ok(site)
}

/// A served router that can be told to end.
struct Stoppable {
    site: Site,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<h2conn::Result<()>>,
}

impl Stoppable {
    /// Begins to serve. `limit` is the time that the end may take.
    async fn start(
        builder: ListenerBuilder,
        app: Router,
        limit: Option<Duration>,
    ) -> TestResult<Stoppable> {
        Stoppable::start_over(Over::Cleartext, builder, app, limit).await
    }

    /// The same, with or without TLS.
    async fn start_over(
        over: Over,
        builder: ListenerBuilder,
        app: Router,
        limit: Option<Duration>,
    ) -> TestResult<Stoppable> {
        let (listener, site) = listen_with(over, builder).await?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let mut serving = h2conn::serve(listener, app).with_graceful_shutdown(stopped);
        if let Some(limit) = limit {
            serving = serving.with_shutdown_timeout(limit);
        }
        Ok(Stoppable { site, stop, serving: tokio::spawn(serving.into_future()) })
    }

    /// Tells it to end. The result comes when it has.
    fn stop(self) -> JoinHandle<h2conn::Result<()>> {
        self.stop.send(()).expect("the server waits for it");
        self.serving
    }
}

/// A connection of the crate `h2`, which is not ours.
pub(crate) async fn h2_client(site: &Site) -> TestResult<SendRequest<Bytes>> {
    let (send, connection) = h2::client::handshake(io_to(site).await?).await?;
    tokio::spawn(async move {
        // The streams tell of the errors.
        let _ = connection.await;
    });
    Ok(send.ready().await?)
}

/// A response as it came, or the reason for the reset in its place.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) head: Option<Response<()>>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) reset: Option<h2::Reason>,
}

/// Sends a request with these pieces of content and trailers, and hears the whole response.
pub(crate) async fn ask(
    send: &SendRequest<Bytes>,
    request: Request<()>,
    content: &[&[u8]],
    trailers: Option<HeaderMap>,
) -> TestResult<Heard> {
    let mut send = send.clone().ready().await?;
    let ends = content.is_empty() && trailers.is_none();
    let (response, mut stream) = send.send_request(request, ends)?;
    if !ends {
        for (at, piece) in content.iter().enumerate() {
            let last = at + 1 == content.len() && trailers.is_none();
            // A server may answer early, and then want no more.
            let _ = stream.send_data(Bytes::copy_from_slice(piece), last);
        }
        if let Some(trailers) = trailers {
            let _ = stream.send_trailers(trailers);
        }
    }
    let mut heard = Heard::default();
    let response = match response.await {
        Ok(response) => response,
        Err(error) => {
            heard.reset = Some(error.reason().ok_or(error)?);
            return Ok(heard);
        }
    };
    let (head, mut body) = response.into_parts();
    heard.head = Some(Response::from_parts(head, ()));
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                heard.body.extend_from_slice(&data);
                body.flow_control().release_capacity(data.len())?;
            }
            Err(error) => {
                heard.reset = Some(error.reason().ok_or(error)?);
                return Ok(heard);
            }
        }
    }
    heard.trailers = body.trailers().await?;
    Ok(heard)
}

/// A request for a path.
fn get(path: &str) -> TestResult<Request<()>> {
    Ok(Request::get(format!("http://127.0.0.1{path}")).body(())?)
}

/// Sends messages to an echo, and hears their bytes again, in whatever messages.
async fn check_messages(socket: &mut websocket::Socket) -> TestResult {
    let said = noise(100_000, 2);
    for message in said.chunks(30_000) {
        socket.send(Message::Binary(Bytes::copy_from_slice(message))).await?;
    }
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        let message = socket.next().await.context("the echo goes on")??;
        heard.extend_from_slice(&message.into_data());
    }
    ensure!(heard == said, "{} bytes", heard.len());
    Ok(())
}
