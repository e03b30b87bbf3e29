//! Client certificates.

use std::io;
use std::sync::Arc;

use anyhow::{Context, ensure};
use h2conn::tls::rustls::pki_types::CertificateDer;
use h2conn::tls::rustls::pki_types::pem::PemObject;
use h2conn::tls::{ClientTls, Identity, ServerTls, rustls};
use h2conn::{Client, Error, ErrorKind, Listener};
use tokio::io::AsyncReadExt;

use crate::support::{
    TestResult, accept, chain, check_echo, echo, identity, io_kind, ours, port_of, run, serve,
};

/// A server that asks its clients for certificates.
struct Asking {
    listener: Listener,
    url: String,
    /// The settings of a client that trusts the server.
    tls: ClientTls,
    certificate: String,
}

impl Asking {
    async fn new(ask: impl FnOnce(ServerTls) -> ServerTls) -> TestResult<Asking> {
        let identity = identity()?;
        let certificate = identity.certificate_pem();
        let tls = ClientTls::new().only_root_certificates(&certificate);
        let asking = ask(ServerTls::new(identity));
        let listener = Listener::builder().tls(asking).bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", port_of(&listener));
        Ok(Asking { listener, url, tls, certificate })
    }

    fn client(&self, identity: Option<&Identity>) -> h2conn::Result<Client> {
        let tls = self.tls.clone();
        let tls = match identity {
            Some(identity) => tls.identity(identity.clone()),
            None => tls,
        };
        Client::builder().tls(tls).build()
    }
}

fn der(identity: &Identity) -> TestResult<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes())?.to_vec())
}

#[test]
fn a_certificate_that_is_required_and_shown_lets_its_client_in() -> TestResult {
    run(async {
        let me = Identity::self_signed(["me"])?;
        let mut asking = Asking::new(|tls| tls.client_roots(me.certificate_pem())).await?;
        let client = asking.client(Some(&me))?;
        let (connected, accepted) =
            tokio::join!(client.connect(&asking.url), accept(&mut asking.listener));
        let (conn, server) = (connected?.0, accepted?);
        let shown = server.peer_certificates();
        ensure!(shown.len() == 1 && shown[0] == der(&me)?, "{} certificates", shown.len());
        ensure!(!conn.peer_certificates().is_empty(), "the server has shown its own");
        ensure!(conn.peer_certificates()[0] != shown[0]);
        tokio::spawn(echo(server));
        check_echo(conn, b"hello").await
    })
}

/// The error of a client with `identity` at a server that accepts only other certificates.
async fn refused(identity: Option<&Identity>) -> TestResult<Error> {
    let known = Identity::self_signed(["known"])?;
    let asking = Asking::new(|tls| tls.client_roots(known.certificate_pem())).await?;
    let client = asking.client(identity)?;
    serve(asking.listener, echo);
    match client.connect(&asking.url).await {
        Ok(_) => anyhow::bail!("it was let in"),
        Err(error) => {
            ensure!(error.to_string().contains(&asking.url), "{error}");
            Ok(error)
        }
    }
}

fn is_denied(error: &Error, parts: &[&str]) -> TestResult {
    let text = chain(error);
    ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
    ensure!(io_kind(error) == io::ErrorKind::PermissionDenied, "{error:?}");
    ensure!(error.is_by_peer() && !error.was_not_processed(), "{error:?}");
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in: {text}");
    }
    Ok(())
}

#[test]
fn a_client_without_the_certificate_that_is_required_is_told_so() -> TestResult {
    run(async {
        // TLS 1.3 reports this after the client's handshake is complete. The alert and the end of
        // the link may race, so one attempt is not enough.
        for _ in 0..20 {
            is_denied(&refused(None).await?, &["certificate", "ClientTls::identity"])?;
        }
        Ok(())
    })
}

#[test]
fn a_client_with_a_certificate_that_is_not_trusted_is_told_so() -> TestResult {
    run(async {
        for _ in 0..20 {
            let stranger = Identity::self_signed(["stranger"])?;
            is_denied(&refused(Some(&stranger)).await?, &["certificate"])?;
        }
        Ok(())
    })
}

#[test]
fn tls_1_2_tells_it_as_well() -> TestResult {
    run(async {
        let known = Identity::self_signed(["known"])?;
        let asking = Asking::new(|tls| tls.client_roots(known.certificate_pem())).await?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(asking.certificate.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder().tls(Arc::new(config)).build()?;
        serve(asking.listener, echo);
        let error = client.connect(&asking.url).await.expect_err("it shows no certificate");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::PermissionDenied, "{error:?}");
        Ok(())
    })
}

/// The same applies to a user who writes before the answer.
#[test]
fn a_conn_that_was_opened_without_waiting_fails_with_the_same() -> TestResult {
    run(async {
        let known = Identity::self_signed(["known"])?;
        let asking = Asking::new(|tls| tls.client_roots(known.certificate_pem())).await?;
        let client = asking.client(None)?;
        serve(asking.listener, echo);
        match client.open(&asking.url).await {
            Err(error) => is_denied(&error, &["certificate"]),
            Ok(mut conn) => {
                let error = conn.read(&mut [0; 1]).await.expect_err("it is not let in");
                is_denied(ours(&error), &["certificate"])
            }
        }
    })
}

#[test]
fn an_optional_certificate_is_optional() -> TestResult {
    run(async {
        let me = Identity::self_signed(["me"])?;
        let mut asking = Asking::new(|tls| tls.optional_client_roots(me.certificate_pem())).await?;
        for (identity, expected) in [(None, 0), (Some(&me), 1)] {
            let client = asking.client(identity)?;
            let (connected, accepted) =
                tokio::join!(client.connect(&asking.url), accept(&mut asking.listener));
            let (conn, server) = (connected?.0, accepted?);
            ensure!(server.peer_certificates().len() == expected);
            tokio::spawn(echo(server));
            check_echo(conn, b"hello").await?;
        }
        let stranger = asking.client(Some(&Identity::self_signed(["stranger"])?))?;
        let url = asking.url.clone();
        serve(asking.listener, echo);
        let error = stranger.connect(&url).await.expect_err("a bad one is worse than none");
        is_denied(&error, &["certificate"]).context("a stranger")
    })
}
