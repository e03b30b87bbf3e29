//! Identifies a file in a certain state.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use cap_fs_ext::MetadataExt;
use cap_std::fs::Metadata;

/// A file that was changed less than this ago can change again without a change of its times. File
/// systems count in steps of up to 2 s (FAT), and the kernel's clock stands still between its
/// ticks.
const UNSETTLED: Duration = Duration::from_secs(2);

/// The file, and the state of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    file: u64,
    size: u64,
    modified: SystemTime,
    /// The seconds and nanoseconds of the last change. Unlike the time of modification, no program
    /// can set it back. Some systems do not have it.
    changed: Option<(i64, i64)>,
}

impl Identity {
    pub(super) fn of(file: &File) -> io::Result<Identity> {
        let metadata = Metadata::from_file(file)?;
        Ok(Identity {
            device: MetadataExt::dev(&metadata),
            file: MetadataExt::ino(&metadata),
            size: metadata.len(),
            modified: metadata.modified()?.into_std(),
            changed: changed(&metadata),
        })
    }

    /// The identity of the file, if any later change will give it another one.
    pub(super) fn if_settled(file: &File) -> io::Result<Option<Identity>> {
        let identity = Identity::of(file)?;
        Ok(identity.is_settled(SystemTime::now()).then_some(identity))
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let since_change = match self.changed {
            None => Some(UNSETTLED),
            Some((seconds, _)) => u64::try_from(seconds).ok().and_then(|seconds| {
                let changed =
                    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds + 1))?;
                now.duration_since(changed).ok()
            }),
        };
        // A time in the future says nothing.
        let since_modified = now.duration_since(self.modified).ok();
        since_modified.min(since_change).is_some_and(|since| since >= UNSETTLED)
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<(i64, i64)> {
    use cap_std::fs::MetadataExt as _;

    Some((metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<(i64, i64)> {
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_written_to_or_cut_is_another_one() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"bytes").unwrap();
        let time = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(time).unwrap();
        let before = Identity::of(&file).unwrap();
        assert_eq!(Identity::of(&file.try_clone().unwrap()).unwrap(), before);
        file.set_len(4).unwrap();
        file.set_modified(time).unwrap();
        assert_ne!(Identity::of(&file).unwrap(), before);
        assert_ne!(Identity::of(&tempfile::tempfile().unwrap()).unwrap(), before);
    }

    #[test]
    fn a_file_is_settled_some_seconds_after_its_last_change_of_any_kind() {
        let file = tempfile::tempfile().unwrap();
        let now = Identity::of(&file).unwrap();
        let at = |seconds| now.modified + Duration::from_secs(seconds);
        assert!(!now.is_settled(at(0)) && !now.is_settled(at(1)) && now.is_settled(at(5)));
        assert!(!now.is_settled(now.modified - Duration::from_secs(5)), "it is from the future");
        let modified = now.modified - Duration::from_secs(3600);
        let set_back = Identity { modified, ..now };
        assert_eq!(set_back.is_settled(at(0)), now.changed.is_none());
    }
}
