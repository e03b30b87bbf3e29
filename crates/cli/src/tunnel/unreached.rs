//! The reason why a server does not reach a target, for a client that must report it as a code.

use std::io;

use h2conn::http::{HeaderMap, HeaderValue};

/// The field of a refusal that names the kind of failure. Older servers do not send it.
const FIELD: &str = "h2conn-unreached";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// No program listens there.
    Refused,
    /// The server has no route to its network.
    Network,
    /// There is no such host, or it does not answer.
    Host,
    /// Another reason, such as a server without free descriptors, or a kind that a later version
    /// adds.
    Other,
}

impl Unreached {
    /// The reason for an error of `connect`.
    pub(super) fn by(error: &io::Error) -> Unreached {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Unreached::Refused,
            io::ErrorKind::NetworkUnreachable => Unreached::Network,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NotFound => Unreached::Host,
            _ => Unreached::Other,
        }
    }

    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(FIELD, HeaderValue::from_static(self.name()));
    }

    /// The reason in a refusal, if it has one.
    pub(super) fn named_in(headers: &HeaderMap) -> Option<Unreached> {
        let name = headers.get(FIELD)?;
        let known = [Unreached::Refused, Unreached::Network, Unreached::Host];
        Some(known.into_iter().find(|kind| name == kind.name()).unwrap_or(Unreached::Other))
    }

    fn name(self) -> &'static str {
        match self {
            Unreached::Refused => "refused",
            Unreached::Network => "network",
            Unreached::Host => "host",
            Unreached::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_survives_its_way_and_others_are_other() {
        for kind in [Unreached::Refused, Unreached::Network, Unreached::Host, Unreached::Other] {
            let mut headers = HeaderMap::new();
            kind.add_to(&mut headers);
            assert_eq!(Unreached::named_in(&headers), Some(kind));
        }
        let mut headers = HeaderMap::new();
        assert_eq!(Unreached::named_in(&headers), None);
        headers.insert(FIELD, HeaderValue::from_static("of a later version"));
        assert_eq!(Unreached::named_in(&headers), Some(Unreached::Other));
    }

    #[test]
    fn the_systems_errors_have_their_kinds() {
        for (error, kind) in [
            (io::ErrorKind::ConnectionRefused, Unreached::Refused),
            (io::ErrorKind::NetworkUnreachable, Unreached::Network),
            (io::ErrorKind::HostUnreachable, Unreached::Host),
            (io::ErrorKind::OutOfMemory, Unreached::Other),
        ] {
            assert_eq!(Unreached::by(&error.into()), kind, "{error:?}");
        }
    }
}
