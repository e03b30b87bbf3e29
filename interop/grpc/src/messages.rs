//! The messages of the package `grpc.testing`, as far as the cases use them.

use prost::Message;

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// Bytes that only fill a message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Payload {
    /// The kind of payload: 0, compressible.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
}

/// The status with which the server must answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EchoStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The text.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// A request of one message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SimpleRequest {
    /// The kind of the response's payload.
    #[prost(int32, tag = "1")]
    pub response_type: i32,
    /// The size of the response's payload, in bytes.
    #[prost(int32, tag = "2")]
    pub response_size: i32,
    /// The request's payload.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
    /// The status that the response must have.
    #[prost(message, optional, tag = "7")]
    pub response_status: Option<EchoStatus>,
}

/// The response to a request of one message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SimpleResponse {
    /// The payload.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// One message of a stream of requests.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingInputCallRequest {
    /// The payload.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// The response to a stream of requests.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StreamingInputCallResponse {
    /// The bytes of all payloads.
    #[prost(int32, tag = "1")]
    pub aggregated_payload_size: i32,
}

/// The form of one message in a stream of responses.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ResponseParameters {
    /// The size of its payload, in bytes.
    #[prost(int32, tag = "1")]
    pub size: i32,
    /// The pause before it, in microseconds.
    #[prost(int32, tag = "2")]
    pub interval_us: i32,
}

/// A request for a stream of responses.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingOutputCallRequest {
    /// The kind of the payloads.
    #[prost(int32, tag = "1")]
    pub response_type: i32,
    /// A response for each of these.
    #[prost(message, repeated, tag = "2")]
    pub response_parameters: Vec<ResponseParameters>,
    /// The request's payload.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
    /// The status with which the stream must end.
    #[prost(message, optional, tag = "7")]
    pub response_status: Option<EchoStatus>,
}

/// One message of a stream of responses.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingOutputCallResponse {
    /// The payload.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// A payload of this many zeros.
pub fn zeros(size: i32) -> Payload {
    Payload { kind: 0, body: vec![0; usize::try_from(size).unwrap_or(0)] }
}
