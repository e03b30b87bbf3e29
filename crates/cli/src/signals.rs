//! Ctrl-C: the first one tells the peers, the second one ends the program at once.

use std::io;
use std::time::Duration;

use h2conn::tokio_util::sync::CancellationToken;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

use crate::exit::Code;
use crate::group;
use crate::report;

/// How long the second Ctrl-C waits for a standard error that may have no reader.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells when the user has asked the program to end. All clones tell the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(CancellationToken);

impl Interrupt {
    /// Watches for Ctrl-C, on Unix for SIGTERM, and on Windows for Ctrl-Break. The second signal ends the process at once, and
    /// its peers see broken connections.
    pub(crate) fn watch() -> Interrupt {
        let interrupt = Interrupt::default();
        let token = interrupt.0.clone();
        // Where signals cannot be watched, the system's default action remains.
        if let Ok(mut signals) = Signals::new() {
            tokio::spawn(async move {
                signals.next().await;
                token.cancel();
                signals.next().await;
                report::say_last("h2conn: interrupted again: ended at once, whatever was open");
                report::flush(PATIENCE);
                group::exit(Code::Interrupted as i32);
            });
        }
        interrupt
    }

    /// Asks the program to end, as the user would.
    pub(crate) fn ask(&self) {
        self.0.cancel();
    }

    /// Whether the user has asked the program to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the user has asked the program to end. Dropping the future changes nothing.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }
}

/// Says what the program does after the first Ctrl-C, if it ends only when `open` connections have, or after
/// `limit`.
pub(crate) fn say_what_is_awaited(open: usize, limit: Duration) {
    let connections = if open == 1 { "connection" } else { "connections" };
    match open {
        0 => report::say("h2conn: interrupted; no connection was open"),
        _ => report::say(format_args!(
            "h2conn: interrupted; waiting up to {} s for {open} {connections} to end; a second Ctrl-C \
             ends at once",
            limit.as_secs()
        )),
    }
}

/// Says that `open` connections have outlasted the limit, and are cut.
pub(crate) fn say_what_was_cut(open: usize) {
    let connections = if open == 1 { "connection was" } else { "connections were" };
    report::say(format_args!("h2conn: {open} {connections} cut off, because the time is up"));
}

/// The signals that ask the program to end.
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

/// The signals that ask the program to end. Another program can send only Ctrl-Break to a chosen
/// process.
#[cfg(windows)]
struct Signals(CtrlC, CtrlBreak);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals(ctrl_c()?, ctrl_break()?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
