//! The error messages of failed handshakes, written for the person who must fix the cause.

use std::fmt;
use std::io;

use super::fingerprint::Fingerprint;
use super::rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, OtherError,
    PeerMisbehaved,
};
use super::trust::NotPinned;
use crate::error::{Error, ErrorKind};

/// The peer of a handshake.
#[derive(Clone, Copy)]
pub(super) enum Peer<'a> {
    /// A server, with the name that its certificate must have.
    Server(&'a str),
    /// A client.
    Client,
}

/// The subject of the decision that ended the handshake. It selects the kind of the error.
enum Verdict {
    /// The certificate: `PermissionDenied`.
    Certificate,
    /// The protocol above TLS: `Unsupported`.
    Application,
    /// Everything else: `InvalidData`.
    Handshake,
}

/// Makes the error for a handshake with `peer` that failed with `error`.
pub(super) fn failed(peer: Peer<'_>, error: io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()).cloned();
    let Some(tls) = tls else {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => closed(peer),
            _ => format!("the link to {peer} failed during the TLS handshake"),
        };
        let source = io::Error::new(io::ErrorKind::InvalidData, error);
        return Error::new(ErrorKind::Tls, message).with_source(source).permanent(false);
    };
    let passes = matches!(
        tls,
        // RFC 8446 §6: these say nothing of what the two ends support.
        TlsError::AlertReceived(AlertDescription::InternalError | AlertDescription::UserCanceled)
            | TlsError::DecryptError
    );
    let (verdict, message) = judge(peer, &tls);
    let by_peer = matches!(tls, TlsError::AlertReceived(_));
    let (kind, io_kind) = match verdict {
        Verdict::Certificate => (ErrorKind::Tls, io::ErrorKind::PermissionDenied),
        Verdict::Application => (ErrorKind::Unsupported, io::ErrorKind::Unsupported),
        Verdict::Handshake => (ErrorKind::Tls, io::ErrorKind::InvalidData),
    };
    let error = Error::new(kind, message).with_source(io::Error::new(io_kind, tls));
    let error = if passes { error.permanent(false) } else { error };
    if by_peer { error.by_the_peer() } else { error }
}

const PIN: &str = "ClientTls::pinned";

const GET_HTTP2: &str = "a connection needs HTTP/2: enable it on that server, or connect to the \
                         port, or past the proxy, that has it";

/// Makes the error for a handshake that succeeded, but did not agree on HTTP/2.
pub(super) fn no_h2(name: &str, alpn: Option<&[u8]>) -> Error {
    let settled = match alpn {
        Some(protocol) => format!("it chose `{}`", String::from_utf8_lossy(protocol)),
        None => "it chose no protocol in the TLS handshake (ALPN)".to_owned(),
    };
    let message =
        format!("{} does not offer HTTP/2: {settled}, not `h2`; {GET_HTTP2}", Peer::Server(name));
    Error::new(ErrorKind::Unsupported, message).by_the_peer()
}

/// Makes the error for a server that has chosen a protocol that it was not offered.
pub(super) fn no_http1(name: &str, alpn: &[u8]) -> Error {
    let message = format!(
        "{} does not offer HTTP/1.1: it chose `{}` in the TLS handshake (ALPN)",
        Peer::Server(name),
        String::from_utf8_lossy(alpn)
    );
    Error::new(ErrorKind::Unsupported, message).by_the_peer()
}

fn judge(peer: Peer<'_>, error: &TlsError) -> (Verdict, String) {
    use Verdict::{Application, Certificate, Handshake};
    match error {
        TlsError::InvalidCertificate(why) => (Certificate, refused_by_us(peer, why)),
        TlsError::NoCertificatesPresented => {
            (Certificate, format!("{peer} showed no certificate, and it has to"))
        }
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)
        | TlsError::NoApplicationProtocol
        | TlsError::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            (Application, no_common_protocol(peer))
        }
        TlsError::AlertReceived(alert) if is_about_certificates(*alert) => {
            (Certificate, refused_by_them(peer, *alert))
        }
        TlsError::AlertReceived(AlertDescription::UnrecognisedName) => {
            (Handshake, format!("{peer} does not serve this name"))
        }
        // The answer of servers without TLS that recognize a TLS client, such as this library's.
        TlsError::AlertReceived(AlertDescription::UnexpectedMessage)
            if matches!(peer, Peer::Server(_)) =>
        {
            (Handshake, not_tls(peer))
        }
        TlsError::AlertReceived(alert) => {
            (Handshake, format!("{peer} ended the TLS handshake with the alert {alert:?}"))
        }
        // The first byte is no TLS record type, or the version after it is wrong.
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (Handshake, not_tls(peer)),
        TlsError::PeerIncompatible(_) => (
            Handshake,
            format!("{peer} has no version or cipher of TLS in common with this side (1.2, 1.3)"),
        ),
        _ => (Handshake, format!("the TLS handshake with {peer} failed")),
    }
}

