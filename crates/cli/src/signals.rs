//! Ctrl-C: once ends in good order, twice at once.

use std::process;

use h2conn::tokio_util::sync::CancellationToken;

/// The exit code of a program that SIGINT has ended, as shells count.
const INTERRUPTED: i32 = 128 + 2;

/// Tells when the user has asked for the end. Clones are of the same user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(CancellationToken);

impl Interrupt {
    /// Watches for Ctrl-C, and on Unix for SIGTERM. The second ends the process where it stands;
    /// its peers see that connections have broken off.
    pub(crate) fn watch() -> Interrupt {
        let interrupt = Interrupt::default();
        let token = interrupt.0.clone();
        tokio::spawn(async move {
            if signal().await {
                token.cancel();
                if signal().await {
                    process::exit(INTERRUPTED);
                }
            }
        });
        interrupt
    }

    /// Waits until the user has asked for the end. Dropping the future changes nothing.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Waits for a signal; false where there are none to be had, and the system's default stays.
#[cfg(unix)]
async fn signal() -> bool {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return false;
    };
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    }
}

#[cfg(not(unix))]
async fn signal() -> bool {
    tokio::signal::ctrl_c().await.is_ok()
}
