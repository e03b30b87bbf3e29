//! TLS for both sides: certificates, trust, and handshakes that agree on HTTP/2.
//!
//! This module needs the feature `ring`, which is a default, or `aws-lc-rs`. Each names the library
//! that does the cryptography for rustls. With both features it is ring; to use aws-lc-rs, set
//! `default-features = false` and name the features that you need. With neither feature this crate
//! has no TLS: it speaks HTTP/2 over TCP, Unix sockets and the program's own transports, and a URL
//! with `https://` is an error.
//!
//! # Beside other users of rustls
//!
//! This crate always names its crypto provider. It neither reads nor sets the default provider of
//! the process, so it works beside code that uses the other one.
//!
//! Other code may need that default: each that calls `ServerConfig::builder()` or
//! `ClientConfig::builder()` of rustls, as `axum-server` did before 0.9.2. rustls chooses the default
//! alone if the program contains one provider. If the program contains both, as with the default
//! features of this crate and the feature `tls-rustls` of `axum-server`, rustls panics: *Could not
//! automatically determine the process-level CryptoProvider*. Two lines at the beginning of `main`
//! prevent that:
//!
//! ```
//! # #[cfg(feature = "ring")] {
//! let provider = h2conn::tls::rustls::crypto::ring::default_provider();
//! provider.install_default().expect("no other provider is installed yet");
//! # }
//! ```
//!
//! Instead of `ring` it may be `aws_lc_rs`. Neither line is needed in a program whose crates all use
//! the same provider, or where other servers get their configuration from
//! [`ServerTls::rustls_config`].

mod client;
mod explained;
mod failure;
mod fingerprint;
mod given;
mod identity;
mod pem;
mod server;
mod trust;
mod validity;

use std::sync::Arc;

use bytes::Bytes;
use rustls::CommonState;
use rustls::crypto::CryptoProvider;
// The default wins: a crate that enables the other feature somewhere changes nothing here.
#[cfg(not(feature = "ring"))]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(feature = "ring")]
use rustls::crypto::ring as crypto;

/// The TLS library, in the version whose configurations [`ClientTls`] and [`ServerTls`] take.
pub use tokio_rustls::rustls;

pub use client::ClientTls;
pub(crate) use client::Connector;
pub use identity::Identity;
pub(crate) use server::Acceptor;
pub use server::ServerTls;
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(crate) use server::tcp_below;

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
    Arc::new(crypto::default_provider())
}

#[cfg(all(test, feature = "self-signed"))]
mod tests;
