//! The work on a store that no request asks for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::Store;
use crate::report::say;
use crate::transfer::partial::{Swept, sweep};

/// How often partial files are looked for. To read all directories can take a while.
const PERIOD: Duration = Duration::from_secs(3600);

impl Store {
    /// Removes partial files that nobody has written to for the expiry, at once and then each hour.
    pub(crate) async fn keep_tidy(&self, expiry: Option<Duration>) {
        let Some(expiry) = expiry.filter(|_| self.takes) else { return };
        loop {
            let dir = Arc::clone(&self.dir);
            let sweeping = spawn_blocking(move || {
                SystemTime::now().checked_sub(expiry).map(|before| sweep(&dir, before))
            });
            if let Ok(Some(Swept { files: 1.., bytes })) = sweeping.await {
                say(format_args!(
                    "removed partial files of {bytes} bytes, to which nobody has written for {} s \
                     (--partial-expiry)",
                    expiry.as_secs_f32()
                ));
            }
            sleep(PERIOD).await;
        }
    }
}
