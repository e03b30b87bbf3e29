//! The cases of a client, by tonic's stubs over any transport.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes};
use tonic::metadata::{Ascii, Binary, MetadataKey, MetadataValue};
use tonic::{Code, Request, Streaming};

use crate::messages::{
    EchoStatus, Empty, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest, StreamingOutputCallResponse, zeros,
};
use crate::service::{INITIAL, TRAILING};
use crate::stubs::test_service_client::TestServiceClient;
use crate::stubs::unimplemented_service_client::UnimplementedServiceClient;

/// The result of a case: what went wrong.
pub type Outcome = Result<(), Box<dyn StdError + Send + Sync>>;

/// The sizes of the cases' documentation.
const REQUESTS: [i32; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSES: [i32; 4] = [31_415, 9, 2_653, 58_979];
const LARGE_REQUEST: i32 = 271_828;
const LARGE_RESPONSE: i32 = 314_159;

/// A text that no percent-encoding must break.
const SPECIAL: &str =
    "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";

macro_rules! check {
    ($it:expr, $($seen:tt)+) => {
        if !$it {
            return Err(format!($($seen)+).into());
        }
    };
}

/// The transport of a client.
pub trait Channel:
    GrpcService<
        Body,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdBox> + Send> + Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

type StdBox = Box<dyn StdError + Send + Sync>;

impl<T> Channel for T where
    T: GrpcService<
            Body,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdBox> + Send> + Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The fate of the stream of requests of a call that is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// It is dropped.
    Dropped,
    /// It stays until its next message: hyper's client waits for that.
    Kept,
}

impl Requests {
    async fn check<M>(self, requests: &mpsc::UnboundedSender<M>) {
        if self == Requests::Dropped {
            requests.closed().await;
        }
    }
}

/// Runs all cases over a transport to the server of this URL.
///
/// # Errors
///
/// The first case that fails, and why.
pub async fn all<T: Channel>(channel: T, url: &str, of: Requests) -> Outcome {
    let origin: tonic::codegen::http::Uri = url.parse()?;
    let client = TestServiceClient::with_origin(channel.clone(), origin.clone());
    let absent = UnimplementedServiceClient::with_origin(channel, origin);
    named("empty_unary", empty_unary(client.clone())).await?;
    named("large_unary", large_unary(client.clone())).await?;
    named("client_streaming", client_streaming(client.clone())).await?;
    named("server_streaming", server_streaming(client.clone())).await?;
    named("ping_pong", ping_pong(client.clone())).await?;
    named("empty_stream", empty_stream(client.clone())).await?;
    named("custom_metadata", custom_metadata(client.clone())).await?;
    named("status_code_and_message", status_code_and_message(client.clone())).await?;
    named("special_status_message", special_status_message(client.clone())).await?;
    named("unimplemented_method", unimplemented_method(client.clone())).await?;
    named("unimplemented_service", unimplemented_service(absent)).await?;
    named("cancel_after_begin", cancel_after_begin(client.clone(), of)).await?;
    named("cancel_after_first_response", cancel_after_first_response(client.clone(), of)).await?;
    named("timeout_on_sleeping_server", timeout_on_sleeping_server(client.clone(), of)).await?;
    // The client is of use after all of this.
    named("empty_unary", empty_unary(client)).await
}

async fn named(name: &str, case: impl Future<Output = Outcome>) -> Outcome {
    match timeout(Duration::from_secs(60), case).await {
        Ok(ended) => ended.map_err(|error| format!("{name}: {error}").into()),
        Err(_) => Err(format!("{name}: it hangs").into()),
    }
}

async fn empty_unary<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let answer = client.empty_call(Empty {}).await?.into_inner();
    check!(answer == Empty {}, "{answer:?}");
    Ok(())
}

fn large() -> SimpleRequest {
    SimpleRequest {
        response_size: LARGE_RESPONSE,
        payload: Some(zeros(LARGE_REQUEST)),
        ..SimpleRequest::default()
    }
}

