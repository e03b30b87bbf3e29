//! The limit RLIMIT_NOFILE.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most that is asked for. Some containers allow 2^30, and programs that close every possible
/// descriptor would then take minutes. No server needs so many connections.
const MOST: u64 = 1 << 20;

/// Asked for if the system refuses the hard limit, as macOS does above OPEN_MAX.
const MODEST: u64 = 10_240;

/// The soft limit before it was raised.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one. The soft limit is low for programs that use `select`, and
/// this program does not.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(soft) = current else { return };
    let hard = maximum.unwrap_or(MOST).min(MOST);
    for wanted in [hard, hard.min(MODEST)] {
        let raised = Rlimit { current: Some(wanted), maximum };
        if wanted > soft && setrlimit(Resource::Nofile, raised).is_ok() {
            let _ = BEFORE.set(soft);
            return;
        }
    }
}

/// The soft limit from before it was raised, for programs that this one starts. `None` if it was
/// not raised.
pub(crate) fn before() -> Option<u64> {
    BEFORE.get().copied()
}

/// The present soft limit, if there is one.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
