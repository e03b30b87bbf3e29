//! A stock axum-server without an installed default provider.

use beside_axum_server::{Certificate, check_both};

/// rustls takes the only provider in the process.
#[cfg(not(feature = "ring"))]
#[tokio::test]
async fn both_serve_tls_where_h2conn_has_the_provider_of_axum_server() -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    check_both(certificate.stock_config().await?, &certificate).await
}

/// If this fails because nothing panics any more, the documentation of `h2conn::tls` can do without
/// its two lines.
#[cfg(feature = "ring")]
#[tokio::test]
async fn rustls_panics_of_two_providers_in_axum_server_and_not_in_h2conn() -> anyhow::Result<()> {
    use anyhow::ensure;
    use beside_axum_server::{check, listener};
    use h2conn::tls::ClientTls;

    let certificate = Certificate::new()?;
    let panicked = tokio::spawn(async {
        let certificate = Certificate::new()?;
        check_both(certificate.stock_config().await?, &certificate).await
    });
    let panicked = panicked.await.err().map(|error| format!("{error:?}")).unwrap_or_default();
    ensure!(panicked.contains("CryptoProvider"), "it panicked with: {panicked:?}");

    let url = listener(certificate.identity()?).await?;
    check(&url, ClientTls::new().only_root_certificates(&certificate.pem)).await
}
