//! The account of what a WebSocket holds, with the server that it came from.

#[cfg(feature = "serve")]
use std::fmt;
use std::sync::Arc;
#[cfg(feature = "serve")]
use std::task::Waker;

use super::Stream;
#[cfg(feature = "serve")]
use crate::pipe::Buffers;

/// Counts the bytes that a connection holds outside of the queues of its stream.
pub(crate) trait Account: Send {
    /// The connection holds these bytes for its user, and these of a message that comes. Returns why
    /// it must be reset, if it must be.
    fn holds(&mut self, unread: usize, coming: usize) -> Option<MustEnd>;

    /// After so many bytes that the user has read, the account wants to know of it.
    fn threshold(&self) -> usize {
        usize::MAX
    }

    /// The connection is over, and holds nothing. Its transport may still receive a message.
    fn is_over(&mut self);
}

/// The reason why a connection must be reset.
pub(crate) struct MustEnd {
    pub(crate) text: String,
    /// Whether the log and the metrics have it already.
    pub(crate) is_reported: bool,
}

/// The accounts of a server of this crate, for connections that do not ride on its streams. It lies
/// among the extensions of their requests.
#[cfg(feature = "serve")]
#[derive(Clone)]
pub(crate) struct Accounts {
    open: Arc<dyn Fn(Waker) -> Box<dyn Account> + Send + Sync>,
    buffers: Arc<Buffers>,
}

#[cfg(feature = "serve")]
impl Accounts {
    pub(crate) fn new(
        buffers: Arc<Buffers>,
        open: impl Fn(Waker) -> Box<dyn Account> + Send + Sync + 'static,
    ) -> Accounts {
        Accounts { open: Arc::new(open), buffers }
    }

    /// The buffers for the bytes that the connection sends.
    pub(crate) fn buffers(&self) -> Arc<Buffers> {
        Arc::clone(&self.buffers)
    }

    /// Opens an account. `task` wakes the task that reports to it, when others need room.
    pub(crate) fn open(&self, task: Waker) -> Box<dyn Account> {
        (self.open)(task)
    }
}

#[cfg(feature = "serve")]
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

/// The account of a connection that rides on a stream. The stream's link resets it.
pub(crate) struct Ridden(Arc<Stream>);

impl Ridden {
    pub(crate) fn new(stream: &Arc<Stream>) -> Ridden {
        Ridden(Arc::clone(stream))
    }
}

/// So few bytes count as read: the task that reports them is not woken each time that the user reads
/// some of them.
const LITTLE: usize = 8 << 10;

impl Account for Ridden {
    fn holds(&mut self, unread: usize, coming: usize) -> Option<MustEnd> {
        let unread = if unread <= LITTLE { 0 } else { unread };
        (!self.0.rides(unread + coming)).then(|| {
            let text = "reset here, because the link of this WebSocket held too much; the log has the details";
            MustEnd { text: text.to_owned(), is_reported: true }
        })
    }

    fn threshold(&self) -> usize {
        LITTLE
    }

    fn is_over(&mut self) {
        self.0.rides(0);
    }
}

impl Drop for Ridden {
    fn drop(&mut self) {
        self.0.rides(0);
    }
}
