//! The maintenance of a store.

use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use super::Store;
use crate::report::say;
use crate::transfer::partial::{Swept, sweep};
use crate::transfer::space;
use crate::transfer::step::step;

/// How often partial files are looked for. Reading all directories can take a while.
const PERIOD: Duration = Duration::from_secs(3600);

/// The default quota. Large files fit, but useless bytes cannot fill the disk.
const PERCENT: u64 = 90;

impl Store {
    /// Counts the partial files, and removes those that were not written to for the expiry time. It
    /// does so at once, and then each hour.
    pub(crate) async fn keep_tidy(&self, expiry: Option<Duration>) {
        if !self.takes {
            return;
        }
        loop {
            let store = self.clone();
            // An error is a panic, which was printed.
            let _ = step(move || store.tidy(expiry)).await;
            sleep(PERIOD).await;
        }
    }

    fn tidy(&self, expiry: Option<Duration>) {
        let began = Instant::now();
        let before = expiry.and_then(|expiry| SystemTime::now().checked_sub(expiry));
        // A file stays also where nothing can be said of it.
        let is_secret = |file: &File| self.secrets.have(file).unwrap_or(true);
        let Swept { files, bytes, left } = sweep(&self.dir, before, is_secret);
        self.quota.found(began, &left);
        self.renew_quota();
        if files > 0 {
            let expiry = expiry.unwrap_or_default().as_secs_f32();
            say(format_args!(
                "removed partial files of {bytes} bytes, to which nobody has written for {expiry} s \
                 (--partial-expiry)"
            ));
        }
    }

    /// Unless the user has set a quota, it is [`PERCENT`] of the space that is free or taken by
    /// partial files.
    pub(super) fn renew_quota(&self) {
        if self.asked_quota.is_none()
            && let Some(free) = self.free()
        {
            let all = free.saturating_add(self.quota.total());
            self.quota.set_limit(all / 100 * PERCENT);
        }
    }

    /// The bytes that ordinary users can still write to the file system.
    fn free(&self) -> Option<u64> {
        #[cfg(unix)]
        let free = space::free(&self.dir, ".".as_ref());
        #[cfg(not(unix))]
        let free = space::free(&self.dir, &self.path);
        free
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use h2conn::http::StatusCode;

    use super::super::{Limits, Peer, Secrets};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn partial_files_are_looked_for_at_once_and_then_each_hour() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { takes: true, most: 1, idle: None, quota: None };
        let store = Store::open(temp.path(), limits).unwrap();
        let path = temp.path().join("file.h2conn-part");
        let tidying = tokio::spawn(async move { store.keep_tidy(Some(PERIOD)).await });
        for _ in 0..3 {
            let old = File::create(&path).unwrap();
            old.set_modified(SystemTime::now() - PERIOD * 2).unwrap();
            // On Windows a file keeps its name for as long as it is open.
            drop(old);
            let mut minutes = 0;
            while path.exists() {
                assert!(minutes < 70, "it is still there");
                minutes += 1;
                sleep(PERIOD / 60).await;
            }
        }
        tidying.abort();
    }

    #[test]
    fn a_secret_that_was_given_the_name_of_a_partial_file_stays() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { takes: true, most: 1, idle: None, quota: None };
        let (token, part) = (temp.path().join("token"), temp.path().join("token.h2conn-part"));
        let other = temp.path().join("other.h2conn-part");
        for path in [&token, &other] {
            File::create(path).unwrap().set_modified(SystemTime::now() - PERIOD * 2).unwrap();
        }
        let secrets = Secrets::at([&token], temp.path()).unwrap();
        std::fs::rename(&token, &part).unwrap();
        let store = Store::open(temp.path(), limits).unwrap().without(secrets);
        store.tidy(Some(PERIOD));
        assert!(part.exists() && !other.exists());
    }

    #[test]
    fn without_a_quota_a_file_that_no_disk_can_hold_is_not_begun() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { takes: true, most: 1, idle: None, quota: None };
        let store = Store::open(temp.path(), limits).unwrap();
        let refused = store.open_to_take("file", 1 << 62, Peer::LOCAL).err().unwrap();
        assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE, "{}", refused.text);
    }
}
