//! Finds the end of a JSON value, and looks at each byte once however the bytes arrive.

/// The depth to which a value may nest. serde_json, which parses the value later, refuses 128.
pub(super) const MAX_DEPTH: u32 = 127;

/// The scan's progress in one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    state: State,
    looked: usize,
    depth: u32,
    /// One bit for each open bracket, the innermost lowest, set if it is a brace.
    braces: u128,
}

/// The reason why the bytes cannot be a value, and the position of the first wrong byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The thing that should have stood there.
    Expected(&'static str),
    TooDeep,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Start,
    /// Between the strings of an array or object.
    Between,
    String,
    Escape,
    /// Inside `true`, `false` or `null`, with the rest of the word.
    Literal(&'static [u8]),
    Number(Number),
}

/// The part of a number that was seen last.
#[derive(Clone, Copy, Debug)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    ExponentSign,
    Exponent,
}

enum Step {
    On(State),
    /// The value ends with this byte.
    Last,
    /// The value ended before this byte.
    Past,
}

impl Scanner {
    /// Continues in `value`, which holds all that has arrived of it from its first byte. Returns
    /// its length once that is known, and again on each further call.
    ///
    /// A complete value may still be malformed: outside of strings, only the brackets of an array
    /// or object are looked at.
    pub(super) fn scan(&mut self, value: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(byte) = self.skip(value) {
            match self.step(byte) {
                Ok(Step::On(state)) => {
                    self.state = state;
                    self.looked += 1;
                }
                Ok(Step::Last) => return Ok(Some(self.looked + 1)),
                Ok(Step::Past) => return Ok(Some(self.looked)),
                Err(what) => return Err(Fault { at: self.looked, what }),
            }
        }
        Ok(None)
    }

    /// Continues to the next byte that may change something, and returns it if it has arrived.
    #[inline]
    pub(super) fn skip(&mut self, value: &[u8]) -> Option<u8> {
        let rest = value.get(self.looked..).unwrap_or_default();
        let skipped = match self.state {
            State::Between => rest.iter().position(is_structural).unwrap_or(rest.len()),
            State::String => plain_prefix(rest),
            _ => 0,
        };
        self.looked += skipped;
        #[cfg(test)]
        tests::WORK.set(tests::WORK.get() + skipped + 1);
        rest.get(skipped).copied()
    }

    /// Whether the value may end at the end of the stream.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Number(number) if number.may_end())
    }

    fn step(&mut self, byte: u8) -> Result<Step, What> {
        match self.state {
            State::Start => match byte {
                b'{' | b'[' => self.open(byte),
                b'"' => Ok(Step::On(State::String)),
                b't' => Ok(Step::On(State::Literal(b"rue"))),
                b'f' => Ok(Step::On(State::Literal(b"alse"))),
                b'n' => Ok(Step::On(State::Literal(b"ull"))),
                b'-' => Ok(Step::On(State::Number(Number::Minus))),
                b'0' => Ok(Step::On(State::Number(Number::Zero))),
                b'1'..=b'9' => Ok(Step::On(State::Number(Number::Integer))),
                _ => Err(What::Expected("a value")),
            },
            State::Between => match byte {
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => self.close(byte),
                b'"' => Ok(Step::On(State::String)),
                _ => Ok(Step::On(State::Between)),
            },
            State::String => match byte {
                b'"' => Ok(self.end_of_part()),
                b'\\' => Ok(Step::On(State::Escape)),
                0..0x20 => Err(What::Expected("no bare control character in a string")),
                _ => Ok(Step::On(State::String)),
            },
            State::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u' => {
                    Ok(Step::On(State::String))
                }
                _ => Err(What::Expected("an escape")),
            },
            State::Literal(left) => match left.split_first() {
                Some((&next, [])) if next == byte => Ok(Step::Last),
                Some((&next, left)) if next == byte => Ok(Step::On(State::Literal(left))),
                _ => Err(What::Expected("the rest of true, false or null")),
            },
            State::Number(number) => match number.next(byte) {
                Some(number) => Ok(Step::On(State::Number(number))),
                None if number.may_end() => Ok(Step::Past),
                None => Err(What::Expected("a digit")),
            },
        }
    }

    fn open(&mut self, bracket: u8) -> Result<Step, What> {
        if self.depth == MAX_DEPTH {
            return Err(What::TooDeep);
        }
        self.depth += 1;
        self.braces = self.braces << 1 | u128::from(bracket == b'{');
        Ok(Step::On(State::Between))
    }

    fn close(&mut self, bracket: u8) -> Result<Step, What> {
        let brace = self.braces & 1 == 1;
        if brace != (bracket == b'}') {
            return Err(What::Expected(if brace { "`}`" } else { "`]`" }));
        }
        if self.depth == 1 {
            return Ok(Step::Last);
        }
        self.depth -= 1;
        self.braces >>= 1;
        Ok(Step::On(State::Between))
    }

    fn end_of_part(&self) -> Step {
        if self.depth == 0 { Step::Last } else { Step::On(State::Between) }
    }
}

