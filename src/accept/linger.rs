//! The bounded end of a connection that its user has let go.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Duration, Sleep, sleep};

use crate::config::{LINGER_DRAIN, LINGER_DRAIN_BYTES, LINGER_STALL};

#[derive(Default)]
pub(super) struct Linger {
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
    /// Everything is sent, and the client had its time to finish.
    Over,
    /// The client takes nothing of what is still to be sent.
    Stuck,
}

impl Linger {
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
                    self.wait(Stage::Draining(0), LINGER_DRAIN);
                }
                Stage::No => self.wait(Stage::Flushing(progress), LINGER_STALL),
                Stage::Draining(dropped) if dropped > LINGER_DRAIN_BYTES => return Lingering::Over,
                Stage::Flushing(_) | Stage::Draining(_) => {}
            }
            let late = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            match self.stage {
                _ if !late => return Lingering::GoesOn,
                Stage::No => return Lingering::GoesOn,
                Stage::Draining(_) => return Lingering::Over,
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
