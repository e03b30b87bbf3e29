//! The ways to a server: HTTP/2, or a WebSocket where HTTP/2 does not pass (feature `websocket`).

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::call::Call;
use super::target::Origin;
use crate::conn::{Conn, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::observe;
use crate::sync::{Mutex, lock};

/// How a client reaches its servers: [`ClientBuilder::reach`](crate::ClientBuilder::reach).
///
/// A connection needs HTTP/2 on the whole way. Some boxes on the way speak only HTTP/1.1, or hold a request back until it
/// has ended. Nearly all of them let a WebSocket pass, for the sake of browsers.
///
/// # What a WebSocket is as a connection
///
/// With a server of this library (`accept` with the feature `websocket`, which `serve` and axum use, and
/// `ListenerBuilder::websockets`), the connection is the same as over HTTP/2, except that:
///
/// * Over HTTP/1.1 each connection has a socket and a TLS handshake of its own. [`LinkPolicy`](crate::LinkPolicy) and the
///   limits of links do not apply.
/// * Over HTTP/1.1 there is no window for each connection: `initial_window_size` is how much may wait for its reader. Over
///   HTTP/2 there is one, and a quarter of `initial_window_size` and one message may wait in addition. While that much
///   waits, nothing is read, also no answer to a [`ping`](crate::Conn::ping), and over HTTP/1.1 a peer that vanishes is
///   not noticed. [`Stats::stalls`](crate::Stats::stalls) and [`Stats::rtt`](crate::Stats::rtt) say nothing.
/// * Over HTTP/1.1 the request is a GET and its answer has the status 101. Over HTTP/2 it is a CONNECT, and the status is
///   200. The method that is set does not matter. [`Client::open`](crate::Client::open) waits for the response as
///   [`Client::connect`](crate::Client::connect) does.
/// * [`Conn::sent`](crate::Conn::sent) says that the bytes are on the transport.
///
/// With another server, the limits of [`WebSockets`](crate::WebSockets) hold in addition: there is no half-close, and a
/// reset is a close frame.
///
/// # The version of HTTP
///
/// A WebSocket goes over HTTP/2 (RFC 8441) if the client has a link to the origin, which other connections may share, and
/// the server has offered extended CONNECT there. Otherwise it goes over HTTP/1.1. This is what browsers do. A link comes
/// from ordinary requests, or from a request of [`Reach::Auto`] that was refused or has no answer;
/// [`LinkPolicy::Exclusive`](crate::LinkPolicy::Exclusive) has none to share.
///
/// A box may offer extended CONNECT and not pass it on. So the client goes on to HTTP/1.1 when the CONNECT is cut off,
/// reset or refused unseen, when it is answered 404 or with a status that [`Reach::Auto`] falls back for, and when the
/// answer opens no WebSocket. If there is no answer after the
/// [`fallback_delay`](crate::ClientBuilder::fallback_delay), it tries HTTP/1.1 *beside* the CONNECT, and **the server may
/// see both requests**. All other statuses are errors at once. The version is remembered as `Auto` remembers its ways, and
/// where HTTP/2 has worked, the client makes links for it, waits for its answers, and takes 404, 502, 503, 504 and what
/// is cut off for what they are. If neither version works, the error is that of HTTP/1.1 where that was answered, and its
/// text has the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// By HTTP/2 only.
    #[default]
    Http2,
    /// By a WebSocket only, over HTTP/1.1 (RFC 6455) or [HTTP/2](Reach#the-version-of-http).
    WebSocket,
    /// By HTTP/2, and if it does not pass, by a WebSocket.
    ///
    /// A client falls back when there is no HTTP/2 at the other end, when the request is cut off before an answer, and
    /// when it is answered 400, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504 or 505. If there is no answer a second
    /// after the request has left ([`fallback_delay`](crate::ClientBuilder::fallback_delay)), or it could not leave within
    /// that time and there is no answer another second later, the client tries a WebSocket
    /// *beside* it, and keeps what is there first. **So a server that answers late, or a request that was cut off, may mean
    /// that the server sees two requests**; the one that is not used is ended without an end of the stream. A server of
    /// this library that accepts requests as they come answers at once.
    ///
    /// If neither works, the error is that of HTTP/2, and its text has the other; if HTTP/2 gave no answer and the WebSocket
    /// was refused, it is the other way round. An answer of 401, 403 or 429 to the WebSocket is the error at once. A host
    /// that cannot be reached, a certificate that is not accepted, and all other statuses are errors at once.
    ///
    /// The client remembers for ten minutes by which way it has reached an origin, with the version of HTTP. After a
    /// WebSocket it takes that way first. After HTTP/2 it waits for an answer as without `Auto`, and takes a request that was cut off, 502, 503 and 504
    /// for what they are. [`Conn::transport`](crate::Conn::transport) tells which way a connection has.
    ///
    /// A box that passes the response, and then holds its content back, is not noticed.
    Auto,
}

