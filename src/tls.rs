//! TLS for both sides: certificates, whom to trust, and handshakes that settle on HTTP/2.

mod client;
mod explained;
mod failure;
mod identity;
mod pem;
mod server;

use std::sync::Arc;

use bytes::Bytes;
use rustls::CommonState;
use rustls::crypto::CryptoProvider;

/// The TLS library, in the version whose configurations [`ClientTls`] and [`ServerTls`] take.
pub use tokio_rustls::rustls;

pub use client::ClientTls;
pub(crate) use client::Connector;
pub(crate) use explained::Explained;
pub use identity::Identity;
pub(crate) use server::Acceptor;
pub use server::ServerTls;

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What TLS takes at once: a DATA frame of ours, its header, and more while the transport takes none.
/// rustls' own limit of 64 KiB cuts off the frame's last nine bytes, for a system call of their own.
const WRITE_LIMIT: usize = 128 << 10;

/// What the handshake settled.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The protocol that ALPN settled on.
    pub(crate) alpn: Option<Vec<u8>>,
    /// The peer's certificates in DER, its own first.
    pub(crate) peer_certificates: Vec<Bytes>,
}

impl Session {
    fn of(state: &CommonState) -> Session {
        let certificates = state.peer_certificates().unwrap_or_default();
        Session {
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            peer_certificates: certificates.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
        }
    }
}

/// Named everywhere, since the process-wide default may be missing, or somebody else's.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(all(test, feature = "self-signed"))]
mod tests;
