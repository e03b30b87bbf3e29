//! Handshakes between the two sides, and with faulty peers.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod trust;

use std::error::Error as _;
use std::io;
use std::process::Command;

use http::Version;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::explained::Explained;
use super::rustls::pki_types::{PrivateKeyDer, ServerName};
use super::rustls::sign::{CertifiedKey, SingleCertAndKey};
use super::rustls::version::{TLS12, TLS13};
use super::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use super::*;
use crate::error::{Error, ErrorKind, Result};

type ClientSide = (Explained<client::TlsStream<DuplexStream>>, Session);
type ServerSide = (Explained<server::TlsStream<DuplexStream>>, Session);

const BUFFER: usize = 16 * 1024;

async fn handshake(
    client: &ClientTls,
    host: &str,
    server: &ServerTls,
) -> (Result<ClientSide>, Result<ServerSide>) {
    let (near, far) = duplex(BUFFER);
    let (connector, acceptor) = (client.build().unwrap(), server.build().unwrap());
    tokio::join!(connector.connect(Version::HTTP_2, host, near), acceptor.accept(far))
}

fn identity(name: &str) -> Identity {
    Identity::self_signed([name]).unwrap()
}

fn trusting(identity: &Identity) -> ClientTls {
    ClientTls::new().only_root_certificates(identity.certificate_pem())
}

fn kinds(error: &Error) -> (ErrorKind, io::ErrorKind) {
    (error.kind(), io::Error::from(error.clone()).kind())
}

const REFUSED: (ErrorKind, io::ErrorKind) = (ErrorKind::Tls, io::ErrorKind::PermissionDenied);
const FAILED: (ErrorKind, io::ErrorKind) = (ErrorKind::Tls, io::ErrorKind::InvalidData);
const UNSUPPORTED: (ErrorKind, io::ErrorKind) =
    (ErrorKind::Unsupported, io::ErrorKind::Unsupported);

#[tokio::test]
async fn a_self_signed_certificate_serves_whoever_has_it_as_a_root() {
    let own = Identity::self_signed(["localhost", "127.0.0.1", "::1"]).unwrap();
    let server = ServerTls::from(own.clone());
    let only = trusting(&own);
    let beside_the_platforms = ClientTls::new().root_certificates(own.certificate_pem());
    for client in [only, beside_the_platforms] {
        for host in ["localhost", "127.0.0.1", "::1"] {
            let (near, far) = handshake(&client, host, &server).await;
            let ((mut near, settled), (mut far, settled_there)) = (near.unwrap(), far.unwrap());
            assert_eq!(settled.alpn.as_deref(), Some(H2));
            assert_eq!(settled_there.alpn.as_deref(), Some(H2));
            let shown = pem::encode_certificate(&settled.peer_certificates[0]);
            assert_eq!(shown, own.certificate_pem());
            assert!(settled_there.peer_certificates.is_empty());

            near.write_all(b"ping").await.unwrap();
            near.flush().await.unwrap();
            let mut read = [0; 4];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"ping");
        }
    }
}

