//! Access to a file: its permission bits, its owner and its group.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use h2conn::http::HeaderMap;

use super::MODE;

#[cfg(not(unix))]
pub(crate) use other::{Access, give_new, give_owner, is_of_another_user, make_private, mode_of};
#[cfg(unix)]
pub(crate) use unix::{Access, give_new, give_owner, is_of_another_user, make_private, mode_of};

/// The permission bits of a file that is sent. No other bits are sent to a peer or accepted from
/// one: a file must not run as another user because a peer asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u32);

impl Mode {
    /// The bits that a peer sends in the field [`MODE`]. Peers on systems without such bits send
    /// none.
    pub(crate) fn said(headers: &HeaderMap) -> Result<Option<Mode>> {
        let field = headers.get(MODE);
        field.map(|mode| mode.to_str().context("the mode is no text")?.parse()).transpose()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Mode> {
        match u32::from_str_radix(text, 8) {
            // `from_str_radix` also accepts a sign.
            Ok(bits) if text.len() == 3 && !text.starts_with('+') => Ok(Mode(bits)),
            _ => bail!("{text:?} is no mode of a file; expected 000 to 777"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_mode_is_three_octal_digits() {
        for mode in ["000", "007", "644", "755", "777"] {
            assert_eq!(mode.parse::<Mode>().unwrap().to_string(), mode);
        }
        for bad in ["", "0", "+44", "-44", "64", "648", "rwx", "0644", "4755", "1777", "6 4"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_peer_without_modes_says_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Mode::said(&headers).unwrap(), None);
        headers.insert(MODE, "640".parse().unwrap());
        assert_eq!(Mode::said(&headers).unwrap(), Some(Mode(0o640)));
        headers.insert(MODE, "4755".parse().unwrap());
        assert!(Mode::said(&headers).unwrap_err().to_string().contains("4755"));
    }
}
