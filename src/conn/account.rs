//! The account of what a WebSocket holds, with the server that it came from.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use super::Stream;

/// Counts the bytes that a connection holds outside of the queues of its stream.
pub(crate) trait Account: Send {
    /// The connection holds these bytes. Returns why it must be reset, if it must be.
    fn holds(&mut self, bytes: usize) -> Option<String>;

    /// The connection is over, and holds nothing. Its transport may still receive a message.
    fn is_over(&mut self);
}

/// The accounts of a server of this crate, for connections that do not ride on its streams. It lies
/// among the extensions of their requests.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<dyn Fn(Waker) -> Box<dyn Account> + Send + Sync>);

impl Accounts {
    pub(crate) fn new(
        open: impl Fn(Waker) -> Box<dyn Account> + Send + Sync + 'static,
    ) -> Accounts {
        Accounts(Arc::new(open))
    }

    /// Opens an account. `task` wakes the task that reports to it, when others need room.
    pub(crate) fn open(&self, task: Waker) -> Box<dyn Account> {
        (self.0)(task)
    }
}

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

impl Account for Ridden {
    fn holds(&mut self, bytes: usize) -> Option<String> {
        self.0.rides(bytes);
        None
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
