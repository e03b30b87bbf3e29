//! With the two lines of the documentation, code that asks rustls for the default provider works.

use axum_server::tls_rustls::RustlsConfig;
use beside_axum_server::{Certificate, check_both};

#[tokio::test]
async fn both_serve_tls_where_a_default_provider_is_installed() -> anyhow::Result<()> {
    let provider = h2conn::tls::rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().expect("no other provider is installed yet");

    let certificate = Certificate::new()?;
    check_both(RustlsConfig::from_config(certificate.rustls_config()?), &certificate).await
}
