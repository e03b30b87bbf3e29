//! How connections are spread over links.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Which connections to an origin share a link. Under every policy the client makes another link
/// when the present ones are full, because a server limits the streams on each link
/// (`SETTINGS_MAX_CONCURRENT_STREAMS`, RFC 9113 §5.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkPolicy {
    /// All connections share a link while it has room. This is cheapest: one handshake, one socket.
    #[default]
    Shared,
    /// Each of the first connections makes a link, up to this number of links. Each later
    /// connection goes to the link with the fewest connections. A lost packet then holds up fewer
    /// connections, and the work is spread over as many tasks as there are links.
    Spread(usize),
    /// Each connection has a link of its own, which ends with it. Each costs a handshake and a
    /// socket, and only the number of connections bounds the number of links.
    Exclusive,
}

/// How many links there may be to an origin, and who shares them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) policy: LinkPolicy,
    pub(super) max_links: usize,
    /// A waiter older than this should not make a link if a younger one waits. A dial ends when the
    /// time of its caller is up, so an old waiter's dial has little time left.
    pub(super) patience: Duration,
}

/// Enough for 10,000 connections at 100 streams a link, the lowest limit of the usual servers. It
/// also bounds the sockets that a loop which opens connections without end can take.
const MAX_LINKS: usize = 100;

impl Default for Rules {
    fn default() -> Rules {
        Rules { policy: LinkPolicy::default(), max_links: MAX_LINKS, patience: Duration::MAX }
    }
}

impl Rules {
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::InvalidInput, what));
        if self.max_links == 0 {
            return wrong("max_links_per_origin is 0, and must be at least 1".to_owned());
        }
        match self.policy {
            LinkPolicy::Spread(links) if links == 0 || links > self.max_links => wrong(format!(
                "link_policy spreads connections over {links} links, and must over 1 to {}, which \
                 is max_links_per_origin",
                self.max_links
            )),
            _ => Ok(()),
        }
    }
}
