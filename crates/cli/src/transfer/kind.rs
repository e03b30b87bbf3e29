//! The kinds of files: regular files, pipes, devices and others.

use std::path::Path;

use anyhow::{Context, Result};
use cap_fs_ext::FileTypeExt;
use cap_std::fs::{FileType, Metadata};

/// The word for this kind in messages.
pub(crate) fn name(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_file() => "a plain file",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_fifo() => "a pipe",
        kind if is_device(kind) => "a device",
        kind if kind.is_socket() => "a socket",
        _ => "something else",
    }
}

/// Whether bytes that are written to it go elsewhere, and do not become a file.
pub(crate) fn passes_on(kind: FileType) -> bool {
    kind.is_fifo() || is_device(kind)
}

/// Whether bytes that are written to it are kept on a disk.
pub(crate) fn is_stored(kind: FileType) -> bool {
    kind.is_file() || kind.is_block_device()
}

fn is_device(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}

/// The metadata of the file that `path` leads to, through links.
pub(crate) fn behind(path: &Path) -> Result<Metadata> {
    let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Metadata::from_just_metadata(metadata))
}
