//! The end of a connection on which nobody listens any more, though its peer may go on.

use std::time::Duration;

use h2conn::{Conn, Error, Reason};
use tokio::time::timeout;

/// How long a peer that has everything may take to end its side, when nobody would read what it still
/// says.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was given up, or is known to have arrived, may take to leave before the program ends.
pub(crate) const PARTING: Duration = Duration::from_secs(1);

/// Ends a connection whose peer may never end its side: once the peer has everything, it is reset with
/// `reason`. Of a server `NO_ERROR` says that the answer is complete (RFC 9113 §8.1).
///
/// # Errors
///
/// What became of the connection before the peer had everything.
pub(crate) async fn finish(conn: &Conn, reason: Reason) -> h2conn::Result<()> {
    // It goes on when its time is up.
    if let Ok(closed) = timeout(PATIENCE, conn.close()).await {
        // Everything has arrived where this side has given up a peer that goes on.
        let given_up = |error: &Error| !error.is_by_peer() && error.reason() == Some(reason);
        return match closed {
            Err(error) if !is_a_goodbye(&error) && !given_up(&error) => Err(error),
            _ => Ok(()),
        };
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
