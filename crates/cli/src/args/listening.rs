//! The options of every command that listens.

use std::path::PathBuf;

use super::values::{Destination, listen_addr};

/// Where to listen, and which clients are let in.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListenOptions {
    /// The address to listen on, HOST:PORT or unix:PATH. PORT alone is that port of all IPv4
    /// addresses, so that other machines can connect. Port 0 is any free port; the line 'listening
    /// on …' on standard error names it.
    #[arg(value_name = "ADDR", value_parser = listen_addr)]
    pub(crate) addr: Destination,
    /// Present the certificate in this file, and make the file first if there is none.
    ///
    /// A new file holds a key and a self-signed certificate, in PEM, for the host of ADDR and for
    /// localhost, valid for a year. PORT alone, 0.0.0.0 and [::] name no host: clients on other
    /// machines then need --fingerprint, which does not check the name. Only its owner can read it (mode 0600); on Windows it inherits
    /// the access rights of its folder. The next start presents the same certificate, with the same
    /// fingerprint. Clients need the certificate without the key: `openssl x509 -in FILE` prints it.
    ///
    /// Without this option and --cert, each start makes another certificate. The fingerprint is
    /// printed in either case.
    #[arg(help_heading = "TLS")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key", "cleartext"])]
    pub(crate) identity: Option<PathBuf>,
    /// Present this certificate chain, in PEM.
    #[arg(help_heading = "TLS")]
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "cleartext")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(help_heading = "TLS")]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Let in only clients whose certificate is signed by one of the certificates in this PEM file.
    #[arg(help_heading = "TLS")]
    #[arg(long, value_name = "FILE", conflicts_with = "cleartext")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Let pages of this origin connect, such as https://example.com. May be given more than once.
    ///
    /// Browsers say which page makes a request. Without this option only pages that were loaded from this host and port by
    /// localhost or by an address may connect. Behind a proxy with a name, and for pages of other servers, it is needed.
    /// Programs other than browsers are not concerned.
    #[arg(help_heading = "WebSocket")]
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<String>,
    /// Speak HTTP/2 without TLS. Anyone on the network path can read and alter the traffic.
    #[arg(help_heading = "TLS")]
    #[arg(long)]
    pub(crate) cleartext: bool,
}
