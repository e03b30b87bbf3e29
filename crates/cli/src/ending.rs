//! The end of a connection on which nobody listens any more, though its peer may go on.

use std::time::Duration;

use h2conn::{Conn, Error, Reason};
use tokio::time::timeout;

/// How long what was given up, or is known to have arrived, may take to leave before the program ends.
pub(crate) const PARTING: Duration = Duration::from_secs(1);

/// Ends a connection when nobody would read what its peer still says. A peer that does not end its side in
/// the library's time, or goes on sending, is reset, which is a good end: it has everything.
///
/// # Errors
///
/// The error that ended the connection before the peer had everything.
pub(crate) async fn close(conn: &Conn) -> h2conn::Result<()> {
    conn.close().await.or_else(|error| {
        let is_given_up = !error.is_by_peer() && error.reason().is_some();
        if is_given_up || is_a_goodbye(&error) { Ok(()) } else { Err(error) }
    })
}

/// As [`close`], for a user who has said how long the peer may go on: once the peer has everything, the
/// connection is reset with `reason`.
///
/// # Errors
///
/// As [`close`].
pub(crate) async fn hang_up(conn: &Conn, reason: Reason) -> h2conn::Result<()> {
    // It goes on when its time is up.
    if let Ok(closed) = timeout(PARTING, close(conn)).await {
        return closed;
    }
    let delivered = async {
        conn.sent().await?;
        // Its answer comes from behind everything.
        conn.ping().await
    };
    tokio::select! {
        // The peer may end its side meanwhile, and its link as well.
        biased;
        closed = conn.closed() => return closed,
        delivered = delivered => delivered?,
    };
    conn.reset(reason);
    Ok(())
}

/// Whether an error after the peer's last byte says only that the peer wants no more: RST_STREAM with
/// `NO_ERROR` (RFC 9113 §8.1).
pub(crate) fn is_a_goodbye(error: &Error) -> bool {
    error.is_by_peer() && error.reason() == Some(Reason::NO_ERROR)
}
