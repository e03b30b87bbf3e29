//! A configuration of h2conn's needs no default provider, and h2conn installs none.

use axum_server::tls_rustls::RustlsConfig;
use beside_axum_server::{Certificate, check_both};
use h2conn::tls::ServerTls;
use h2conn::tls::rustls::crypto::CryptoProvider;

#[tokio::test]
async fn both_serve_tls_where_axum_server_gets_the_configuration_of_h2conn() -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    let config = ServerTls::new(certificate.identity()?).rustls_config()?;
    check_both(RustlsConfig::from_config(config), &certificate).await?;
    assert!(CryptoProvider::get_default().is_none(), "nobody has asked for a default provider");
    Ok(())
}
