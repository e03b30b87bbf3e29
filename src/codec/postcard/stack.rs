//! The bytes of one value, which postcard reads within a bound on the stack.

use postcard::de_flavors::Flavor;
use postcard::{Deserializer, Error, Result};
use serde::de::DeserializeOwned;

/// The most stack that reading one value may take. tokio's threads have 2 MiB.
const MAX_STACK: usize = 256 << 10;

/// The unread bytes of a value.
///
/// postcard sets no bound on how deep values nest, and a list of boxes needs only a byte for each
/// level. A megabyte of them would overflow the stack, which ends the process. Every level must
/// read some bytes, so the depth of the stack is checked here.
pub(super) struct Input<'de> {
    pub(super) rest: &'de [u8],
    pub(super) too_deep: bool,
    base: usize,
}

impl<'de> Input<'de> {
    /// Parses the bytes, and also returns the position where the parsing ended.
    pub(super) fn parse<T: DeserializeOwned>(value: &'de [u8]) -> (Result<T>, Input<'de>) {
        let input = Input { rest: value, too_deep: false, base: stack_address() };
        let mut deserializer = Deserializer::from_flavor(input);
        let result = T::deserialize(&mut deserializer);
        (result, deserializer.finalize().expect("an input is given back as it is"))
    }

    fn check_stack(&mut self) -> Result<()> {
        if self.base.abs_diff(stack_address()) > MAX_STACK {
            self.too_deep = true;
            // Any error will do, because the caller looks at the flag first.
            return Err(Error::DeserializeBadEncoding);
        }
        Ok(())
    }
}

/// The approximate address of the top of the stack.
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

    /// Claims that nothing is left, so that no list reserves room by its length. In a type that
    /// contains itself every level could claim all that is left, and kilobytes would reserve many
    /// megabytes.
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
