//! A position in a message.

use gobwire::parse_uint;

/// The reason why a message is not let through, and the position of the problem.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// This was expected, but something else was there.
    Malformed(&'static str),
    TooDeep,
    TooLarge,
    /// All types of the stream together are too large.
    TooManyTypes,
    /// A dynamic value takes too much memory.
    Expands,
    Refused(gobwire::Error),
}

#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The start of the last number.
    last: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, last: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn fault(&self, what: What) -> Fault {
        Fault { at: self.at, what }
    }

    /// Makes a fault about the last number.
    pub(super) fn last(&self, what: What) -> Fault {
        Fault { at: self.last, what }
    }

    /// Makes the fault of a last number that cannot stand there.
    pub(super) fn malformed(&self, expected: &'static str) -> Fault {
        self.last(What::Malformed(expected))
    }

    pub(super) fn end(&self, expected: &'static str) -> Result<(), Fault> {
        if self.is_at_end() { Ok(()) } else { Err(self.fault(What::Malformed(expected))) }
    }

    pub(super) fn uint(&mut self) -> Result<u64, Fault> {
        let (value, width) = match parse_uint(&self.bytes[self.at..]) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                let at = self.bytes.len();
                return Err(Fault { at, what: What::Malformed("more of the message") });
            }
            Err(error) => return Err(self.fault(What::Refused(error))),
        };
        self.last = self.at;
        self.at += width;
        Ok(value)
    }

    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let bits = self.uint()?;
        let half = (bits >> 1).cast_signed();
        Ok(if bits & 1 == 1 { !half } else { half })
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        let length = self.uint()?;
        let rest = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(Fault { at: start, what: What::Malformed("a length within the message") }),
        }
    }

    /// Passes over the definition of a type, after its number. It is Go's `wireType`: a struct of
    /// which one field is sent, and the first field of that field is the type's name and number.
    pub(super) fn definition(&mut self) -> Result<(), Fault> {
        self.fields(|cursor, kind| {
            cursor.fields(|cursor, field| match (kind, field) {
                (_, 0) => cursor.name_and_number().map(drop),
                (2, 1) => {
                    for _ in 0..cursor.uint()? {
                        if cursor.name_and_number()? != 2 {
                            return Err(cursor.malformed("a field with a name and a type"));
                        }
                    }
                    Ok(())
                }
                _ => cursor.uint().map(drop),
            })
        })
    }

    /// Counts how many of the two are there. A zero value does not count, because it would not be
    /// sent.
    fn name_and_number(&mut self) -> Result<usize, Fault> {
        let mut there = 0;
        self.fields(|cursor, field| {
            let empty = if field == 0 { cursor.bytes()?.is_empty() } else { cursor.uint()? == 0 };
            there += usize::from(!empty);
            Ok(())
        })?;
        Ok(there)
    }

    fn fields(
        &mut self,
        mut field: impl FnMut(&mut Cursor<'a>, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut next = 0_u64;
        loop {
            let Some(skipped) = self.uint()?.checked_sub(1) else { return Ok(()) };
            next = next.saturating_add(skipped);
            if next > 6 {
                return Err(self.malformed("a field that type definitions have"));
            }
            field(self, next)?;
            next += 1;
        }
    }
}
