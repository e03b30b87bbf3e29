//! Writes a value as one line of JSON, up to a limit.

use std::io;

use bytes::BytesMut;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::finite::Finite;

/// The reason why a value was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The value has more bytes than there is room for.
    TooLarge,
    /// JSON cannot express the value.
    Mismatch(serde_json::Error),
}

/// Appends `value` to `dst`, in at most `room` bytes, without a line feed or a carriage return.
///
/// # Errors
///
/// On an error `dst` is unchanged.
pub(super) fn write<T: Serialize>(
    value: &T,
    dst: &mut BytesMut,
    room: usize,
) -> Result<(), Unwritten> {
    let start = dst.len();
    let mut writer = Limited { dst, room, overflowed: false };
    let mut serializer = Serializer::with_formatter(&mut writer, OneLine);
    let result = Finite(value).serialize(&mut serializer);
    // Check this first, because the user's `Serialize` may have swallowed the error.
    let overflowed = writer.overflowed;
    let result = match result {
        _ if overflowed => Err(Unwritten::TooLarge),
        Ok(()) => Ok(()),
        Err(error) => Err(Unwritten::Mismatch(error)),
    };
    if result.is_err() {
        dst.truncate(start);
    }
    result
}

/// Stops a value that gets too large while it is written, not after.
struct Limited<'a> {
    dst: &'a mut BytesMut,
    room: usize,
    overflowed: bool,
}

impl io::Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    // serde_json calls nothing else. The trait's default would be a loop around each comma.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.room = room;
        self.dst.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The default format of serde_json, except for text that was JSON already.
struct OneLine;

impl Formatter for OneLine {
    /// A `RawValue` may span several lines. JSON strings have no bare line ends, so every line end
    /// stands between values, where a space means the same.
    fn write_raw_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut lines = fragment.split(['\n', '\r']);
        writer.write_all(lines.next().unwrap_or_default().as_bytes())?;
        lines.try_for_each(|line| {
            writer.write_all(b" ")?;
            writer.write_all(line.as_bytes())
        })
    }
}
