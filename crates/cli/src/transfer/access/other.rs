//! Systems whose files have no permission bits: the directory decides who has access.

use std::fs::File;

use cap_std::fs::{Metadata, OpenOptions};

use super::Mode;

/// Makes new files accessible only to their owner.
pub(crate) fn make_private(_: &mut OpenOptions) {}

/// Restricts a file to its owner.
pub(crate) fn give_owner(_: &File) {}

/// Whether another user has made a file.
pub(crate) fn is_of_another_user(_: &Metadata, _: Option<Access>) -> bool {
    false
}

/// The permission bits of a file.
pub(crate) fn mode_of(_: &Metadata) -> Option<Mode> {
    None
}

/// Gives a new file the access that its sender has named.
pub(crate) fn give_new(_: &File, _: Option<Mode>) {}

/// The access to a file that is replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access;

impl Access {
    pub(crate) fn of(_: &Metadata) -> Access {
        Access
    }

    pub(crate) fn is_exceeded_by(self, _: &Metadata) -> bool {
        false
    }

    pub(crate) fn give_partial(self, _: &File) {}

    pub(crate) fn give(self, _: &File) {}
}
