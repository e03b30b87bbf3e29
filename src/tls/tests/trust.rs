//! Certificates that are trusted themselves: given as roots, or by their fingerprint.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

/// An authority's certificate for `localhost` that its key has signed, as of `openssl req -x509`.
fn authority(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let certificate = params.self_signed(key).unwrap().pem();
    Identity::from_pem(certificate, key.serialize_pem()).unwrap()
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// Both ways to give a root.
fn both_ways(root: &Identity) -> [ClientTls; 2] {
    [trusting(root), ClientTls::new().root_certificates(root.certificate_pem())]
}

/// The client's error, where it does not accept the server.
async fn refused(client: &ClientTls, host: &str, server: &Identity) -> String {
    let (near, far) = handshake(client, host, &ServerTls::new(server.clone())).await;
    let (near, far) = (near.map(drop).unwrap_err(), far.map(drop).unwrap_err());
    assert_eq!(kinds(&near), REFUSED);
    assert_eq!(kinds(&far), REFUSED);
    near.to_string()
}

#[tokio::test]
async fn an_authoritys_own_certificate_that_was_given_is_accepted() {
    let own = authority(&key(), |_| {});
    for client in both_ways(&own) {
        let (near, far) = handshake(&client, "localhost", &own.clone().into()).await;
        let ((mut near, _), (mut far, _)) = (near.unwrap(), far.unwrap());
        near.write_all(b"ping").await.unwrap();
        near.flush().await.unwrap();
        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }
}

#[tokio::test]
async fn one_that_was_not_given_is_refused_with_what_to_do() {
    let own = authority(&key(), |_| {});
    let other = identity("localhost");
    for client in both_ways(&other) {
        let text = refused(&client, "localhost", &own).await;
        for part in ["`CA:TRUE`", "give it as a root certificate", "ClientTls::pinned"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_given_certificate_still_needs_the_name() {
    let own = authority(&key(), |_| {});
    for client in both_ways(&own) {
        let text = refused(&client, "example.com", &own).await;
        assert!(text.contains("`example.com`, but for `localhost`"), "{text}");
        handshake(&client.server_name("localhost"), "example.com", &own.clone().into())
            .await
            .0
            .unwrap();
    }
}

#[tokio::test]
async fn a_given_certificate_is_refused_out_of_its_time() {
    let expired = authority(&key(), |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let future = authority(&key(), |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    for (own, expected) in [(expired, "has expired"), (future, "is not valid yet")] {
        for client in both_ways(&own) {
            let text = refused(&client, "localhost", &own).await;
            assert!(text.contains(expected), "{text}");
        }
    }
}

/// The bytes decide, not the key or the name.
#[tokio::test]
async fn another_certificate_of_the_same_key_and_name_is_not_the_one_that_was_given() {
    let key = key();
    let given = authority(&key, |params| params.serial_number = Some(1_u64.into()));
    let other = authority(&key, |params| params.serial_number = Some(2_u64.into()));
    for client in both_ways(&given) {
        let text = refused(&client, "localhost", &other).await;
        assert!(text.contains("`CA:TRUE`"), "{text}");
    }
}

#[tokio::test]
async fn an_authority_that_was_given_vouches_for_others_as_well_as_for_itself() {
    let key = key();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let signing_key = KeyPair::try_from(key.serialize_der()).unwrap();
    let issuer = CertifiedIssuer::self_signed(params, signing_key).unwrap();
    let own = Identity::from_pem(issuer.pem(), key.serialize_pem()).unwrap();

    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let signed = Identity::from_pem(leaf.pem(), leaf_key.serialize_pem()).unwrap();
    for client in both_ways(&own) {
        for server in [&own, &signed] {
            handshake(&client, "localhost", &server.clone().into()).await.0.unwrap();
        }
    }
    let pinned = ClientTls::new().pinned(own.fingerprint());
    handshake(&pinned, "localhost", &own.into()).await.0.unwrap();
    let text = refused(&pinned, "localhost", &signed).await;
    assert!(text.contains(&signed.fingerprint()), "a pin is of a server, not of an issuer: {text}");
}

#[tokio::test]
async fn a_clients_own_authority_that_was_given_lets_it_in() {
    let (own, client) = (identity("localhost"), authority(&key(), |_| {}));
    let server = ServerTls::new(own.clone());
    for server in [
        server.clone().client_roots(client.certificate_pem()),
        server.clone().optional_client_roots(client.certificate_pem()),
    ] {
        let tls = trusting(&own).identity(client.clone());
        let (near, far) = handshake(&tls, "localhost", &server).await;
        near.unwrap();
        let shown = far.unwrap().1.peer_certificates;
        assert_eq!(pem::encode_certificate(&shown[0]), client.certificate_pem());
    }

    let expired = authority(&key(), |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let server = server.client_roots(expired.certificate_pem());
    for (client, expected) in [(expired, "has expired"), (client, "not among those given")] {
        let tls = trusting(&own).identity(client);
        let far = handshake(&tls, "localhost", &server).await.1.map(drop).unwrap_err();
        assert_eq!(kinds(&far), REFUSED);
        assert!(far.to_string().contains(expected), "{far}");
    }
}

#[tokio::test]
async fn a_client_with_the_certificate_of_another_is_not_let_in() {
    for stolen in [authority(&key(), |_| {}), identity("client")] {
        let own = identity("localhost");
        let server = ServerTls::new(own.clone()).client_roots(stolen.certificate_pem());
        let key = PrivateKeyDer::Pkcs8(key().serialize_der().into());
        let key = provider().key_provider.load_private_key(key).unwrap();
        let stolen = pem::certificates(stolen.certificate_pem().as_bytes(), "it").unwrap();
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(stolen, key)));
        for version in [&TLS12, &TLS13] {
            let mut roots = RootCertStore::empty();
            let root = pem::certificates(own.certificate_pem().as_bytes(), "it").unwrap();
            roots.add_parsable_certificates(root);
            let config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_client_cert_resolver(Arc::clone(&shown) as _);
            let client = ClientTls::from(Arc::new(config));
            let far = handshake(&client, "localhost", &server).await.1.map(drop).unwrap_err();
            assert_eq!(kinds(&far), REFUSED, "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_whatever_its_name_date_and_kind() {
    let expired = authority(&key(), |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for own in [identity("elsewhere.example"), authority(&key(), |_| {}), expired] {
        let colons = own.fingerprint();
        let plain = colons.replace(':', "").to_lowercase();
        for pin in [colons, plain] {
            let client = ClientTls::new().pinned(pin);
            let (near, far) = handshake(&client, "127.0.0.1", &own.clone().into()).await;
            near.unwrap();
            far.unwrap();
        }
    }
}

#[tokio::test]
async fn of_several_pins_one_is_enough() {
    let (old, new) = (identity("localhost"), identity("localhost"));
    let client = ClientTls::new().pinned(old.fingerprint()).pinned(new.fingerprint());
    for own in [old, new] {
        handshake(&client, "localhost", &own.into()).await.0.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_pinned_is_refused_with_what_was_seen_and_expected() {
    let (server, first, second) = (identity("localhost"), identity("a"), identity("b"));
    let one = ClientTls::new().pinned(first.fingerprint());
    let text = refused(&one, "localhost", &server).await;
    let expected =
        format!("fingerprint {}, but {} is expected", server.fingerprint(), first.fingerprint());
    assert!(text.contains(&expected), "{text}");

    let text = refused(&one.pinned(second.fingerprint()), "localhost", &server).await;
    let expected =
        format!("but one of {} or {} is expected", first.fingerprint(), second.fingerprint());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn pins_that_cannot_be_used_are_found_by_build() {
    let own = identity("localhost");
    let pinned = ClientTls::new().pinned(own.fingerprint());
    let config = Arc::new(trusting(&own).config().unwrap());
    for (client, part) in [
        (ClientTls::new().pinned("5E:0A"), "`5E:0A` is no SHA-256 fingerprint"),
        (pinned.clone().pinned(""), "64 hexadecimal digits"),
        (pinned.clone().root_certificates(own.certificate_pem()), "root_certificates"),
        (pinned.clone().only_root_certificates(own.certificate_pem()), "only_root_certificates"),
        (pinned.clone().dangerous_accept_any_certificate(), "dangerous_accept_any_certificate"),
        (ClientTls::from(config).pinned(own.fingerprint()), "made from a rustls configuration"),
    ] {
        let error = client.build().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    pinned.build().unwrap();
}
