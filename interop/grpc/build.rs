//! Makes tonic's stubs of gRPC's test service, without a compiler of Protocol Buffers.

use tonic_build::manual::{Builder, Method, Service};

/// The forms of a call: whether the client and the server send streams.
#[derive(Clone, Copy)]
struct Streams(bool, bool);

fn method(name: &str, route: &str, input: &str, output: &str, streams: Streams) -> Method {
    let builder = Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("crate::messages::{input}"))
        .output_type(format!("crate::messages::{output}"))
        .codec_path("tonic_prost::ProstCodec");
    match streams {
        Streams(false, false) => builder.build(),
        Streams(false, true) => builder.server_streaming().build(),
        Streams(true, false) => builder.client_streaming().build(),
        Streams(true, true) => builder.client_streaming().server_streaming().build(),
    }
}

fn main() {
    let unary = Streams(false, false);
    let (asked, told) = ("StreamingOutputCallRequest", "StreamingOutputCallResponse");
    let tests = Service::builder()
        .name("TestService")
        .package("grpc.testing")
        .comment("The service that gRPC's interoperability cases call.")
        .method(method("empty_call", "EmptyCall", "Empty", "Empty", unary))
        .method(method("unary_call", "UnaryCall", "SimpleRequest", "SimpleResponse", unary))
        .method(method(
            "streaming_output_call",
            "StreamingOutputCall",
            asked,
            told,
            Streams(false, true),
        ))
        .method(method(
            "streaming_input_call",
            "StreamingInputCall",
            "StreamingInputCallRequest",
            "StreamingInputCallResponse",
            Streams(true, false),
        ))
        .method(method("full_duplex_call", "FullDuplexCall", asked, told, Streams(true, true)))
        .method(method("unimplemented_call", "UnimplementedCall", "Empty", "Empty", unary))
        .build();
    let absent = Service::builder()
        .name("UnimplementedService")
        .package("grpc.testing")
        .comment("A service that no server has.")
        .method(method("unimplemented_call", "UnimplementedCall", "Empty", "Empty", unary))
        .build();
    Builder::new().build_transport(false).compile(&[tests]);
    Builder::new().build_transport(false).build_server(false).compile(&[absent]);
}
