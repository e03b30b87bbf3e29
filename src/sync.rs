//! The locks and atomics that tasks share. Under `cfg(h2conn_loom)` the tests use loom's, and try
//! every order in which the tasks can meet (`docs/testing.md`).

#[cfg(all(test, h2conn_loom))]
pub(crate) mod model;
#[cfg(test)]
mod woken;

use std::sync::PoisonError;

#[cfg(not(all(test, h2conn_loom)))]
pub(crate) use {
    atomic_waker::AtomicWaker,
    std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, fence},
    std::sync::{Mutex, MutexGuard},
};
#[cfg(all(test, h2conn_loom))]
pub(crate) use {
    loom::sync::atomic::fence,
    loom::sync::{Mutex, MutexGuard},
    model::{AtomicBool, AtomicU8, AtomicUsize, AtomicWaker},
};

#[cfg(test)]
pub(crate) use woken::Woken;

/// Locks a mutex whose data stays consistent even if a holder panics: each critical section only
/// moves bytes and sets flags.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
