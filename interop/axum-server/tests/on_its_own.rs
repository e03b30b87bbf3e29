//! A stock axum-server without an installed default provider.

use beside_axum_server::{Certificate, check_both};

#[tokio::test]
async fn both_serve_tls_without_an_installed_provider() -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    check_both(certificate.stock_config().await?, &certificate).await
}

/// If this fails because nothing panics any more, the documentation of `h2conn::tls` can do without
/// its two lines.
#[cfg(feature = "ring")]
#[tokio::test]
async fn rustls_panics_of_two_providers_where_code_names_none_and_h2conn_works()
-> anyhow::Result<()> {
    use anyhow::ensure;
    use beside_axum_server::{check, listener};
    use h2conn::tls::ClientTls;

    let certificate = Certificate::new()?;
    let panicked = std::panic::catch_unwind(|| certificate.rustls_config().map(drop));
    let panic = panicked.err().and_then(|panic| panic.downcast::<String>().ok());
    let text = panic.map(|text| *text).unwrap_or_default();
    ensure!(text.contains("the process-level CryptoProvider"), "it panicked with: {text:?}");

    let url = listener(certificate.identity()?).await?;
    check(&url, ClientTls::new().only_root_certificates(&certificate.pem)).await
}
