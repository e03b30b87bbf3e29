//! The promise of `content-length` (RFC 9113 §8.1.1).

use super::Refused;
use crate::Reason;

/// The content that must still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentLength(Option<u64>);

impl ContentLength {
    /// The length in the head. `None` if the head has none, or one that does not count.
    pub(crate) fn new(promised: Option<u64>) -> ContentLength {
        ContentLength(promised)
    }

    /// Counts this many bytes of content. They are the last if `end`.
    ///
    /// # Errors
    ///
    /// A stream error: the content is longer or shorter than promised.
    #[inline]
    pub(crate) fn count(&mut self, bytes: usize, end: bool) -> Result<(), Refused> {
        let Some(left) = self.0 else { return Ok(()) };
        let malformed = |what| Err((Reason::PROTOCOL_ERROR, what));
        match left.checked_sub(bytes as u64) {
            None => malformed("more content than content-length says (RFC 9113 §8.1.1)"),
            Some(1..) if end => {
                malformed("less content than content-length says (RFC 9113 §8.1.1)")
            }
            left => {
                self.0 = left;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_must_be_as_long_as_promised() {
        let count = |promised, parts: &[(usize, bool)]| {
            let mut length = ContentLength::new(promised);
            parts.iter().all(|(bytes, end)| length.count(*bytes, *end).is_ok())
        };
        assert!(count(None, &[(7, false), (0, true)]));
        assert!(count(Some(7), &[(3, false), (4, true)]));
        assert!(count(Some(7), &[(7, false), (0, true)]));
        assert!(count(Some(0), &[(0, true)]));
        assert!(!count(Some(7), &[(3, false), (3, true)]));
        assert!(!count(Some(7), &[(8, false)]));
        assert!(!count(Some(1), &[(0, true)]));
    }
}
