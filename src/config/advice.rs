//! Texts for clients whose request opens no connection: the way that the client has, and the one
//! that the server's owner has.

/// How a client that is no page connects.
pub(crate) const BY_HTTP2: &str = "in a terminal by \"h2conn connect URL\" or \"curl -T . URL\" (over http:// with \
                                   --http2-prior-knowledge), in a program by a POST over HTTP/2 whose body stays open";

/// For a client that asks HTTP/1.1 for an upgrade to HTTP/2 (`upgrade: h2c`).
pub(crate) const NO_H2C: &str = "an upgrade from HTTP/1.1 (h2c) is not taken, because RFC 9113 has removed it (curl: \
                                 --http2-prior-knowledge in place of --http2)";

/// For a client that asks for a WebSocket by HTTP/1.0, where these versions are taken.
#[cfg(feature = "accept")]
pub(crate) fn no_websocket_by_http10(versions: &str) -> String {
    format!(
        "a WebSocket needs {versions}, and this request came by HTTP/1.0: a proxy on the way must be told to pass HTTP/1.1 \
         on (nginx: proxy_http_version 1.1)"
    )
}

/// For a client that asks a listener for a WebSocket, however it comes.
pub(crate) fn no_websockets_at_a_listener() -> String {
    let built = match cfg!(feature = "websocket") {
        true => "",
        false => ", without which this program was built",
    };
    format!(
        "this Listener of h2conn takes no WebSockets. Its program can take them by \
         `ListenerBuilder::websockets`, with the feature \"websocket\" of h2conn (Cargo.toml: features = \
         [\"websocket\"]){built}. Connect without one, {BY_HTTP2}"
    )
}
