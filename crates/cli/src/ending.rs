//! The end of a connection that this side no longer reads, though its peer may still send.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use h2conn::http::Response;
use h2conn::{Conn, Error, Reason, Transport};
use tokio::time::{sleep, timeout};

/// How long the program waits at its end for the last frames of a connection to leave. All of its
/// bytes have arrived by then, or were given up.
pub(crate) const PARTING: Duration = Duration::from_secs(1);

/// How long a peer may send over a WebSocket without an answer to a ping.
const UNANSWERED: Duration = Duration::from_secs(30);

/// Ends a connection when nothing that its peer still sends would be read. The connection is reset
/// if the peer goes on sending, or does not end its direction within the library's time limit. That
/// reset is a good end: the peer has everything.
///
/// # Errors
///
/// The error that ended the connection before the peer had everything.
pub(crate) async fn close(conn: &Conn) -> h2conn::Result<()> {
    conn.close().await.or_else(|error| {
        if error.was_delivered() || is_a_goodbye(&error) { Ok(()) } else { Err(error) }
    })
}

/// Ends a connection whose user has set a limit on how long the peer may go on. Once the peer has everything, it has
/// [`PARTING`] to end its side, and is then reset with `reason`. If anything else comes, it is reset without this delay:
/// its bytes have no receiver, and it must not take them for received.
///
/// # Errors
///
/// The error that ended the connection before the peer had everything.
pub(crate) async fn hang_up(conn: &Conn, reason: Reason) -> h2conn::Result<()> {
    if !has_half_close(conn).await {
        // The close frame says it all, and nothing can be asked behind it. `close` continues in the background after
        // the timeout.
        let closed = timeout(PARTING, close(conn)).await;
        conn.reset(reason);
        return closed.unwrap_or(Ok(()));
    }
    let printed = conn.stats().bytes_read;
    let delivered = pin!(delivered(conn));
    let next = pin!(async {
        let more = conn.read_chunk().await;
        match more {
            Err(error) if !is_a_goodbye(&error) => Err(error),
            more => Ok(matches!(more, Ok(Some(_)))),
        }
    });
    let more_comes = match select(next, delivered).await {
        Either::Left((more_comes, delivered)) => {
            let more_comes = more_comes?;
            if more_comes {
                delivered.await?;
            }
            more_comes
        }
        Either::Right((delivered, next)) => {
            delivered?;
            timeout(PARTING, next).await.unwrap_or(Ok(true))?
        }
    };
    if !more_comes && conn.stats().bytes_read == printed {
        return close(conn).await;
    }
    conn.reset(reason);
    Ok(())
}

/// Waits until the peer has everything.
async fn delivered(conn: &Conn) -> h2conn::Result<()> {
    let stuck = async {
        let mut before = None;
        while before != Some(conn.stats().bytes_sent) {
            before = Some(conn.stats().bytes_sent);
            sleep(UNANSWERED).await;
        }
    };
    tokio::select! {
        sent = conn.sent() => sent?,
        // The library's limit for a peer that takes nothing counts from here.
        () = stuck => return close(conn).await,
    }
    match is_websocket(conn) {
        true => answered(conn).await,
        false => asked(conn).await,
    }
}

/// Waits until the peer has answered a ping that was sent after this call. The first one may have been on its way before,
/// because callers share it.
async fn asked(conn: &Conn) -> h2conn::Result<()> {
    conn.ping().await?;
    conn.ping().await.map(drop)
}

/// Waits until the peer has answered a ping, which is sent after all data, so that the data has arrived. Whatever comes
/// meanwhile is dropped, because the answer over a WebSocket stands behind it. A peer of a WebSocket that goes on sending
/// and does not answer is given up: a reset follows the data there, and takes nothing away.
///
/// # Errors
///
/// The link has ended before the answer.
pub(crate) async fn answered(conn: &Conn) -> h2conn::Result<()> {
    let dropping = async {
        // An end, or an error, is no answer.
        let _ = discard(conn).await;
        pending().await
    };
    tokio::select! {
        answered = asked(conn) => answered,
        never = dropping => never,
        () = sleep(UNANSWERED), if is_websocket(conn) => Ok(()),
    }
}

/// Reads and drops bytes that no longer have a receiver, to the end, so that the peer is not blocked.
///
/// # Errors
///
/// The error that ended the connection.
pub(crate) async fn discard(conn: &Conn) -> h2conn::Result<()> {
    while conn.read_chunk().await?.is_some() {}
    Ok(())
}

fn is_websocket(conn: &Conn) -> bool {
    matches!(conn.transport(), Transport::WebSocketHttp1 | Transport::WebSocketHttp2)
}

/// Whether one side of the connection can end and the other go on. A WebSocket to a server of another library has no
/// such end.
pub(crate) async fn has_half_close(conn: &Conn) -> bool {
    if !is_websocket(conn) {
        return true;
    }
    let chosen = |answer: Response<()>| answer.headers().get("sec-websocket-protocol").cloned();
    conn.response().await.ok().and_then(chosen).is_some_and(|chosen| chosen == "h2conn.v1")
}

/// Whether an error after the peer's last byte says only that the peer reads no more: RST_STREAM
/// with `NO_ERROR` (RFC 9113 §8.1).
pub(crate) fn is_a_goodbye(error: &Error) -> bool {
    error.is_by_peer() && error.reason() == Some(Reason::NO_ERROR)
}
