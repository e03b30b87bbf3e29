//! Padding (RFC 9113 §6.1): a length before the content, and as many bytes after it.

use crate::ConnectionError;
use crate::frame::{Flags, Head};

/// Refuses a padded frame that has no room for the padding's length.
pub(crate) fn check(head: Head, section: &str) -> Result<(), ConnectionError> {
    if head.flags.has(Flags::PADDED) && head.len == 0 {
        return Err(ConnectionError::frame_size(format!(
            "a padded {} frame of 0 bytes, but the length of its padding takes 1 ({section})",
            head.kind
        )));
    }
    Ok(())
}

/// Refuses padding that does not fit after its own length.
pub(crate) fn check_length(head: Head, padding: u8, section: &str) -> Result<(), ConnectionError> {
    if u32::from(padding) < head.len {
        return Ok(());
    }
    let Head { kind, len, .. } = head;
    Err(ConnectionError::protocol(format!(
        "a {kind} frame of {len} bytes with {padding} bytes of padding, fewer than {len} were \
         expected ({section})"
    )))
}

/// The payload without its padding. The padding's content does not matter (RFC 9113 §6.1).
pub(crate) fn strip<'a>(
    head: Head,
    payload: &'a [u8],
    section: &str,
) -> Result<&'a [u8], ConnectionError> {
    if !head.flags.has(Flags::PADDED) {
        return Ok(payload);
    }
    let Some((&padding, content)) = payload.split_first() else {
        return check(head, section).map(|()| payload);
    };
    check_length(head, padding, section)?;
    Ok(&content[..content.len() - usize::from(padding)])
}
