//! The options of whatever listens.

use std::path::PathBuf;

use super::values::Destination;

/// Where to listen, and who is let in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenOptions {
    /// Where to listen, HOST:PORT or unix:PATH; port 0 is any free one, and 'listening on …' on
    /// standard error tells which.
    #[arg(value_name = "ADDR", help_heading = "Arguments")]
    pub(crate) addr: Destination,
    /// The certificate chain to show, in PEM. Without it one is made on the spot, and its
    /// fingerprint is printed.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "cleartext")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Let in only clients with a certificate that one of these, in PEM, has signed.
    #[arg(long, value_name = "FILE", conflicts_with = "cleartext")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Speak HTTP/2 without TLS. Whoever is on the way can read and change everything.
    #[arg(long)]
    pub(crate) cleartext: bool,
}
