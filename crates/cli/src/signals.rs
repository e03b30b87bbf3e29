//! Ctrl-C: once has the peers told, twice ends at once.

use std::io;
use std::time::Duration;

use h2conn::tokio_util::sync::CancellationToken;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Code;
use crate::group;
use crate::report;

/// The second Ctrl-C ends at once, and standard error may not be read.
const PATIENCE: Duration = Duration::from_millis(100);

/// Tells when the user has asked for the end. Clones are of the same user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(CancellationToken);

impl Interrupt {
    /// Watches for Ctrl-C, and on Unix for SIGTERM. The second ends the process where it stands;
    /// its peers see that connections have broken off.
    pub(crate) fn watch() -> Interrupt {
        let interrupt = Interrupt::default();
        let token = interrupt.0.clone();
        // Without signals to be had, the system's default stays.
        if let Ok(mut signals) = Signals::new() {
            tokio::spawn(async move {
                signals.next().await;
                token.cancel();
                signals.next().await;
                report::flush(PATIENCE);
                group::exit(Code::Interrupted as i32);
            });
        }
        interrupt
    }

    /// Asks for the end in the user's place.
    pub(crate) fn ask(&self) {
        self.0.cancel();
    }

    /// Waits until the user has asked for the end. Dropping the future changes nothing.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }
}

/// What asks for the end.
#[cfg(unix)]
struct Signals(Signal, Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Signals> {
        tokio::signal::windows::ctrl_c().map(Signals)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
