//! TLS for both sides: certificates, trust, and handshakes that agree on HTTP/2.

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

/// The most plaintext that TLS buffers: one of our DATA frames, its header, and more while the
/// transport takes none. rustls' own limit of 64 KiB cuts off the frame's last nine bytes, which
/// then cost a system call of their own.
const WRITE_LIMIT: usize = 128 << 10;

/// The results of the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The protocol that ALPN has chosen.
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

/// Pass this provider everywhere, because the process-wide default may be missing or unsuitable.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(all(test, feature = "self-signed"))]
mod tests;