/// How long a way is remembered. A program may move to another network.
const MEMORY: Duration = Duration::from_secs(600);

/// The statuses by which a box, or a server, says that it does not take a request of this form.
const NO_WAY: [u16; 13] = [400, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504, 505];

/// The statuses by which a box says that the server cannot be reached at present.
const PASSING: [u16; 3] = [502, 503, 504];

/// By which way each origin was reached, and when.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<HashMap<Origin, (Way, Instant)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http2,
    WebSocketHttp1,
    WebSocketHttp2,
}

impl Way {
    fn of(conn: &Conn) -> Way {
        match conn.transport() {
            Transport::WebSocketHttp1 => Way::WebSocketHttp1,
            Transport::WebSocketHttp2 => Way::WebSocketHttp2,
            _ => Way::Http2,
        }
    }
}

impl Ways {
    fn to(&self, origin: &Origin) -> Option<Way> {
        let ways = lock(&self.0);
        let (way, since) = ways.get(origin)?;
        (since.elapsed() < MEMORY).then_some(*way)
    }

    fn remember(&self, origin: &Origin, conn: &Conn) {
        let mut ways = lock(&self.0);
        ways.retain(|_, (_, since)| since.elapsed() < MEMORY);
        ways.insert(origin.clone(), (Way::of(conn), Instant::now()));
    }

    fn forget(&self, origin: &Origin) {
        lock(&self.0).remove(origin);
    }
}

impl Call {
    /// Connects by the way that the client is set to.
    pub(super) async fn connect_by(&self, reach: Reach) -> Connected {
        match reach {
            Reach::Http2 => self.connect_by_http2(&watch::Sender::new(false)).await,
            Reach::WebSocket => self.connect_by_websocket().await,
            Reach::Auto => self.connect_by_either().await,
        }
    }

    async fn connect_by_either(&self) -> Connected {
        let inner = &self.client.inner;
        let (ways, origin) = (&inner.sockets.ways, self.target.origin());
        let mut known = ways.to(origin);
        if matches!(known, Some(Way::WebSocketHttp1 | Way::WebSocketHttp2)) {
            match self.connect_by_websocket().await {
                Err(error) if is_of_the_way(&error, true, false) && !is_passing(&error) => {
                    ways.forget(origin);
                }
                done => return done,
            }
            known = None;
        }
        let sent = watch::Sender::new(false);
        let mut by_http2 = pin!(self.connect_by_http2(&sent));
        let mut patience = pin!(async {
            if known == Some(Way::Http2) {
                pending::<()>().await;
            }
            // The sender lives as long as this. Other requests may be first on a link that has not answered yet.
            let is_sent = sent.subscribe();
            let _ = timeout(inner.fallback_delay, wait_for(is_sent)).await;
            sleep(inner.fallback_delay).await;
        });
        let first = tokio::select! {
            biased;
            done = &mut by_http2 => Some(done),
            () = &mut patience => None,
        };
        let failed = match first {
            Some(Err(error)) if is_of_the_way(&error, *sent.borrow(), known.is_some()) => {
                Some(error)
            }
            Some(Ok(connected)) => {
                ways.remember(origin, &connected.0);
                return Ok(connected);
            }
            Some(Err(error)) => {
                if error.is_timeout() {
                    // The next connection tries both ways.
                    ways.forget(origin);
                }
                return Err(error);
            }
            None => None,
        };
        observe::falling_back(failed.as_ref());
        let goes_on = |error: &Error| is_of_the_way(error, true, false);
        let by_websocket = pin!(self.connect_by_websocket());
        let (conn, response) = either(by_http2, failed, goes_on, by_websocket, both).await?;
        ways.remember(origin, &conn);
        Ok((conn, response))
    }

