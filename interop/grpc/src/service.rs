//! The test service, on tonic.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest};
use tonic::codegen::http::{Response as HttpResponse, response};
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::messages::{
    EchoStatus, Empty, SimpleRequest, SimpleResponse, StreamingInputCallRequest,
    StreamingInputCallResponse, StreamingOutputCallRequest, StreamingOutputCallResponse, zeros,
};
use crate::stubs::test_service_server::{TestService, TestServiceServer};

/// The test service: tonic's server for [`Tests`], which also echoes metadata.
pub type TestServer = Echo<TestServiceServer<Tests>>;

/// The test service.
pub fn server() -> TestServer {
    Echo(TestServiceServer::new(Tests))
}

/// The methods of the test service.
#[derive(Clone, Copy, Debug)]
pub struct Tests;

type Answers = ReceiverStream<Result<StreamingOutputCallResponse, Status>>;

fn check(status: Option<EchoStatus>) -> Result<(), Status> {
    match status.filter(|status| status.code != 0) {
        Some(status) => Err(Status::new(Code::from_i32(status.code), status.message)),
        None => Ok(()),
    }
}

async fn answer(
    request: StreamingOutputCallRequest,
    answers: &mpsc::Sender<Result<StreamingOutputCallResponse, Status>>,
) -> Result<(), Status> {
    check(request.response_status)?;
    for asked in request.response_parameters {
        let pause = u64::try_from(asked.interval_us).unwrap_or(0);
        tokio::time::sleep(Duration::from_micros(pause)).await;
        let payload = Some(zeros(asked.size));
        let sent = answers.send(Ok(StreamingOutputCallResponse { payload })).await;
        sent.map_err(|_| Status::cancelled("the client has gone"))?;
    }
    Ok(())
}

#[tonic::async_trait]
impl TestService for Tests {
    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        let request = request.into_inner();
        check(request.response_status)?;
        Ok(Response::new(SimpleResponse { payload: Some(zeros(request.response_size)) }))
    }

    type StreamingOutputCallStream = Answers;

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(status) = answer(request.into_inner(), &answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let mut requests = request.into_inner();
        let mut size = 0;
        while let Some(request) = requests.message().await? {
            size += request.payload.map_or(0, |payload| payload.body.len());
        }
        let aggregated_payload_size = i32::try_from(size).unwrap_or(i32::MAX);
        Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
    }

    type FullDuplexCallStream = Answers;

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let answering = async {
                while let Some(request) = requests.message().await? {
                    answer(request, &answers).await?;
                }
                Ok(())
            };
            if let Err(status) = answering.await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("on purpose"))
    }
}

/// Echoes the metadata of the case `custom_metadata`: one field with the head of the response, one
/// with its trailers.
#[derive(Clone, Debug)]
pub struct Echo<S>(S);

/// The metadata that come back with the head.
pub const INITIAL: HeaderName = HeaderName::from_static("x-grpc-test-echo-initial");
/// The metadata that come back with the trailers.
pub const TRAILING: HeaderName = HeaderName::from_static("x-grpc-test-echo-trailing-bin");

impl<S: NamedService> NamedService for Echo<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<HttpRequest<B>> for Echo<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let initial = request.headers().get(INITIAL).cloned();
        let trailing = request.headers().get(TRAILING).cloned();
        let response = self.0.call(request);
        Box::pin(async move {
            let (mut head, body): (response::Parts, Body) = response.await?.into_parts();
            head.headers.extend(initial.map(|value| (INITIAL, value)));
            let body = match trailing {
                Some(value) => Body::new(Trailed { body, value }),
                None => body,
            };
            Ok(HttpResponse::from_parts(head, body))
        })
    }
}

/// A body with one more trailer.
struct Trailed {
    body: Body,
    value: HeaderValue,
}

impl tonic::codegen::Body for Trailed {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => {
                let mut all: HeaderMap = trailers;
                all.insert(TRAILING, self.value.clone());
                http_body::Frame::trailers(all)
            }
            Err(frame) => frame,
        })))
    }
}