impl Number {
    fn may_end(self) -> bool {
        matches!(self, Number::Zero | Number::Integer | Number::Fraction | Number::Exponent)
    }

    fn next(self, byte: u8) -> Option<Number> {
        match (self, byte) {
            (Number::Minus, b'0') => Some(Number::Zero),
            (Number::Minus | Number::Integer, b'0'..=b'9') => Some(Number::Integer),
            (Number::Zero | Number::Integer, b'.') => Some(Number::Point),
            (Number::Point | Number::Fraction, b'0'..=b'9') => Some(Number::Fraction),
            (Number::Zero | Number::Integer | Number::Fraction, b'e' | b'E') => Some(Number::E),
            (Number::E, b'+' | b'-') => Some(Number::ExponentSign),
            (Number::E | Number::ExponentSign | Number::Exponent, b'0'..=b'9') => {
                Some(Number::Exponent)
            }
            _ => None,
        }
    }
}

fn is_structural(byte: &u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
}

fn is_special_in_string(byte: &u8) -> bool {
    // Without `||`, so that the loop over a block below has no branches.
    (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20)
}

/// The length of the part of a string before the first byte with a meaning.
///
/// Each block is read to its end without an early exit, so that the compiler makes vector code of
/// it.
fn plain_prefix(bytes: &[u8]) -> usize {
    const BLOCK: usize = 8;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_plain = |block: &&[u8; BLOCK]| {
        block.iter().fold(0, |special, byte| special | u8::from(is_special_in_string(byte))) == 0
    };
    let plain = blocks.iter().take_while(is_plain).count() * BLOCK;
    let rest = &bytes[plain..];
    plain + rest.iter().position(is_special_in_string).unwrap_or(rest.len())
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The number of bytes that the scanners of this thread have looked at.
        pub(in super::super) static WORK: Cell<usize> = const { Cell::new(0) };
    }

    fn scan(value: &str) -> Result<Option<usize>, Fault> {
        Scanner::default().scan(value.as_bytes())
    }

    #[test]
    fn a_value_ends_where_its_grammar_says() {
        let cases = [
            ("{}1", Some(2)),
            ("[[],{\"]\":\"}\"}]x", Some(14)),
            ("\"\"", Some(2)),
            ("\"\\\\\"\"", Some(4)),
            ("\"\\u0022\"", Some(8)),
            ("true1", Some(4)),
            ("falsefalse", Some(5)),
            ("nul", None),
            ("12", None),
            ("12 ", Some(2)),
            ("12-3", Some(2)),
            ("01", Some(1)),
            ("-0.5E+10\"", Some(8)),
            ("1e5.", Some(3)),
            ("[1, \"a", None),
        ];
        for (value, expected) in cases {
            let mut scanner = Scanner::default();
            for _ in 0..3 {
                assert_eq!(scanner.scan(value.as_bytes()), Ok(expected), "{value}");
            }
        }
    }

    #[test]
    fn a_fault_shows_at_the_first_byte_that_no_value_has_there() {
        let cases = ["}", "x", "\u{feff}1", ".5", "+1", "-x", "1.x", "1ex", "1e+x", "trux", "nulL"];
        let positions = [0, 0, 0, 0, 0, 1, 2, 2, 3, 3, 3];
        for (value, at) in cases.into_iter().zip(positions) {
            assert_eq!(scan(value).map_err(|fault| fault.at), Err(at), "{value}");
        }
        for (value, at) in [("[}", 1), ("{\"a\":[1}", 7), ("\"a\nb", 2), ("[\"\\x", 3)] {
            assert_eq!(scan(value).map_err(|fault| fault.at), Err(at), "{value}");
        }
        assert_eq!(scan("\"\\u12\n").map_err(|fault| fault.at), Err(5));
    }

    #[test]
    fn depth_is_limited() {
        let (open, close) = ("[".repeat(127), "]".repeat(127));
        assert_eq!(scan(&format!("{open}{close}")), Ok(Some(254)));
        let fault = Fault { at: 127, what: What::TooDeep };
        assert_eq!(scan(&format!("{open}{{")), Err(fault));
    }

    #[test]
    fn a_special_byte_is_found_at_every_place_of_a_block() {
        for at in 0..100 {
            let mut bytes = [b'a'; 100];
            assert_eq!(plain_prefix(&bytes), 100);
            bytes[at] = b'"';
            bytes[99] = b'\\';
            assert_eq!(plain_prefix(&bytes), at);
        }
    }
}
