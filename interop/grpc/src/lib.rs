//! gRPC's interoperability cases, as its documentation describes them (`grpc/doc/interop-test-descriptions.md`):
//! the messages, the test service on tonic, and the cases of a client.
//!
//! `tests/` runs them between h2conn, tonic and grpc-go.

pub mod cases;
pub mod messages;
pub mod service;

/// tonic's stubs, made by `build.rs`.
pub mod stubs {
    include!(concat!(env!("OUT_DIR"), "/grpc.testing.TestService.rs"));
    include!(concat!(env!("OUT_DIR"), "/grpc.testing.UnimplementedService.rs"));
}
