//! Operations on files. They run on the threads that also look up names.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

/// Half of the threads in the pool. A disk that hangs must not stop work that does not need it.
const MOST: usize = 256;

static STEPS: Semaphore = Semaphore::const_new(MOST);

/// Does this work on a thread, once fewer than [`MOST`] others do such work. The work continues if
/// the handle is dropped.
pub(crate) fn step<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    step_of(&STEPS, work)
}

fn step_of<T: Send + 'static>(
    steps: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    if let Ok(permit) = steps.try_acquire() {
        return spawn_blocking(move || {
            let _permit = permit;
            work()
        });
    }
    tokio::spawn(async move {
        let permit = steps.acquire().await;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime is ending, and this task with it.
            Err(_) => pending().await,
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::sync::{Arc, Mutex, mpsc};

    use super::*;

    /// This test needs a semaphore of its own, because other tests run beside it.
    static OWN: Semaphore = Semaphore::const_new(MOST);

    #[tokio::test]
    async fn steps_that_hang_leave_threads_to_others_and_all_are_done_in_the_end() {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let steps: Vec<_> = (0..MOST * 3)
            .map(|n| {
                let held = Arc::clone(&held);
                step_of(&OWN, move || {
                    // Wait until the other end is dropped.
                    let _ = held.lock().unwrap().recv();
                    n
                })
            })
            .collect();
        assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
        drop(release);
        for (n, step) in steps.into_iter().enumerate() {
            assert_eq!(step.await.unwrap(), n);
        }
    }
}
