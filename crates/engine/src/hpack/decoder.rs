//! Decoding blocks into fields.

use super::dynamic::Table;
use super::integer::Input;
use super::string::Text;
use super::{DEFAULT_TABLE_SIZE, Error, Field, statics};

/// The room for decoded strings that is kept between blocks, in bytes.
const KEPT_ROOM: usize = 16 << 10;

/// Decodes the blocks of one direction of a connection.
///
/// It holds its dynamic table, at most as many bytes as the limit, and the strings of one field.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest size that the peer may choose for the table.
    limit: u32,
    /// The limit has been below the table's size since the last block. So the next block must begin
    /// with an update to this size or less.
    due: Option<u32>,
    /// Strings of one field that are encoded in the block.
    room: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder for a connection that announces `limit` as its SETTINGS_HEADER_TABLE_SIZE,
    /// in bytes. Until the peer has acknowledged it, the peer may use the 4,096 bytes that a
    /// connection begins with (RFC 9113 §6.5.2). So call [`set_limit`](Decoder::set_limit) even for
    /// a first limit that is lower.
    pub fn new(limit: u32) -> Decoder {
        Decoder {
            table: Table::new(DEFAULT_TABLE_SIZE),
            limit: limit.max(DEFAULT_TABLE_SIZE),
            due: None,
            room: Vec::new(),
        }
    }

    /// The peer has acknowledged `limit` as our SETTINGS_HEADER_TABLE_SIZE, in bytes. If it is
    /// below the table's size, the next block must begin with an update (RFC 9113 §4.3.1).
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        let lowest = self.due.map_or(limit, |due| due.min(limit));
        if lowest < self.table.limit() {
            self.due = Some(lowest);
        }
    }

    /// The size of the table's entries, in bytes.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Names and values of the table's entries, the newest first.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<(&[u8], &[u8])> {
        self.table.entries()
    }

    /// The memory in addition to the table's entries, in bytes.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.room.capacity()
    }

    /// Decodes a whole block. Every field goes to `sink`, in order, without an allocation. A few
    /// bytes can expand to a field as large as the table, so the sink must count.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]. Fields before the error have gone to `sink`. The decoder cannot be
    /// used afterwards.
    pub fn decode(&mut self, block: &[u8], sink: &mut impl FnMut(Field<'_>)) -> Result<(), Error> {
        // Go's encoder announces a new size only when a field comes.
        if block.is_empty() {
            return Ok(());
        }
        let mut input = Input::new(block);
        self.begin(&mut input)?;
        while let Some(first) = input.byte() {
            if first & 0x80 != 0 {
                let index = input.integer(first, 7)?;
                let (name, value) = entry(&self.table, index)?;
                sink(Field { name, value, never_indexed: false });
            } else if first & 0x40 != 0 {
                self.literal(input.integer(first, 6)?, &mut input, sink)?;
            } else if first & 0x20 != 0 {
                return Err(Error::UpdateLate);
            } else {
                let index = input.integer(first, 4)?;
                self.passing(index, first & 0x10 != 0, &mut input, sink)?;
            }
        }
        if self.room.capacity() > KEPT_ROOM {
            self.room = Vec::new();
        }
        Ok(())
    }

    /// Reads updates of the table's size, which are only allowed here (RFC 7541 §4.2).
    fn begin(&mut self, input: &mut Input<'_>) -> Result<(), Error> {
        let mut lowest = None;
        while let Some(first) = input.peek().filter(|first| first & 0xe0 == 0x20) {
            input.byte();
            let size = input.integer(first, 5)?;
            if size > self.limit {
                return Err(Error::UpdateLarge { size, limit: self.limit });
            }
            self.table.set_limit(size);
            lowest = Some(lowest.map_or(size, |lowest: u32| lowest.min(size)));
        }
        match self.due.take() {
            Some(due) if lowest.is_none_or(|lowest| lowest > due) => {
                Err(Error::UpdateMissing { limit: due })
            }
            _ => Ok(()),
        }
    }

    /// A literal field that becomes an entry (RFC 7541 §6.2.1).
    fn literal(
        &mut self,
        index: u32,
        input: &mut Input<'_>,
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Error> {
        let Decoder { table, room, .. } = self;
        room.clear();
        let name = match (index, statics::get(index)) {
            (0, _) => Text::read(input, room)?,
            (_, Some((name, _))) => Text::Plain(name),
            _ => {
                // The new entry may evict the entry that the name comes from (RFC 7541 §4.4).
                let (name, _) = entry(table, index)?;
                room.extend_from_slice(name);
                Text::Within(0..name.len())
            }
        };
        let value = Text::read(input, room)?;
        let (name, value) = (name.bytes(room), value.bytes(room));
        sink(Field { name, value, never_indexed: false });
        table.insert(name, value);
        Ok(())
    }

    /// A literal field that changes no table (RFC 7541 §6.2.2, §6.2.3).
    fn passing(
        &mut self,
        index: u32,
        never_indexed: bool,
        input: &mut Input<'_>,
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Error> {
        let Decoder { table, room, .. } = self;
        room.clear();
        let name = match index {
            0 => Text::read(input, room)?,
            _ => Text::Plain(entry(table, index)?.0),
        };
        let value = Text::read(input, room)?;
        let (name, value) = (name.bytes(room), value.bytes(room));
        sink(Field { name, value, never_indexed });
        Ok(())
    }
}

/// The name and value for an index in both tables (RFC 7541 §2.3.3).
#[inline]
fn entry(table: &Table, index: u32) -> Result<(&[u8], &[u8]), Error> {
    if let Some(found) = statics::get(index) {
        return Ok(found);
    }
    let Some(age) = index.checked_sub(statics::LEN + 1) else { return Err(Error::IndexZero) };
    let last = statics::LEN + table.len() as u32;
    table.get(age as usize).ok_or(Error::Index { index, last })
}
