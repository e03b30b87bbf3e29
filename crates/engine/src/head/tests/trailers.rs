//! Trailers (RFC 9113 §8.1).

use super::*;

#[test]
fn trailers_have_all_that_was_sent() {
    let trailers = trailers(&[&[("grpc-status", "0"), ("grpc-message", "")]]).unwrap();
    assert_eq!(trailers.len(), 2);
    assert_eq!(trailers["grpc-status"], "0");
}

#[test]
fn trailers_may_be_empty() {
    assert!(trailers(&[]).unwrap().is_empty());
}

/// h2spec 8.1.2.1/3.
#[test]
fn pseudo_header_fields_are_refused() {
    for name in [":method", ":status", ":path", ":test", ":"] {
        assert_malformed(trailers(&[&[(name, "x")]]), "RFC 9113 §8.1");
    }
}

#[test]
fn te_is_not_for_trailers() {
    assert_malformed(trailers(&[&[("te", "trailers")]]), "RFC 9113 §8.2.2");
}
