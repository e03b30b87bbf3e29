//! The locks and atomics that tasks share.

use std::sync::PoisonError;

pub(crate) use {
    atomic_waker::AtomicWaker,
    std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize},
    std::sync::{Mutex, MutexGuard},
};

/// Locks a mutex whose holders leave it whole even when they panic: each section only moves bytes
/// and sets flags.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
