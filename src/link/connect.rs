//! Extended CONNECT (RFC 8441), as h2 has it: a value of `:protocol` among a request's extensions.

use h2::ext::Protocol;
use http::{Request, request};

use crate::conn::Transport;
use crate::error::{Ending, Error, ErrorKind};

/// Gives a client's request the `:protocol` that its transport has.
pub(super) fn set_protocol(request: &mut Request<()>, transport: &Transport) {
    if let Some(protocol) = transport.protocol() {
        request.extensions_mut().insert(Protocol::from(protocol));
    }
}

/// What a client's request asks for. h2 shows a `:protocol` only where it was offered, and only on
/// CONNECT.
pub(super) fn transport_of(request: &mut request::Parts) -> Transport {
    match request.extensions.remove::<Protocol>() {
        Some(protocol) => Transport::ExtendedConnect(protocol.as_str().into()),
        None => Transport::Request,
    }
}

/// The server's SETTINGS are there, and do not allow `:protocol` (RFC 8441 §3).
pub(super) fn not_offered(protocol: &str) -> Ending {
    let message = format!(
        "the server does not offer extended CONNECT (RFC 8441), which the protocol {protocol:?} \
         needs: its SETTINGS came without SETTINGS_ENABLE_CONNECT_PROTOCOL = 1; let the server, and \
         each proxy before it, offer it (Listener: ListenerBuilder::protocols), or connect by an \
         ordinary request"
    );
    Ending::Failed(Error::new(ErrorKind::Unsupported, message).by_the_peer())
}
