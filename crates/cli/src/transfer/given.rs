//! A file that is sent to a peer: open, with all that is said of it before its bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use cap_fs_ext::OpenOptionsSyncExt;
use cap_std::fs::{Metadata, OpenOptions};

use super::access::{Mode, mode_of};
use super::kind;

/// A plain file, open for reading.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) mode: Option<Mode>,
}

impl Given {
    /// How it must be opened: a pipe that has come in place of the file would wait for its other end.
    pub(crate) fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).nonblock(true);
        options
    }

    /// Of a file that was opened with [`options`](Given::options). Blocks.
    ///
    /// # Errors
    ///
    /// When it is no plain file, or one whose size says nothing of its bytes; and errors of the system.
    pub(crate) fn of(mut file: File) -> Result<Given> {
        let kind = Metadata::from_file(&file)?.file_type();
        if !kind.is_file() {
            bail!("it is {}, and no plain file", kind::name(kind));
        }
        let Some(size) = size_of(&mut file).context("cannot read the file")? else {
            bail!(
                "it has another size than the system says, as files under /proc and /sys have; a \
                 copy of it can be sent"
            );
        };
        let mode = mode_of(&Metadata::from_file(&file)?);
        Ok(Given { file, size, mode })
    }
}

/// The size of a file, if there are bytes up to there, and none beyond where it says none. The system
/// makes some files as they are read, and does not know their size before.
fn size_of(file: &mut File) -> io::Result<Option<u64>> {
    loop {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(1)))?;
        let is_there = file.read(&mut [0])? == 1;
        if is_there == (size > 0) {
            return Ok(Some(size));
        }
        // Unless another program writes to it just now.
        if file.metadata()?.len() == size {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::Write;

    use super::*;

    #[test]
    fn a_plain_file_has_its_size() {
        for len in [0, 1, 100_000] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![0; len]).unwrap();
            assert_eq!(Given::of(file).unwrap().size, len as u64);
        }
        let holes = tempfile::tempfile().unwrap();
        holes.set_len(1 << 30).unwrap();
        assert_eq!(Given::of(holes).unwrap().size, 1 << 30);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_of_the_system_that_has_more_or_less_than_its_size_has_none() {
        // One says 0 bytes, and the other 4096.
        for path in ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            // There are kernels without the second.
            if let Ok(file) = File::open(path) {
                let error = Given::of(file).unwrap_err().to_string();
                assert!(error.contains("another size than the system says"), "{path}: {error}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_and_a_device_are_refused() {
        for (path, why) in
            [("/", "a directory, and no plain file"), ("/dev/zero", "a device, and no plain file")]
        {
            let error = Given::of(File::open(path).unwrap()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
