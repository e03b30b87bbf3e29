//! The bytes of one value, for postcard to read, within a bound on the stack.

use postcard::de_flavors::Flavor;
use postcard::{Deserializer, Error, Result};
use serde::de::DeserializeOwned;

/// How much of the stack reading one value may take. Threads of tokio have 2 MiB.
const MAX_STACK: usize = 256 << 10;

/// What of a value has not been read.
///
/// postcard sets no bound to how deep values nest, and a byte a level is enough for a list of
/// boxes: a megabyte would overflow the stack, which ends the process. Every level has to read
/// something, so it shows here how far down the stack has grown.
pub(super) struct Input<'de> {
    pub(super) rest: &'de [u8],
    pub(super) too_deep: bool,
    base: usize,
}

impl<'de> Input<'de> {
    /// What the bytes are read as, and where that ended.
    pub(super) fn parse<T: DeserializeOwned>(value: &'de [u8]) -> (Result<T>, Input<'de>) {
        let input = Input { rest: value, too_deep: false, base: stack_address() };
        let mut deserializer = Deserializer::from_flavor(input);
        let result = T::deserialize(&mut deserializer);
        (result, deserializer.finalize().expect("an input is given back as it is"))
    }

    fn check_stack(&mut self) -> Result<()> {
        if self.base.abs_diff(stack_address()) > MAX_STACK {
            self.too_deep = true;
            // Any will do: who asks looks at the flag first.
            return Err(Error::DeserializeBadEncoding);
        }
        Ok(())
    }
}

/// About where the stack is now.
fn stack_address() -> usize {
    let here = 0_u8;
    std::hint::black_box(&raw const here).addr()
}

impl<'de> Flavor<'de> for Input<'de> {
    type Remainder = Input<'de>;
    type Source = &'de [u8];

    fn pop(&mut self) -> Result<u8> {
        self.check_stack()?;
        let (&byte, rest) = self.rest.split_first().ok_or(Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(byte)
    }

    /// As if nothing were left, so that no list reserves room by its length. In a type that contains
    /// itself every level could claim all that is left, and kilobytes would reserve many megabytes.
    fn size_hint(&self) -> Option<usize> {
        Some(0)
    }

    fn try_take_n(&mut self, len: usize) -> Result<&'de [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> Result<Input<'de>> {
        Ok(self)
    }
}