async fn large_unary<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let answer = client.unary_call(large()).await?.into_inner();
    check!(answer.payload == Some(zeros(LARGE_RESPONSE)), "another payload");
    Ok(())
}

async fn client_streaming<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let requests = REQUESTS.map(|size| StreamingInputCallRequest { payload: Some(zeros(size)) });
    let answer = client.streaming_input_call(tokio_stream::iter(requests)).await?.into_inner();
    check!(answer.aggregated_payload_size == REQUESTS.iter().sum(), "{answer:?}");
    Ok(())
}

fn ask(sizes: &[i32], payload: i32) -> StreamingOutputCallRequest {
    let response_parameters =
        sizes.iter().map(|size| ResponseParameters { size: *size, interval_us: 0 }).collect();
    let payload = Some(zeros(payload));
    StreamingOutputCallRequest { response_parameters, payload, ..Default::default() }
}

async fn expect(answers: &mut Streaming<StreamingOutputCallResponse>, size: i32) -> Outcome {
    let answer = answers.message().await?.ok_or("the stream has ended")?;
    check!(answer.payload == Some(zeros(size)), "another payload than {size} zeros");
    Ok(())
}

async fn expect_end(answers: &mut Streaming<StreamingOutputCallResponse>) -> Outcome {
    let more = answers.message().await?;
    check!(more.is_none(), "the stream goes on");
    Ok(())
}

async fn server_streaming<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let mut answers = client.streaming_output_call(ask(&RESPONSES, 0)).await?.into_inner();
    for size in RESPONSES {
        expect(&mut answers, size).await?;
    }
    expect_end(&mut answers).await
}

async fn ping_pong<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let (requests, stream) = mpsc::unbounded_channel();
    // A server may send its head with its first message.
    requests.send(ask(&RESPONSES[..1], REQUESTS[0]))?;
    let answers = client.full_duplex_call(UnboundedReceiverStream::new(stream)).await?;
    let mut answers = answers.into_inner();
    expect(&mut answers, RESPONSES[0]).await?;
    for (request, response) in REQUESTS.into_iter().zip(RESPONSES).skip(1) {
        requests.send(ask(&[response], request))?;
        expect(&mut answers, response).await?;
    }
    drop(requests);
    expect_end(&mut answers).await
}

async fn empty_stream<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let answers = client.full_duplex_call(tokio_stream::empty()).await?;
    expect_end(&mut answers.into_inner()).await
}

async fn custom_metadata<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let initial = MetadataKey::<Ascii>::from_bytes(INITIAL.as_str().as_bytes())?;
    let trailing = MetadataKey::<Binary>::from_bytes(TRAILING.as_str().as_bytes())?;
    let bytes = MetadataValue::<Binary>::from_bytes(&[0xab, 0xab, 0xab]);
    let mut request = Request::new(large());
    request.metadata_mut().insert(initial.clone(), MetadataValue::from_static("test_initial"));
    request.metadata_mut().insert_bin(trailing.clone(), bytes.clone());
    let answer = client.unary_call(request).await?;
    let seen = answer.metadata();
    check!(seen.get(&initial).is_some_and(|value| value == "test_initial"), "{seen:?}");
    check!(seen.get_bin(&trailing) == Some(&bytes), "{seen:?}");

    let mut request = Request::new(tokio_stream::once(ask(&[LARGE_RESPONSE], LARGE_REQUEST)));
    request.metadata_mut().insert(initial.clone(), MetadataValue::from_static("test_initial"));
    request.metadata_mut().insert_bin(trailing.clone(), bytes.clone());
    let answers = client.full_duplex_call(request).await?;
    let seen = answers.metadata();
    check!(seen.get(&initial).is_some_and(|value| value == "test_initial"), "{seen:?}");
    let mut answers = answers.into_inner();
    expect(&mut answers, LARGE_RESPONSE).await?;
    expect_end(&mut answers).await?;
    let trailers = answers.trailers().await?.ok_or("there are no trailers")?;
    check!(trailers.get_bin(&trailing) == Some(&bytes), "{trailers:?}");
    Ok(())
}

