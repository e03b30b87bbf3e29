//! The knowledge of what the peer has received, after a link has ended.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::carrier::Proof;
use crate::error::{Ending, Error, ErrorKind, Reason, Result};
use crate::pipe::WakerSet;

/// The end of a link, as its handles see it.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The reason why no stream works any more.
    pub(super) ending: Option<Ending>,
    /// Whether the peer has received everything that is owed to it, once the link has ended.
    pub(super) outcome: Option<Result<()>>,
    /// The same for everything that was sent, including reset streams.
    everything: Option<Result<()>>,
    /// Whether the peer may lack more than the ends of streams.
    pub(super) owes_bytes: bool,
    /// The number of the last PING that the peer has acknowledged.
    pub(super) confirmed: u64,
    /// The streams that the peer has reset, as far as they are remembered.
    pub(super) resets: VecDeque<(u32, u32)>,
    /// The transport is closed.
    pub(super) gone: bool,
    pub(super) watchers: WakerSet,
}

/// The facts that a driver knows when its link has ended.
pub(super) struct Last {
    pub(super) ending: Ending,
    /// Whether the peer has received everything that is owed to it.
    pub(super) outcome: Result<()>,
    /// The same for everything that was sent, including reset streams.
    pub(super) everything: Result<()>,
    /// Whether the peer may lack more than the ends of streams.
    pub(super) owes_bytes: bool,
    /// The number of the last PING that the peer has acknowledged.
    pub(super) confirmed: u64,
    /// The streams that the peer has reset, as far as they are remembered.
    pub(super) resets: VecDeque<(u32, u32)>,
}

#[cfg(all(test, h2conn_loom))]
impl Last {
    /// The facts of an end in good order.
    pub(super) fn good() -> Last {
        let (confirmed, resets) = (0, VecDeque::new());
        Last {
            ending: Ending::Gone(None),
            outcome: Ok(()),
            everything: Ok(()),
            owes_bytes: false,
            confirmed,
            resets,
        }
    }
}

impl End {
    /// Whether the peer has received all of a stream, now that the link has ended.
    pub(super) fn confirmation(&self, proof: Proof) -> Result<()> {
        if let Some(code) = first_reset(&self.resets, proof.stream) {
            return was_reset(code);
        }
        match &self.ending {
            // The peer hung up when it got the end, which came right after the last PING.
            Some(Ending::Gone(_)) if proof.ping != 0 && proof.ping <= self.confirmed => Ok(()),
            _ => self.everything.clone().unwrap_or(Ok(())),
        }
    }

    /// Records the end. The first reason counts, and is returned.
    pub(super) fn set(&mut self, last: Last) -> Ending {
        if let Some(ending) = &self.ending {
            return ending.clone();
        }
        self.outcome = Some(last.outcome);
        self.everything = Some(last.everything);
        self.owes_bytes = last.owes_bytes;
        self.confirmed = last.confirmed;
        self.resets = last.resets;
        self.ending.insert(last.ending).clone()
    }
}

/// The code of the first reset of a stream, if it is an error's. After their NO_ERROR, Go's servers
/// send STREAM_CLOSED for further frames, which means nothing more.
pub(super) fn first_reset(resets: &VecDeque<(u32, u32)>, stream: u32) -> Option<u32> {
    let (_, code) = resets.iter().find(|(of, _)| *of == stream)?;
    (*code != 0).then_some(*code)
}

/// The peer has reset a stream that was over here, so it has not taken all of it.
pub(super) fn was_reset(code: u32) -> Result<()> {
    Err(Ending::Reset(Reason::from_code(code)).write_error())
}

/// The reason for those whose connections are reset when their client is closed.
pub(crate) const TIME_IS_UP: &str = "the client was closed, and its time is up";

/// The error of a client that was closed while so many connections were in use.
pub(crate) fn reset_in_use(conns: usize) -> Error {
    let message = format!(
        "{conns} connections were still in use when the client was closed, and were reset when its \
         time was up; end or drop connections before the client"
    );
    Error::new(ErrorKind::Aborted, message).with_reason(Reason::CANCEL)
}

/// A stream with bytes left to send was reset here, and no caller held it.
pub(super) fn given_up(ending: &Ending) -> Error {
    ending
        .write_error()
        .during("a connection that was dropped has lost bytes that it still had to send")
}

/// The same as [`given_up`], for the client that outlives the link.
pub(crate) fn lost_unseen(error: &Error) -> Error {
    error.clone().during("a connection that was dropped ended before the server had everything")
}

/// The reason why it is unknown whether the peer has received the last bytes.
pub(super) fn unconfirmed(ending: &Ending) -> Error {
    const WHAT: &str = "the peer has not acknowledged the last of what was sent, which may be lost";
    match ending {
        Ending::Gone(source) => {
            let error = Error::new(ErrorKind::Closed, format!("the transport ended, and {WHAT}"));
            let error = error.by_the_peer();
            match source {
                Some(source) => {
                    error.with_source(io::Error::new(source.kind(), Arc::clone(source)))
                }
                None => error,
            }
        }
        ending => ending.write_error().during(WHAT),
    }
}
