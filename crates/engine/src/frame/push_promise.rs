//! PUSH_PROMISE (RFC 9113 §6.6): always an error. A client here refuses pushes in its SETTINGS, and
//! a server must not get one.

use crate::ConnectionError;
use crate::frame::Head;

pub(crate) fn refuse(head: Head, server: bool) -> ConnectionError {
    let stream = head.stream;
    ConnectionError::protocol(if server {
        format!("a PUSH_PROMISE frame on stream {stream}, but clients cannot push (RFC 9113 §8.4)")
    } else {
        format!(
            "a PUSH_PROMISE frame on stream {stream}, but SETTINGS_ENABLE_PUSH is 0 \
             (RFC 9113 §6.6)"
        )
    })
}