fn refused_by_us(peer: Peer<'_>, why: &CertificateError) -> String {
    use CertificateError as E;
    let certificate = format!("the certificate of {peer}");
    match (why, peer) {
        (E::NotValidForName, Peer::Server(name)) => not_for(name, &[]),
        (E::NotValidForNameContext { presented, .. }, Peer::Server(name)) => {
            not_for(name, presented)
        }
        (E::UnknownIssuer, Peer::Server(_)) => format!(
            "{certificate} is signed by an unknown authority, or by itself: if it is the right \
             one, trust it, or its authority's, as a root certificate, or pin its fingerprint \
             ({PIN})"
        ),
        // Also if a trusted certificate has the same name and another kind of key, as the one that
        // Debian's package ssl-cert makes for localhost.
        (
            E::BadSignature | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            Peer::Server(_),
        ) => format!(
            "{certificate} has a signature that does not match that of the trusted certificate of \
             the same name: if the server is the right one, trust its certificate, or its \
             authority's, as a root certificate, or pin its fingerprint ({PIN})"
        ),
        (E::UnknownIssuer, Peer::Client) => format!(
            "{certificate} is signed by an authority that is not among those given to ServerTls"
        ),
        (E::Expired | E::ExpiredContext { .. }, _) => {
            format!("{certificate} has expired: renew it, or set this machine's clock")
        }
        (E::NotValidYet | E::NotValidYetContext { .. }, _) => {
            format!("{certificate} is not valid yet: does this machine's clock run slow?")
        }
        (E::InvalidPurpose | E::InvalidPurposeContext { .. }, _) => {
            format!("{certificate} is not meant for this side of TLS (extended key usage)")
        }
        (E::Revoked, _) => format!("{certificate} was revoked"),
        (E::Other(other), Peer::Server(_)) if is_an_authoritys(other) => format!(
            "{certificate} is a certificate authority's own (`CA:TRUE`), as plain `openssl req \
             -x509` makes it: if it is the right one, give it as a root certificate itself, pin its \
             fingerprint ({PIN}), or make it with `-addext basicConstraints=critical,CA:FALSE`"
        ),
        (E::Other(other), Peer::Client) if is_an_authoritys(other) => format!(
            "{certificate} is a certificate authority's own (`CA:TRUE`), and not among those given \
             to ServerTls"
        ),
        (E::Other(other), _) => match other.0.downcast_ref() {
            Some(NotPinned { seen, expected }) => not_pinned(&certificate, *seen, expected),
            None => format!("{certificate} was not accepted"),
        },
        _ => format!("{certificate} was not accepted"),
    }
}

/// This is a variant of webpki, and reaches rustls only as text.
fn is_an_authoritys(error: &OtherError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

fn not_pinned(certificate: &str, seen: Fingerprint, expected: &[Fingerprint]) -> String {
    let expected: Vec<String> = expected.iter().map(Fingerprint::to_string).collect();
    let one_of = if expected.len() == 1 { "" } else { "one of " };
    format!(
        "{certificate} has the SHA-256 fingerprint {seen}, but {one_of}{} is expected: if the server \
         has a new certificate, pin that one ({PIN}); if not, this is another server, or somebody on \
         the network path",
        expected.join(" or ")
    )
}

fn not_for(name: &str, presented: &[String]) -> String {
    let names: Vec<String> = presented.iter().map(|name| plain(name)).collect();
    let instead = match names.is_empty() {
        true => String::new(),
        false => format!(", but for {}", names.join(", ")),
    };
    format!(
        "the certificate of the server is not valid for the name `{name}`{instead}: connect by a \
         name that it has, or tell that name to ClientTls::server_name"
    )
}

/// Makes plain names of rustls' `DnsName("localhost")` and `IpAddress(127.0.0.1)`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    format!("`{}`", inner.unwrap_or(name).trim_matches('"'))
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateUnobtainable
            | A::BadCertificateStatusResponse
            | A::BadCertificateHashValue
            | A::CertificateRequired
    )
}