fn status(code: Code, message: &str) -> Option<EchoStatus> {
    Some(EchoStatus { code: code as i32, message: message.to_owned() })
}

async fn status_code_and_message<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let response_status = status(Code::Unknown, "test status message");
    let request =
        SimpleRequest { response_status: response_status.clone(), ..SimpleRequest::default() };
    let error = client.unary_call(request).await.err().ok_or("it has succeeded")?;
    check!(error.code() == Code::Unknown && error.message() == "test status message", "{error:?}");
    let request = StreamingOutputCallRequest { response_status, ..Default::default() };
    let answers = client.full_duplex_call(tokio_stream::once(request)).await;
    let error = match answers {
        Ok(answers) => answers.into_inner().message().await.err(),
        Err(error) => Some(error),
    };
    let error = error.ok_or("it has succeeded")?;
    check!(error.code() == Code::Unknown && error.message() == "test status message", "{error:?}");
    Ok(())
}

async fn special_status_message<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let response_status = status(Code::Unknown, SPECIAL);
    let request = SimpleRequest { response_status, ..SimpleRequest::default() };
    let error = client.unary_call(request).await.err().ok_or("it has succeeded")?;
    check!(error.code() == Code::Unknown && error.message() == SPECIAL, "{error:?}");
    Ok(())
}

async fn unimplemented_method<T: Channel>(mut client: TestServiceClient<T>) -> Outcome {
    let error = client.unimplemented_call(Empty {}).await.err().ok_or("it has succeeded")?;
    check!(error.code() == Code::Unimplemented, "{error:?}");
    Ok(())
}

async fn unimplemented_service<T: Channel>(mut client: UnimplementedServiceClient<T>) -> Outcome {
    let error = client.unimplemented_call(Empty {}).await.err().ok_or("it has succeeded")?;
    check!(error.code() == Code::Unimplemented, "{error:?}");
    Ok(())
}

async fn cancel_after_begin<T: Channel>(mut client: TestServiceClient<T>, of: Requests) -> Outcome {
    let (requests, stream) = mpsc::unbounded_channel::<StreamingInputCallRequest>();
    let call = client.streaming_input_call(UnboundedReceiverStream::new(stream));
    let answer = timeout(Duration::from_millis(20), call).await;
    check!(answer.is_err(), "an answer to a stream that has not ended: {answer:?}");
    of.check(&requests).await;
    Ok(())
}

async fn cancel_after_first_response<T: Channel>(
    mut client: TestServiceClient<T>,
    of: Requests,
) -> Outcome {
    let (requests, stream) = mpsc::unbounded_channel();
    requests.send(ask(&RESPONSES[..1], REQUESTS[0]))?;
    let answers = client.full_duplex_call(UnboundedReceiverStream::new(stream)).await?;
    let mut answers = answers.into_inner();
    expect(&mut answers, RESPONSES[0]).await?;
    drop(answers);
    of.check(&requests).await;
    Ok(())
}

async fn timeout_on_sleeping_server<T: Channel>(
    mut client: TestServiceClient<T>,
    of: Requests,
) -> Outcome {
    let (requests, stream) = mpsc::unbounded_channel();
    // The first answer shows that the server is at work.
    let mut asked = ask(&[1, 1], REQUESTS[0]);
    asked.response_parameters[1].interval_us = 60_000_000;
    requests.send(asked)?;
    let answers = client.full_duplex_call(UnboundedReceiverStream::new(stream)).await?;
    let mut answers = answers.into_inner();
    expect(&mut answers, 1).await?;
    let answer = timeout(Duration::from_millis(20), answers.message()).await;
    check!(answer.is_err(), "an answer of a server that sleeps: {answer:?}");
    drop(answers);
    of.check(&requests).await;
    Ok(())
}