#[tokio::test]
async fn a_transport_that_ends_without_close_notify_is_an_error_without_a_manual() {
    let own = identity("localhost");
    let server = ServerTls::from(own.clone());
    for server_leaves in [false, true] {
        let (near, far) = handshake(&trusting(&own), "localhost", &server).await;
        let (mut near, mut far) = (near.unwrap().0, far.unwrap().0);
        let mut read = [0; 4];
        let error = match server_leaves {
            true => {
                drop(far);
                near.read_exact(&mut read).await.unwrap_err()
            }
            false => {
                drop(near);
                far.read_exact(&mut read).await.unwrap_err()
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let text = error.to_string();
        assert!(text.ends_with("close_notify") && !text.contains("://"), "{text}");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_text_says_what_to_do() {
    let server = ServerTls::new(identity("localhost"));
    let client = trusting(&identity("localhost"));
    let (near, far) = handshake(&client, "localhost", &server).await;
    let (near, far) = (near.map(drop).unwrap_err(), far.map(drop).unwrap_err());
    assert_eq!(kinds(&near), REFUSED);
    assert!(near.to_string().contains("root certificate"), "{near}");
    assert_eq!(kinds(&far), REFUSED);
    assert!(far.to_string().starts_with("the client did not accept"), "{far}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_by_name() {
    let own = Identity::self_signed(["localhost", "127.0.0.1"]).unwrap();
    let server = ServerTls::new(own.clone());
    let near = handshake(&trusting(&own), "example.com", &server).await.0.map(drop).unwrap_err();
    assert_eq!(kinds(&near), REFUSED);
    let expected = "not valid for the name `example.com`, but for `localhost`, `127.0.0.1`:";
    assert!(near.to_string().contains(expected), "{near}");

    let client = trusting(&own).server_name("localhost");
    handshake(&client, "example.com", &server).await.0.unwrap();
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    let own = Identity::from_pem(certificate, key.serialize_pem()).unwrap();
    let server = ServerTls::new(own.clone());
    let near = handshake(&trusting(&own), "localhost", &server).await.0.map(drop).unwrap_err();
    assert_eq!(kinds(&near), REFUSED);
    assert!(near.to_string().contains("has expired"), "{near}");
}

#[tokio::test]
async fn danger_accepts_any_certificate() {
    let server = ServerTls::new(identity("elsewhere"));
    let client = ClientTls::new().dangerous_accept_any_certificate();
    let (near, far) = handshake(&client, "localhost", &server).await;
    near.unwrap();
    far.unwrap();
}

#[tokio::test]
async fn a_client_certificate_that_is_asked_for_is_shown() {
    let (own, client) = (identity("localhost"), identity("client"));
    let server = ServerTls::new(own.clone());
    for server in [
        server.clone().client_roots(client.certificate_pem()),
        server.optional_client_roots(client.certificate_pem()),
    ] {
        let tls = trusting(&own).identity(client.clone());
        let (near, far) = handshake(&tls, "localhost", &server).await;
        near.unwrap();
        let shown = far.unwrap().1.peer_certificates;
        assert_eq!(pem::encode_certificate(&shown[0]), client.certificate_pem());
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_is_refused_unless_optional() {
    let (own, client) = (identity("localhost"), identity("client"));
    let server = ServerTls::new(own.clone()).optional_client_roots(client.certificate_pem());
    let (near, far) = handshake(&trusting(&own), "localhost", &server).await;
    near.unwrap();
    assert!(far.unwrap().1.peer_certificates.is_empty());

    let server = server.client_roots(client.certificate_pem());
    let (near, far) = handshake(&trusting(&own), "localhost", &server).await;
    let far = far.map(drop).unwrap_err();
    assert_eq!(kinds(&far), REFUSED);
    assert_eq!(far.to_string(), "the client showed no certificate, and it has to");
    let late = near.unwrap().0.read_u8().await.unwrap_err();
    assert!(late.to_string().contains("asks for a client certificate"), "{late}");

    let stranger = trusting(&own).identity(identity("stranger"));
    let far = handshake(&stranger, "localhost", &server).await.1.map(drop).unwrap_err();
    assert_eq!(kinds(&far), REFUSED);
    assert!(far.to_string().contains("not among those given to ServerTls"), "{far}");
}

#[tokio::test]
async fn with_tls_1_2_a_missing_client_certificate_fails_the_handshake() {
    let (own, client) = (identity("localhost"), identity("client"));
    let mut roots = RootCertStore::empty();
    roots
        .add(pem::certificates(own.certificate_pem().as_bytes(), "it").unwrap().remove(0))
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerTls::new(own).client_roots(client.certificate_pem());
    let (near, _) = handshake(&ClientTls::from(Arc::new(config)), "localhost", &server).await;
    let near = near.map(drop).unwrap_err();
    assert_eq!(kinds(&near), REFUSED);
    assert!(near.to_string().contains("ClientTls::identity"), "{near}");
    assert!(near.is_by_peer());
}

/// A server that shows the certificate of another, with a key of its own.
fn thief(stolen: &Identity, version: &'static SupportedProtocolVersion) -> ServerTls {
    let key = PrivateKeyDer::Pkcs8(KeyPair::generate().unwrap().serialize_der().into());
    let key = provider().key_provider.load_private_key(key).unwrap();
    let stolen = pem::certificates(stolen.certificate_pem().as_bytes(), "it").unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(stolen, key));
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    Arc::new(config).into()
}

#[tokio::test]
async fn no_way_of_trust_accepts_a_certificate_without_its_key() {
    let stolen = identity("localhost");
    for client in [
        trusting(&stolen),
        ClientTls::new().root_certificates(stolen.certificate_pem()),
        ClientTls::new().pinned(stolen.fingerprint()),
        ClientTls::new().dangerous_accept_any_certificate(),
    ] {
        for version in [&TLS12, &TLS13] {
            let near = handshake(&client, "localhost", &thief(&stolen, version)).await.0;
            assert_eq!(kinds(&near.map(drop).unwrap_err()), REFUSED, "{client:?} {version:?}");
        }
    }
}

/// Connects to a server with other ALPN protocols than ours.
async fn connect_to(protocols: &[&[u8]]) -> Error {
    let own = identity("localhost");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(own.resolver());
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (near, far) = duplex(BUFFER);
    let connector = trusting(&own).build().unwrap();
    let (near, _) =
        tokio::join!(connector.connect(Version::HTTP_2, "localhost", near), acceptor.accept(far));
    near.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_server_without_http_2_is_unsupported() {
    let error = connect_to(&[]).await;
    assert_eq!(kinds(&error), UNSUPPORTED);
    assert!(error.to_string().contains("it chose no protocol"), "{error}");
    let error = connect_to(&[HTTP_1_1]).await;
    assert_eq!(kinds(&error), UNSUPPORTED);
    assert!(error.to_string().contains("does not offer HTTP/2"), "{error}");
}

#[tokio::test]
async fn a_client_without_http_2_gets_as_far_as_alpn_lets_it() {
    let own = identity("localhost");
    let acceptor = ServerTls::new(own).build().unwrap();
    let table: [(&[&[u8]], _); 3] = [
        (&[], Ok(None)),
        (&[HTTP_1_1], Ok(Some(HTTP_1_1))),
        (&[b"spdy/3"], Err(ErrorKind::Unsupported)),
    ];
    for (protocols, expected) in table {
        let mut config = ClientTls::new().dangerous_accept_any_certificate().config().unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(config));
        let (near, far) = duplex(BUFFER);
        let name = ServerName::try_from("localhost").unwrap();
        let (_, far) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        let settled = far.map(|(_, session)| session.alpn).map_err(|error| error.kind());
        assert_eq!(settled, expected.map(|alpn| alpn.map(<[u8]>::to_vec)));
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_apart() {
    let connector = trusting(&identity("localhost")).build().unwrap();
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), settings] {
        let (near, mut far) = duplex(BUFFER);
        far.write_all(answer).await.unwrap();
        let error =
            connector.connect(Version::HTTP_2, "localhost", near).await.map(drop).unwrap_err();
        assert_eq!(kinds(&error), FAILED);
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
        assert!(error.to_string().contains("use http://"), "{error}");
    }
    let (near, far) = duplex(BUFFER);
    drop(far);
    let error = connector.connect(Version::HTTP_2, "localhost", near).await.map(drop).unwrap_err();
    assert_eq!(kinds(&error), FAILED);
}

#[tokio::test]
async fn a_server_that_closes_during_the_handshake_is_told_apart() {
    let connector = trusting(&identity("localhost")).build().unwrap();
    let (near, mut far) = duplex(BUFFER);
    let reads_and_closes = async move {
        let _ = far.read_u8().await;
        far.shutdown().await.unwrap();
        far
    };
    let (error, _far) =
        tokio::join!(connector.connect(Version::HTTP_2, "localhost", near), reads_and_closes);
    let error = error.map(drop).unwrap_err();
    assert_eq!(kinds(&error), FAILED);
    assert!(error.to_string().contains("closed the connection"), "{error}");
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_told_apart() {
    let acceptor = ServerTls::new(identity("localhost")).build().unwrap();
    for request in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (mut near, far) = duplex(BUFFER);
        near.write_all(request.as_bytes()).await.unwrap();
        let error = acceptor.accept(far).await.map(drop).unwrap_err();
        assert_eq!(kinds(&error), FAILED);
        assert!(error.to_string().starts_with("the client did not speak TLS"), "{error}");
    }
}

#[tokio::test]
async fn bad_settings_are_found_by_build() {
    let own = identity("localhost");
    let own_client = ClientTls::from(Arc::new(trusting(&own).config().unwrap()));
    let clients = [
        ClientTls::new().root_certificates("garbage"),
        ClientTls::new().only_root_certificates(""),
        trusting(&own).server_name("two words"),
        own_client.identity(own.clone()),
    ];
    for client in clients {
        let error = client.build().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let error = ServerTls::new(own.clone()).client_roots("garbage").build().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("ServerTls::client_roots"), "{error}");

    let connector = trusting(&own).build().unwrap();
    for host in ["", "two words", "[::1]"] {
        let error =
            connector.connect(Version::HTTP_2, host, duplex(1).0).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{host}");
        assert!(error.source().is_some());
    }
}

#[test]
fn a_server_of_another_kind_gets_the_same_settings() {
    let own = ServerTls::new(identity("localhost"));
    let config = own.rustls_config().unwrap();
    assert_eq!(config.alpn_protocols, [H2, HTTP_1_1]);

    let mut theirs = ServerConfig::clone(&config);
    theirs.alpn_protocols = vec![b"theirs".to_vec()];
    let theirs = ServerTls::from(Arc::new(theirs));
    assert_eq!(theirs.rustls_config().unwrap().alpn_protocols, [H2, HTTP_1_1]);

    let error = theirs.client_roots("garbage").rustls_config().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// The environment sets where the roots are, so the test runs itself again in a changed one.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
#[test]
fn a_machine_without_roots_says_so_and_serves_those_who_need_none() {
    const MARK: &str = "H2CONN_TEST_WITHOUT_ROOTS";
    if std::env::var_os(MARK).is_none() {
        let name = "tls::tests::a_machine_without_roots_says_so_and_serves_those_who_need_none";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .envs([
                (MARK, "1"),
                ("SSL_CERT_FILE", "/nonexistent"),
                ("SSL_CERT_DIR", "/nonexistent"),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let error = ClientTls::new().build().map(drop).unwrap_err();
    assert_eq!(kinds(&error), FAILED);
    assert!(error.to_string().starts_with("no root certificates were found"), "{error}");
    let own = identity("localhost");
    ClientTls::new().root_certificates(own.certificate_pem()).build().unwrap();
    ClientTls::new().dangerous_accept_any_certificate().build().unwrap();
}
