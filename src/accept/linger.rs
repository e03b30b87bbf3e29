//! The bounded end of a connection that its user has let go.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Duration, Sleep, sleep};

use crate::config::{LINGER_BYTES, LINGER_STALL};
use crate::error::{Error, ErrorKind, Reason};

pub(super) struct Linger {
    /// How long the client has to end its side.
    limit: Duration,
    stage: Stage,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    /// Still in use.
    #[default]
    No,
    /// What was written is being taken; how far it had come at the last look.
    Flushing(u64),
    /// The client may finish its side; bytes of it that were dropped since.
    Draining(usize),
}

/// What has become of the end.
pub(super) enum Lingering {
    GoesOn,
    /// Everything is sent, and the client had its time to finish: which limit it is over.
    Over(Error),
    /// The client takes nothing of what is still to be sent.
    Stuck,
}

impl Linger {
    pub(super) fn new(limit: Duration) -> Linger {
        Linger { limit, stage: Stage::No, timer: None }
    }

    /// Bytes that nobody will read have arrived.
    pub(super) fn dropped(&mut self, bytes: usize) {
        if let Stage::Draining(dropped) = &mut self.stage {
            *dropped += bytes;
        }
    }

    /// Looks at the clock. `progress` grows with what the client's side takes; `sent` says whether
    /// everything has been sent, the end included.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, progress: u64, sent: bool) -> Lingering {
        loop {
            match self.stage {
                Stage::No | Stage::Flushing(_) if sent => {
                    self.wait(Stage::Draining(0), self.limit);
                }
                Stage::No => self.wait(Stage::Flushing(progress), LINGER_STALL),
                Stage::Draining(dropped) if dropped > LINGER_BYTES => {
                    return Lingering::Over(too_much());
                }
                Stage::Flushing(_) | Stage::Draining(_) => {}
            }
            let late = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            match self.stage {
                _ if !late => return Lingering::GoesOn,
                Stage::No => return Lingering::GoesOn,
                Stage::Draining(_) => return Lingering::Over(too_late(self.limit)),
                Stage::Flushing(before) if progress == before => return Lingering::Stuck,
                Stage::Flushing(_) => self.wait(Stage::Flushing(progress), LINGER_STALL),
            }
        }
    }

    fn wait(&mut self, stage: Stage, time: Duration) {
        self.stage = stage;
        self.timer = Some(Box::pin(sleep(time)));
    }
}

fn too_late(limit: Duration) -> Error {
    let message = format!(
        "everything was handed to the server, and the client has not ended its side within {} s, the \
         linger_timeout of this side",
        limit.as_secs_f32()
    );
    Error::new(ErrorKind::TimedOut, message).with_reason(Reason::NO_ERROR)
}

fn too_much() -> Error {
    let message = format!(
        "everything was handed to the server, and the client goes on sending: more than \
         {LINGER_BYTES} bytes have come since, which nobody reads"
    );
    Error::new(ErrorKind::Aborted, message).with_reason(Reason::NO_ERROR)
}
