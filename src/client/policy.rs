//! How connections are spread over links.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Which connections to an origin share a link. Whatever it says, another link is made when those
/// there are have no room, since a server takes only so many streams on each
/// (`SETTINGS_MAX_CONCURRENT_STREAMS`, RFC 9113 §5.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkPolicy {
    /// All of them, while there is room. The cheapest: one handshake, one socket.
    #[default]
    Shared,
    /// The first so many connections make a link each, and those that follow go where the fewest
    /// are. A lost packet then holds up fewer of them, and the work is spread over as many tasks.
    Spread(usize),
    /// None: each has a link of its own, which ends with it. A handshake and a socket each, and no
    /// bound but the number of connections.
    Exclusive,
}

/// How many links there may be to an origin, and who shares them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) policy: LinkPolicy,
    pub(super) max_links: usize,
    /// Who has waited for longer is not the one to make a link, if there is another: a dial ends
    /// with the time of whoever makes it.
    pub(super) patience: Duration,
}

/// Enough for 10,000 connections to the servers that take the fewest, 100 on a link, and a bound on the
/// sockets that a loop which opens connections without end can take.
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
