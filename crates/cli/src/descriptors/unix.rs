//! The limit RLIMIT_NOFILE.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more are asked for: programs that close all descriptors they could have open would take minutes
/// with the 2^30 of some containers, and nobody has so many connections.
const MOST: u64 = 1 << 20;

/// Some systems have a limit below the hard one, and refuse more (OPEN_MAX of macOS).
const MODEST: u64 = 10_240;

/// The soft limit before it was raised.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one. The soft one is low for programs that use `select`, which this one
/// does not.
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

/// The soft limit before it was raised, for programs that this one starts; nothing if it was not.
pub(crate) fn before() -> Option<u64> {
    BEFORE.get().copied()
}

/// The soft limit now, if there is one.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
