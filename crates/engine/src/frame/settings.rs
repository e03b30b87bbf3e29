//! SETTINGS (RFC 9113 §6.5): the limits and abilities of its sender. Each entry has six bytes.
//!
//! ```text
//!  +-------------------------------+
//!  |       Identifier (16)         |
//!  +-------------------------------+-------------------------------+
//!  |                        Value (32)                             |
//!  +---------------------------------------------------------------+
//! ```

use crate::ConnectionError;
use crate::frame::{Flags, Frame, Head, Kind};
use crate::settings::Setting;

const SECTION: &str = "RFC 9113 §6.5";

const ENTRY: usize = 6;

/// The most entries of one frame. Eight are known, and some peers add a few unknown ones to test
/// that they are ignored. nghttp2 allows as many.
const MAX_ENTRIES: usize = 32;

/// The entries of one SETTINGS frame. Each has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entries<'a> {
    entries: &'a [[u8; ENTRY]],
}

impl Entries<'_> {
    /// The entries in the order in which they count (RFC 9113 §6.5.3), without unknown ones.
    pub(crate) fn iter(self) -> impl Iterator<Item = Setting> {
        self.entries.iter().filter_map(|entry| parse(entry).ok().flatten())
    }
}

pub(crate) fn check(head: Head) -> Result<(), ConnectionError> {
    head.of_connection(SECTION)?;
    if head.flags.has(Flags::ACK) {
        return head.of_length(0, SECTION);
    }
    if head.len as usize > MAX_ENTRIES * ENTRY {
        return Err(ConnectionError::calm(format!(
            "a SETTINGS frame of {} entries, at most {MAX_ENTRIES} were expected (RFC 9113 §10.5)",
            head.len as usize / ENTRY
        )));
    }
    if !(head.len as usize).is_multiple_of(ENTRY) {
        return Err(ConnectionError::frame_size(format!(
            "a SETTINGS frame of {} bytes, a multiple of {ENTRY} was expected ({SECTION})",
            head.len
        )));
    }
    Ok(())
}

/// With `from_server`, a value that allows pushes is an error, because servers must not send it.
pub(crate) fn read(
    head: Head,
    payload: &[u8],
    from_server: bool,
) -> Result<Frame<'_>, ConnectionError> {
    check(head)?;
    if head.flags.has(Flags::ACK) {
        return Ok(Frame::SettingsAck);
    }
    let (entries, _) = payload.as_chunks();
    for entry in entries {
        if let Some(setting) = parse(entry)?
            && from_server
        {
            setting.check_from_server()?;
        }
    }
    Ok(Frame::Settings(Entries { entries }))
}

fn parse(entry: &[u8; ENTRY]) -> Result<Option<Setting>, ConnectionError> {
    let [id @ .., a, b, c, d] = *entry;
    Setting::parse(u16::from_be_bytes(id), u32::from_be_bytes([a, b, c, d]))
}

pub(crate) fn write(settings: impl IntoIterator<Item = Setting>, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; Head::LEN]);
    for setting in settings {
        let (id, value) = setting.wire();
        into.extend_from_slice(&id.to_be_bytes());
        into.extend_from_slice(&value.to_be_bytes());
    }
    let len = (into.len() - start - Head::LEN) as u32;
    let head = Head { len, kind: Kind::SETTINGS, flags: Flags::NONE, stream: 0 };
    into[start..start + Head::LEN].copy_from_slice(&head.bytes());
}

pub(crate) fn write_ack(into: &mut Vec<u8>) {
    Head { len: 0, kind: Kind::SETTINGS, flags: Flags::ACK, stream: 0 }.write(into);
}
