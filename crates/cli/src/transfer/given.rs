//! A file that is sent to a peer: the open file, and the data that precede its bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use cap_fs_ext::OpenOptionsSyncExt;
use cap_std::fs::{Metadata, OpenOptions};

use super::access::{Mode, mode_of};
use super::kind;

/// A regular file, open for reading.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) mode: Option<Mode>,
}

impl Given {
    /// The options to open the file with. Without `nonblock`, a pipe that has replaced the file
    /// would wait for its other end.
    pub(crate) fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).nonblock(true);
        options
    }

    /// Takes a file that was opened with [`options`](Given::options). Blocks.
    ///
    /// # Errors
    ///
    /// If it is not a regular file, if its size does not match its bytes, and errors of the system.
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

/// The size of a file, if there are bytes up to that size, and none in a file of size 0. The system
/// generates some files while they are read, and does not know their size before that.
fn size_of(file: &mut File) -> io::Result<Option<u64>> {
    loop {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(1)))?;
        let is_there = file.read(&mut [0])? == 1;
        if is_there == (size > 0) {
            return Ok(Some(size));
        }
        // Try again if another program is writing to the file.
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
        // The first file claims 0 bytes, the second claims 4096.
        for path in ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            // Some kernels do not have the second file.
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
