//! The protocols of extended CONNECT that open a connection.

use super::{is_token, no_websockets_at_a_listener};
use crate::error::{Error, ErrorKind, Result};

/// The protocol of WebSockets (RFC 8441 §5).
pub(crate) const WEBSOCKET: &str = "websocket";

/// The values of `:protocol` that a server accepts (RFC 8441 §4). None by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protocols(Vec<String>);

impl Protocols {
    pub(crate) fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Protocols {
        Protocols(names.into_iter().map(Into::into).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses names that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|name| check_protocol(name))
    }

    /// The text for a client whose protocol is not among them. Case does not matter, as in the
    /// field `upgrade` (RFC 9110 §7.8), whose names these are. WebSockets that are taken are no
    /// matter of this list.
    pub(crate) fn refusal(&self, protocol: &str, takes_websockets: bool) -> Option<String> {
        if self.0.iter().any(|name| name.eq_ignore_ascii_case(protocol)) {
            return None;
        }
        let names = self.0.iter().map(String::as_str);
        let allowed = names.chain(takes_websockets.then_some(WEBSOCKET)).collect::<Vec<_>>();
        let allowed = allowed.join(", ");
        let advice = match protocol.eq_ignore_ascii_case(WEBSOCKET) {
            true => format!("; {}", no_websockets_at_a_listener()),
            false => String::new(),
        };
        Some(format!(
            "the protocol {protocol:?} cannot be opened here by CONNECT; use one of: {allowed}{advice}"
        ))
    }
}

/// Refuses a value of `:protocol` that is no token (RFC 9110 §5.6.2).
pub(crate) fn check_protocol(name: &str) -> Result<()> {
    if is_token(name) {
        return Ok(());
    }
    let message = format!(
        "{name:?} is no protocol for CONNECT: it must be a token, letters, digits and \
         !#$%&'*+-.^_`|~ only, such as \"connect-udp\""
    );
    Err(Error::new(ErrorKind::InvalidInput, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_protocols() {
        for good in ["websocket", "connect-udp", "x", "h2conn.1", "!#$%&'*+-.^_`|~09AZ"] {
            check_protocol(good).expect(good);
        }
        for bad in ["", " ", "a b", "name/1", "a,b", "\"a\"", "é", "a\n", "a;b", "[a]"] {
            let error = check_protocol(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        assert!(Protocols::only(["good", "no good"]).check().is_err());
    }

    #[test]
    fn a_refusal_names_the_protocol_and_those_that_there_are() {
        let protocols = Protocols::only(["raw", "chat"]);
        assert_eq!(protocols.refusal("raw", false), None);
        assert_eq!(protocols.refusal("RAW", false), None);
        let text = protocols.refusal("ra\"w", false).expect("it is not among them");
        assert!(text.contains("\"ra\\\"w\"") && text.contains("raw, chat"), "{text}");
        assert!(Protocols::default().refusal("", false).is_some());
        assert!(!text.contains("WebSocket"), "{text}");
        let taken = Protocols::default().refusal("raw", true).expect("it is not among them");
        assert!(taken.ends_with("use one of: websocket"), "{taken}");
        let text = protocols.refusal("WebSocket", false).expect("it is not among them");
        assert!(
            text.contains("raw, chat") && text.contains("`ListenerBuilder::websockets`"),
            "{text}"
        );
    }
}
