//! The static table (RFC 7541, Appendix A).

use super::equal;

/// The number of entries in the static table. The dynamic table's first index is the next.
pub(super) const LEN: u32 = TABLE.len() as u32;

/// Names and values. The first has index 1.
#[rustfmt::skip]
static TABLE: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The entry of an index from 1 to [`LEN`].
#[inline]
pub(super) fn get(index: u32) -> Option<(&'static [u8], &'static [u8])> {
    TABLE.get((index as usize).wrapping_sub(1)).copied()
}

/// A name in the static table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The first index with this name.
    pub(super) index: u32,
}

impl Name {
    /// Finds a name with one multiplication and one comparison.
    #[inline]
    pub(super) fn find(name: &[u8]) -> Option<Name> {
        let index = u32::from(SLOTS[slot(name)?]);
        let (found, _) = get(index)?;
        equal(found, name).then_some(Name { index })
    }

    /// The index of the entry that also has this value.
    #[inline]
    pub(super) fn with(self, value: &[u8]) -> Option<u32> {
        // Entries with the same name follow each other.
        let entries: u32 = match self.index {
            2 | 4 | 6 => 2,
            8 => 7,
            _ => 1,
        };
        (self.index..self.index + entries).find(|&index| equal(TABLE[index as usize - 1].1, value))
    }
}

/// Found by trial: the first factor that gives every name a slot of its own, as `SLOTS` proves.
const FACTOR: u32 = 0x3e39_a6dd;

/// The place of a name in `SLOTS`. Its length and three of its bytes tell all names apart.
const fn slot(name: &[u8]) -> Option<usize> {
    let [first, .., last] = *name else { return None };
    let middle = name[name.len() / 2];
    let key = u32::from_le_bytes([name.len() as u8, first, middle, last]);
    Some((key.wrapping_mul(FACTOR) >> 25) as usize)
}

/// The first index of the name that belongs in a slot, or 0.
static SLOTS: [u8; 128] = {
    let mut slots = [0; 128];
    // Go backwards, so that the first of several entries with one name stays.
    let mut index = TABLE.len();
    while index > 0 {
        let name = TABLE[index - 1].0;
        let Some(slot) = slot(name) else { panic!("names have two bytes or more") };
        let other = slots[slot] as usize;
        assert!(other == 0 || is_equal(TABLE[other - 1].0, name), "two names share a slot");
        slots[slot] = index as u8;
        index -= 1;
    }
    slots
};

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u32) -> (&'static [u8], &'static [u8]) {
        get(index).expect("an index of the table")
    }

    #[test]
    fn every_entry_is_found_by_name_and_value() {
        for index in 1..=LEN {
            let (name, value) = entry(index);
            let found = Name::find(name).expect("the name is in the table");
            let first = (1..=LEN).find(|&index| entry(index).0 == name);
            assert_eq!(Some(found.index), first);
            assert_eq!(found.with(value), Some(index));
            assert_eq!(found.with(b"no such value"), None);
        }
        assert_eq!(get(0), None);
        assert_eq!(get(LEN + 1), None);
    }

    #[test]
    fn other_names_are_not_found() {
        for index in 1..=LEN {
            let name = entry(index).0;
            let upper = name.to_ascii_uppercase();
            let longer = [name, b"x"].concat();
            // A string of the same length, with the same bytes where the slot looks.
            let mut like = name.to_vec();
            like[1] ^= 1;
            for other in [&upper, &longer, &name[1..], &name[..name.len() - 1], &like] {
                let known = (1..=LEN).any(|index| entry(index).0 == other);
                assert_eq!(Name::find(other).is_some(), known, "{}", other.escape_ascii());
            }
        }
        assert_eq!(Name::find(b""), None);
        assert_eq!(Name::find(b":"), None);
        assert_eq!(Name::find(&[b'a'; 256 + 3]), None);
    }
}
