//! Permission bits, and owners and groups.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::sync::LazyLock;

use cap_std::fs::{Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::process::{geteuid, umask};

use super::Mode;

/// The bits that are kept: read, write and execute for the owner, the group and others.
const ALL: u32 = 0o777;

/// The bits of a file that only its owner reads and writes.
const PRIVATE: u32 = 0o600;

/// The bits of a new file whose sender names none, as for any new file of a program.
const DEFAULT: Mode = Mode(0o666);

/// The bits that the user wants no new file to have. The system tells them only while it changes
/// them. A file that another thread makes in that moment has too few bits, but no partial file has
/// these bits anyway.
static UMASK: LazyLock<u32> = LazyLock::new(|| {
    let mask = umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    umask(mask);
    as_u32(mask.bits())
});

/// Makes new files accessible only to their owner.
pub(crate) fn make_private(options: &mut OpenOptions) {
    options.mode(PRIVATE);
}

/// Restricts a file to its owner.
pub(crate) fn give_owner(file: &File) {
    set(file, PRIVATE);
}

/// Whether neither this user nor the owner of the file that is replaced owns a file.
pub(crate) fn is_of_another_user(metadata: &Metadata, replaced: Option<Access>) -> bool {
    let owner = metadata.uid();
    owner != geteuid().as_raw() && replaced.is_none_or(|replaced| replaced.uid != owner)
}

/// The permission bits of a file.
pub(crate) fn mode_of(metadata: &Metadata) -> Option<Mode> {
    Some(Mode(metadata.mode() & ALL))
}

/// Gives a new file the access that its sender has named, less the bits of this side's umask.
pub(crate) fn give_new(file: &File, said: Option<Mode>) {
    set(file, said.unwrap_or(DEFAULT).0 & !*UMASK);
}

/// The access to a file that is replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Access {
    pub(crate) fn of(metadata: &Metadata) -> Access {
        Access { mode: metadata.mode() & ALL, uid: metadata.uid(), gid: metadata.gid() }
    }

    /// Whether some user has access to the other file but not to this one.
    pub(crate) fn is_exceeded_by(self, other: &Metadata) -> bool {
        is_of_another_user(other, Some(self))
            || other.mode() & 0o077 & !self.mode_for(other.gid()) != 0
    }

    /// Gives this access to a file that will take this one's place. Its owner can write to it until
    /// then.
    pub(crate) fn give_partial(self, file: &File) {
        self.give_with(file, PRIVATE);
    }

    /// Gives this access to a file that takes this one's place.
    pub(crate) fn give(self, file: &File) {
        self.give_with(file, 0);
    }

    fn give_with(self, file: &File, more: u32) {
        // Set the group first, because its bits depend on it. An ordinary user cannot always set
        // the group.
        let _ = fchown(file, None, Some(self.gid));
        let Ok(gid) =
            file.metadata().map(|metadata| std::os::unix::fs::MetadataExt::gid(&metadata))
        else {
            return;
        };
        set(file, self.mode_for(gid) | more);
        // Only root can do this.
        let _ = fchown(file, Some(self.uid), None);
    }

    /// The bits for a file of the group `gid`. A group other than this one may do no more than all
    /// others may.
    fn mode_for(self, gid: u32) -> u32 {
        match gid == self.gid {
            true => self.mode,
            false => self.mode & (0o707 | (self.mode & 0o007) << 3),
        }
    }
}

fn set(file: &File, mode: u32) {
    // Setting the same mode again would still change the time of the last change, which identifies
    // digests.
    if file.metadata().is_ok_and(|there| there.permissions().mode() & 0o7777 == mode) {
        return;
    }
    // Some file systems have no permission bits. On others the file remains private, which is
    // better than an error.
    let _ = file.set_permissions(Permissions::from_mode(mode));
}

/// Modes have 16 bits on some systems.
fn as_u32(bits: impl Into<u32>) -> u32 {
    bits.into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn file(mode: u32) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        file
    }

    fn mode(file: &File) -> u32 {
        file.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn access(file: &File) -> Access {
        Access::of(&Metadata::from_file(file).unwrap())
    }

    #[test]
    fn the_bits_of_a_file_are_kept_and_none_that_change_its_user() {
        let replaced = access(&file(0o6750));
        let new = file(0o600);
        replaced.give_partial(&new);
        assert_eq!(mode(&new), 0o750);
        let read_only = access(&file(0o440));
        read_only.give_partial(&new);
        assert_eq!(mode(&new), 0o640);
        read_only.give(&new);
        assert_eq!(mode(&new), 0o440);
    }

    #[test]
    fn the_bits_of_a_group_are_not_those_of_another() {
        let Access { uid, gid, .. } = access(&file(0o600));
        for (mode, other) in [(0o640, 0o600), (0o664, 0o644), (0o775, 0o755), (0o604, 0o604)] {
            let access = Access { mode, uid, gid };
            assert_eq!(access.mode_for(gid), mode);
            assert_eq!(access.mode_for(gid + 1), other);
        }
    }

    #[test]
    fn a_file_that_more_users_can_read_exceeds_one_of_fewer() {
        let exceeds = |other: u32, this: u32| {
            access(&file(this)).is_exceeded_by(&Metadata::from_file(&file(other)).unwrap())
        };
        assert!(exceeds(0o644, 0o600) && exceeds(0o640, 0o604) && exceeds(0o660, 0o640));
        assert!(!exceeds(0o600, 0o400) && !exceeds(0o640, 0o644) && !exceeds(0o600, 0o600));
        let other = Access { uid: u32::MAX - 1, ..access(&file(0o644)) };
        assert!(!other.is_exceeded_by(&Metadata::from_file(&file(0o644)).unwrap()));
    }

    #[test]
    fn a_new_file_has_what_its_sender_says_less_what_the_user_wants_of_none() {
        let new = file(0o600);
        for said in [0o755, 0o640, 0o400, 0o777] {
            give_new(&new, Some(Mode(said)));
            assert_eq!(mode(&new), said & !*UMASK);
        }
        give_new(&new, None);
        assert_eq!(mode(&new), 0o666 & !*UMASK);
    }
}
