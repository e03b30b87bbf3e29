//! Counts the live resources in a runtime, so that tests can check that none is left over.
//!
//! Without the feature `leak-check` a [`Counted`] is empty, and nothing is counted.

/// The kind of a counted resource.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Link,
    Stream,
    Task,
    Batch,
}

/// One live resource, until this is dropped.
#[cfg(not(feature = "leak-check"))]
#[derive(Debug)]
pub(crate) struct Counted;

#[cfg(not(feature = "leak-check"))]
impl Counted {
    pub(crate) fn new(_: Kind) -> Counted {
        Counted
    }
}

#[cfg(feature = "leak-check")]
pub use counting::Alive;
#[cfg(feature = "leak-check")]
pub(crate) use counting::{Counted, watch_current};

#[cfg(feature = "leak-check")]
mod counting {
    use std::collections::HashMap;
    use std::fmt;
    use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

    use tokio::runtime::{Handle, Id};
    use tokio::sync::watch;

    use super::Kind;

    /// The resources of this library that are alive in a runtime.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Alive {
        /// HTTP/2 connections: with their drivers, or held by a client, a listener or a `Conn`.
        pub links: usize,
        /// Streams: held by a `Conn`, or lingering in their link.
        pub streams: usize,
        /// Tasks that drive a link, or do a handshake for one.
        pub tasks: usize,
        /// Runs of bytes that were handed to HTTP/2 and have not left it.
        pub buffers: usize,
    }

    impl Alive {
        fn count(&mut self, kind: Kind) -> &mut usize {
            match kind {
                Kind::Link => &mut self.links,
                Kind::Stream => &mut self.streams,
                Kind::Task => &mut self.tasks,
                Kind::Batch => &mut self.buffers,
            }
        }
    }

    impl fmt::Display for Alive {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Alive { links, streams, tasks, buffers } = self;
            write!(f, "{links} links, {streams} streams, {tasks} tasks, {buffers} buffers")
        }
    }

    type Counts = watch::Sender<Alive>;

    static RUNTIMES: LazyLock<Mutex<HashMap<Id, Weak<Counts>>>> = LazyLock::new(Mutex::default);

    fn counts(runtime: Id) -> Arc<Counts> {
        let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = runtimes.get(&runtime).and_then(Weak::upgrade) {
            return counts;
        }
        runtimes.retain(|_, counts| counts.strong_count() > 0);
        let counts = Arc::new(watch::Sender::new(Alive::default()));
        runtimes.insert(runtime, Arc::downgrade(&counts));
        counts
    }

    /// The counts of the current runtime.
    pub(crate) fn watch_current() -> Arc<Counts> {
        counts(Handle::current().id())
    }

    /// One live resource, until this is dropped.
    #[derive(Debug)]
    pub(crate) struct Counted(Option<(Kind, Arc<Counts>)>);

    impl Counted {
        /// Counts one more in the current runtime. Outside of a runtime it counts nothing.
        pub(crate) fn new(kind: Kind) -> Counted {
            Counted(Handle::try_current().ok().map(|runtime| {
                let counts = counts(runtime.id());
                counts.send_modify(|alive| *alive.count(kind) += 1);
                (kind, counts)
            }))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            if let Some((kind, counts)) = &self.0 {
                counts.send_modify(|alive| *alive.count(*kind) -= 1);
            }
        }
    }
}