    /// Connects by a WebSocket: over HTTP/2 where a link to the origin offers it, as browsers do, or where that is known to
    /// work. Over HTTP/1.1 otherwise, and where HTTP/2 does not work.
    async fn connect_by_websocket(&self) -> Connected {
        let inner = &self.client.inner;
        if !inner.sockets.open.is_open() {
            return Err(super::pool::closed());
        }
        let (ways, origin) = (&inner.sockets.ways, self.target.origin());
        let known = ways.to(origin);
        let is_known = known == Some(Way::WebSocketHttp2);
        let is_offered = known != Some(Way::WebSocketHttp1) && inner.pool.offers_connect(origin);
        if !is_known && !is_offered {
            return self.upgrade_http1().await;
        }
        let mut over_http2 = pin!(self.upgrade_http2());
        let first = tokio::select! {
            biased;
            done = &mut over_http2 => Some(done),
            () = sleep(inner.fallback_delay), if !is_known => None,
        };
        let failed = match first {
            Some(Err(error)) if is_of_the_connect(&error, is_known) => Some(error),
            Some(Err(error)) => {
                if error.status().is_none() {
                    ways.forget(origin);
                }
                return Err(error);
            }
            Some(Ok(connected)) => {
                if !is_known {
                    ways.remember(origin, &connected.0);
                }
                return Ok(connected);
            }
            None => None,
        };
        observe::falling_back_to_http1(failed.as_ref());
        let goes_on = |error: &Error| is_of_the_connect(error, false);
        let over_http1 = pin!(self.upgrade_http1());
        let (conn, response) =
            either(over_http2, failed, goes_on, over_http1, both_websockets).await?;
        ways.remember(origin, &conn);
        Ok((conn, response))
    }
}

type Connected = Result<(Conn, Response<()>)>;

/// Waits for the first of two ways that connects. `failed` is the error of the first one, if it has failed already. If it
/// fails so that `goes_on` is false, and if the other way is refused to this caller, that is the error at once.
async fn either(
    mut first: Pin<&mut impl Future<Output = Connected>>,
    mut failed: Option<Error>,
    goes_on: impl Fn(&Error) -> bool,
    mut second: Pin<&mut impl Future<Output = Connected>>,
    both: impl Fn(&Error, &Error) -> Error,
) -> Connected {
    let mut also: Option<Error> = None;
    loop {
        if let (Some(first), Some(second)) = (&failed, &also) {
            return Err(both(first, second));
        }
        tokio::select! {
            biased;
            done = &mut first, if failed.is_none() => match done {
                Err(error) if goes_on(&error) => failed = Some(error),
                done => return done,
            },
            done = &mut second, if also.is_none() => match done {
                Err(error) if !is_about_the_caller(&error) => also = Some(error),
                done => return done,
            },
        }
    }
}

/// The error where neither way works: that of HTTP/2, unless only the other has been answered.
fn both(by_http2: &Error, by_websocket: &Error) -> Error {
    if by_http2.is_timeout() && by_websocket.kind() == ErrorKind::Rejected {
        return by_websocket.clone().with_note(&format!("; and by HTTP/2: {by_http2}"));
    }
    by_http2.clone().with_note(&format!("; and by a WebSocket: {by_websocket}"))
}

/// The error where a WebSocket works over neither version: that of HTTP/1.1, if it has been answered, because more servers
/// take WebSockets that way.
fn both_websockets(over_http2: &Error, over_http1: &Error) -> Error {
    if over_http1.kind() == ErrorKind::Rejected {
        let note = format!("; and by a WebSocket over HTTP/2: {over_http2}");
        return over_http1.clone().with_note(&note);
    }
    over_http2.clone().with_note(&format!("; and by a WebSocket over HTTP/1.1: {over_http1}"))
}

/// Whether the answer would be the same by any way: 401, 403, 429.
fn is_about_the_caller(error: &Error) -> bool {
    error.status().is_some_and(|status| [401, 403, 429].contains(&status.as_u16()))
}

/// Whether a box says that the server cannot be reached at present.
fn is_passing(error: &Error) -> bool {
    error.status().is_some_and(|status| PASSING.contains(&status.as_u16()))
}

async fn wait_for(mut is_true: watch::Receiver<bool>) {
    let _ = is_true.wait_for(|is_true| *is_true).await;
}

/// Whether another way may work where this error came. `sent` says whether a request was sent. An origin that `is_known` to
/// be reached by this way has other troubles.
fn is_of_the_way(error: &Error, sent: bool, is_known: bool) -> bool {
    match error.kind() {
        ErrorKind::Unsupported | ErrorKind::Protocol => true,
        ErrorKind::Reset | ErrorKind::Truncated | ErrorKind::Closed | ErrorKind::TimedOut => {
            sent && !is_known
        }
        ErrorKind::Rejected => {
            let is_no_way = |status: StatusCode| NO_WAY.contains(&status.as_u16());
            error.status().is_some_and(is_no_way) && !(is_known && is_passing(error))
        }
        _ => false,
    }
}

/// Whether a WebSocket over HTTP/1.1 may work where an extended CONNECT had this error. A server may know the path for GET
/// alone, and a box may refuse each CONNECT as a stream that it has not looked at.
fn is_of_the_connect(error: &Error, is_known: bool) -> bool {
    let is_unknown_there = error.status() == Some(StatusCode::NOT_FOUND)
        || error.kind() == ErrorKind::Refused && error.status().is_none();
    is_of_the_way(error, true, is_known) || is_unknown_there && !is_known
}
