//! Clients that speak HTTP/1, by hyper.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tower_service::Service;

use super::{BoxError, ConnInfo, RequestBody};
use crate::conn::Addr;
use crate::listener::{Http1Client, Http1Server};
use crate::sync::{Mutex, lock};

/// Serves with clones of a service, which need not be `Sync`.
pub(super) struct Http1<S>(Mutex<S>);

impl<S> Http1<S> {
    pub(super) fn new(service: S) -> Http1<S> {
        Http1(Mutex::new(service))
    }
}

impl<S, R> Http1Server for Http1<S>
where
    S: Service<Request<RequestBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn serve(&self, client: Http1Client) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let service = lock(&self.0).clone();
        let link = Arc::clone(&client.info);
        let (answered, shutdown) = (Arc::clone(&client.answered), client.shutdown.clone());
        #[cfg(feature = "websocket")]
        let accounts = client.accounts.clone();
        let answer = move |mut request: Request<Incoming>| {
            ConnInfo::describe(&link, request.extensions_mut());
            if let Addr::Ip(peer) = link.peer {
                // For `accept`, which takes WebSockets.
                request.extensions_mut().insert(peer);
            }
            request.extensions_mut().insert(shutdown.clone());
            #[cfg(feature = "websocket")]
            request.extensions_mut().insert(accounts.clone());
            call(request, service.clone(), Arc::clone(&answered))
        };
        let mut ending = client.shutdown.clone();
        Box::pin(client.drive(answer, async move { ending.begins().await }))
    }
}

/// Answers one request.
async fn call<S, R>(
    request: Request<Incoming>,
    mut service: S,
    answered: Arc<Notify>,
) -> Result<Response<R>, BoxError>
where
    S: Service<Request<RequestBody>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let (body, unread) = RequestBody::http1(body);
    let request = Request::from_parts(parts, body);
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    let mut response = service.call(request).await.map_err(Into::into)?;
    // A client for whom there is nothing stays a stranger.
    let status = response.status();
    let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_success() || status.is_redirection() || is_upgrade {
        answered.notify_one();
    }
    // hyper reads none of the rest, and does not say so. A client that hears it stops sending
    // (RFC 9112 §9.6).
    if unread.get() && !is_upgrade {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
