//! Dictionaries of structured fields (RFC 8941 §3.2), as far as a priority needs them. The values
//! that it knows are read, and all others are only checked and skipped.

/// The members of a dictionary. After an error nothing follows.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    left: &'a [u8],
    begun: bool,
}

/// The value of a member, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    /// A type that no priority has.
    Other,
}

/// The value is no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// The most digits of an integer, or of a decimal before its point (RFC 8941 §3.3).
const INTEGER_DIGITS: usize = 15;
const DECIMAL_DIGITS: usize = 12;

impl<'a> Dictionary<'a> {
    pub(super) fn new(value: &'a [u8]) -> Dictionary<'a> {
        Dictionary { left: value, begun: false }
    }

    fn member(&mut self) -> Result<Option<(&'a [u8], Value)>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.skip(b" ");
            if self.left.is_empty() {
                return Ok(None);
            }
        } else {
            self.skip(b" \t");
            if self.left.is_empty() {
                return Ok(None);
            }
            self.expect(b',')?;
            // A comma cannot end the dictionary.
            self.skip(b" \t");
        }
        let key = self.key()?;
        let value = if self.take(b'=') {
            if self.left.first() == Some(&b'(') { self.inner_list()? } else { self.item()? }
        } else {
            self.parameters()?;
            Value::Boolean(true)
        };
        Ok(Some((key, value)))
    }

    fn key(&mut self) -> Result<&'a [u8]> {
        if !matches!(self.left.first(), Some(b'a'..=b'z' | b'*')) {
            return Err(Malformed);
        }
        Ok(self.take_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        ))
    }

    fn inner_list(&mut self) -> Result<Value> {
        self.expect(b'(')?;
        loop {
            self.skip(b" ");
            if self.take(b')') {
                self.parameters()?;
                return Ok(Value::Other);
            }
            self.item()?;
            if !matches!(self.left.first(), Some(b' ' | b')')) {
                return Err(Malformed);
            }
        }
    }

    fn item(&mut self) -> Result<Value> {
        let value = self.bare_item()?;
        self.parameters()?;
        Ok(value)
    }

    fn parameters(&mut self) -> Result<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Ok(())
    }

    fn bare_item(&mut self) -> Result<Value> {
        match self.left.first() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'?') => self.boolean(),
            Some(b'"') => self.string(),
            Some(b':') => self.bytes(),
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'*') => {
                self.take_while(|byte| is_token(byte) || matches!(byte, b':' | b'/'));
                Ok(Value::Other)
            }
            _ => Err(Malformed),
        }
    }

    fn number(&mut self) -> Result<Value> {
        let negative = self.take(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > INTEGER_DIGITS {
            return Err(Malformed);
        }
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let fits = digits.len() <= DECIMAL_DIGITS && (1..=3).contains(&fraction.len());
            return if fits { Ok(Value::Other) } else { Err(Malformed) };
        }
        let number = digits.iter().fold(0, |number, &digit| number * 10 + i64::from(digit - b'0'));
        Ok(Value::Integer(if negative { -number } else { number }))
    }

    fn boolean(&mut self) -> Result<Value> {
        self.expect(b'?')?;
        let value = self.take(b'1');
        if !value {
            self.expect(b'0')?;
        }
        Ok(Value::Boolean(value))
    }

    fn string(&mut self) -> Result<Value> {
        self.expect(b'"')?;
        loop {
            let (&byte, rest) = self.left.split_first().ok_or(Malformed)?;
            self.left = rest;
            match byte {
                b'"' => return Ok(Value::Other),
                b'\\' if !self.take(b'"') => self.expect(b'\\')?,
                b'\\' | b' '..=b'~' => {}
                _ => return Err(Malformed),
            }
        }
    }

    fn bytes(&mut self) -> Result<Value> {
        self.expect(b':')?;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.expect(b':')?;
        Ok(Value::Other)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.left.first() == Some(&byte);
        if is_there {
            self.left = &self.left[1..];
        }
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn skip(&mut self, blanks: &[u8]) {
        self.take_while(|byte| blanks.contains(&byte));
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.left.iter().position(|&byte| !belongs(byte)).unwrap_or(self.left.len());
        let (taken, rest) = self.left.split_at(len);
        self.left = rest;
        taken
    }
}

impl<'a> Iterator for Dictionary<'a> {
    type Item = Result<(&'a [u8], Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member().transpose();
        if matches!(member, None | Some(Err(_))) {
            self.left = &[];
        }
        member
    }
}

/// The characters of a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