fn refused_by_them(peer: Peer<'_>, alert: AlertDescription) -> String {
    use AlertDescription as A;
    match (alert, peer) {
        (A::CertificateRequired | A::NoCertificate, Peer::Server(_)) => {
            format!("{peer} asks for a client certificate: give one with ClientTls::identity")
        }
        (_, Peer::Server(_)) => {
            format!("{peer} did not accept this client's certificate (alert {alert:?})")
        }
        (_, Peer::Client) => format!(
            "{peer} did not accept this server's certificate (alert {alert:?}): it has to trust \
             it or its authority, and to connect by a name in it"
        ),
    }
}

fn no_common_protocol(peer: Peer<'_>) -> String {
    match peer {
        Peer::Server(_) => format!(
            "{peer} does not offer HTTP/2: it refused the protocol `h2` in the TLS handshake \
             (ALPN); {GET_HTTP2}"
        ),
        Peer::Client => format!(
            "{peer} does not offer HTTP/2: none of its protocols in the TLS handshake (ALPN) is \
             `h2`"
        ),
    }
}

fn not_tls(peer: Peer<'_>) -> String {
    match peer {
        Peer::Server(_) => format!(
            "{peer} does not speak TLS on this port: if it is a cleartext HTTP/2 server, use \
             http://"
        ),
        Peer::Client => format!("{peer} did not speak TLS: it has to connect with https://"),
    }
}

fn closed(peer: Peer<'_>) -> String {
    let hint = match peer {
        Peer::Server(_) => {
            ": does it speak TLS on this port? if it is a cleartext HTTP/2 server, use http://"
        }
        Peer::Client => "",
    };
    format!("{peer} closed the connection during the TLS handshake{hint}")
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Server(name) => write!(f, "the server `{name}`"),
            Peer::Client => f.write_str("the client"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::error::Error as _;

    use super::*;

    fn fail(peer: Peer<'_>, error: TlsError) -> (Error, io::ErrorKind) {
        let error = failed(peer, io::Error::new(io::ErrorKind::InvalidData, error));
        let source = error.source().unwrap();
        assert!(source.source().is_none(), "the rustls error stands once in the chain");
        let kind = source.downcast_ref::<io::Error>().unwrap().kind();
        (error, kind)
    }

    #[test]
    fn alerts_about_certificates_are_permission_denied_and_others_invalid_data() {
        use AlertDescription as A;
        let denied = [A::BadCertificate, A::CertificateRequired, A::UnknownCA, A::AccessDenied];
        for (alert, expected) in denied
            .map(|alert| (alert, io::ErrorKind::PermissionDenied))
            .into_iter()
            .chain([(A::HandshakeFailure, io::ErrorKind::InvalidData)])
        {
            for peer in [Peer::Server("x"), Peer::Client] {
                let (error, kind) = fail(peer, TlsError::AlertReceived(alert));
                assert_eq!((error.kind(), kind), (ErrorKind::Tls, expected), "{alert:?}");
                assert!(error.is_by_peer());
                assert_eq!(io::Error::from(error).kind(), expected);
            }
        }
    }

    #[test]
    fn a_refused_protocol_is_unsupported() {
        let alert = TlsError::AlertReceived(AlertDescription::NoApplicationProtocol);
        let (error, _) = fail(Peer::Server("x"), alert);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("HTTP/2"), "{error}");
        let error = no_h2("x", Some(b"http/1.1"));
        let expected = "the server `x` does not offer HTTP/2: it chose `http/1.1`, not `h2`";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_link_that_breaks_keeps_the_systems_error() {
        let error = failed(Peer::Server("x"), io::ErrorKind::ConnectionReset.into());
        assert_eq!(error.to_string(), "the link to the server `x` failed during the TLS handshake");
        assert_eq!(error.source().unwrap().to_string(), "connection reset");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_handshake_that_failed_by_accident_is_not_permanent() {
        use AlertDescription as A;
        let server = Peer::Server("x");
        for alert in [A::InternalError, A::UserCanceled] {
            assert!(!fail(server, TlsError::AlertReceived(alert)).0.is_permanent(), "{alert:?}");
        }
        assert!(!fail(server, TlsError::DecryptError).0.is_permanent());
        assert!(!failed(server, io::ErrorKind::ConnectionReset.into()).is_permanent());
        for alert in [A::HandshakeFailure, A::UnknownCA] {
            assert!(fail(server, TlsError::AlertReceived(alert)).0.is_permanent(), "{alert:?}");
        }
    }

    #[test]
    fn names_are_shown_plain() {
        assert_eq!(plain("DnsName(\"localhost\")"), "`localhost`");
        assert_eq!(plain("IpAddress(127.0.0.1)"), "`127.0.0.1`");
        assert_eq!(plain("DirectoryName"), "`DirectoryName`");
    }
}
