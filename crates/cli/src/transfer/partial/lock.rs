//! The lock of a partial file.

use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;

use fs4::{FileExt, TryLockError};

/// A file that this task has locked. Other tasks may have handles of it that write; then the lock
/// stays until the last of them is closed.
///
/// Without such handles the lock is given up by itself, and not by closing the file alone: a child
/// process that is just being started has this file open for a moment, and with it the lock.
#[derive(Debug)]
pub(super) struct Locked(Arc<File>);

impl Locked {
    /// Locks a file, if no other process or task has.
    pub(super) fn try_new(file: File) -> Result<Locked, TryLockError> {
        FileExt::try_lock(&file)?;
        Ok(Locked(Arc::new(file)))
    }
}

impl Deref for Locked {
    type Target = Arc<File>;

    fn deref(&self) -> &Arc<File> {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 {
            // If this fails, closing the file gives up the lock.
            let _ = FileExt::unlock(&*self.0);
        }
    }
}
