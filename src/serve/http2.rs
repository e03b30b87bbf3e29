//! One request over HTTP/2, from the service's call to the end of its response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;
use tower_service::Service;

use super::{ConnInfo, RequestBody, fields};
use crate::alive::{Counted, Kind};
use crate::conn::{Exchange, Served, Stream};
use crate::content::{BoxError, Pieces, Sending, content_length, is_without_content, too_short};
use crate::error::{Error, ErrorKind, Reason};
use crate::hosted::asked_for;
use crate::observe;

/// Answers a request with what the service makes of it.
pub(super) async fn answer<S, R>(stream: Arc<Stream>, mut service: S)
where
    S: Service<Request<RequestBody>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let _counted = Counted::new(Kind::Task);
    let mut answer = Answer { stream, stage: Stage::Unanswered };
    let request = request_of(&answer.stream);
    let called = async {
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        service.call(request).await.map_err(Into::into)
    };
    let Some(outcome) = unless_over(&answer.stream, called).await else {
        // Bytes that have come may still be read.
        answer.stage = Stage::Over;
        return;
    };
    match outcome {
        Ok(response) => answer.give(response).await,
        Err(error) => answer.fail(error),
    }
}

/// The request, as programs expect it.
fn request_of(stream: &Arc<Stream>) -> Request<RequestBody> {
    let mut parts = stream.request.clone();
    if let Some(fields) = stream.exchange().and_then(Exchange::take_fields) {
        parts.headers = fields;
    }
    fields::join_cookies(&mut parts.headers);
    // `accept` knows the client's address from the stream.
    ConnInfo::describe(&stream.link, &mut parts.extensions);
    if let Some(protocol) = stream.transport.protocol() {
        parts.extensions.insert(hyper::ext::Protocol::from(protocol));
    }
    parts.extensions.insert(Served::new(stream));
    let body = RequestBody::http2(Arc::clone(stream), &parts.headers);
    Request::from_parts(parts, body)
}

/// Waits for a future. `None` if the stream has ended before: its client has gone.
async fn unless_over<F: Future>(stream: &Stream, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match stream.poll_done(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The answer to a request, which does not stay half given.
struct Answer {
    stream: Arc<Stream>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unanswered,
    /// The head is given, and the content is not complete.
    Begun,
    /// Everything is given.
    Whole,
    /// The end needs nothing more: the stream is over, or is a connection, whose user sees to the
    /// rest.
    Over,
}

impl Answer {
    /// Gives the response that the service has made.
    async fn give<R>(&mut self, response: Response<R>)
    where
        R: Body,
        R::Error: Into<BoxError>,
    {
        let (mut head, body) = response.into_parts();
        if head.status.is_informational() {
            let message = format!(
                "a handler has answered with the status {}, which is no final one over HTTP/2 \
                 (RFC 9113 §8.1)",
                head.status.as_str()
            );
            return self.fail(message.into());
        }
        fields::prepare(&mut head.headers);
        if !self.stream.is_ordinary() {
            return self.give_conn(head);
        }
        let request = &self.stream.request.method;
        let without_content = is_without_content(request, head.status);
        let is_tunnel = *request == Method::CONNECT && head.status.is_success();
        if head.status == StatusCode::NO_CONTENT || is_tunnel {
            // RFC 9110 §8.6.
            head.headers.remove(header::CONTENT_LENGTH);
        } else if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
            let entry = head.headers.entry(header::CONTENT_LENGTH);
            entry.or_insert_with(|| HeaderValue::from(length));
        }
        if without_content {
            return self.give_whole(head);
        }
        let announced = content_length(&head.headers);
        if body.is_end_stream() {
            return match announced {
                None | Some(0) => self.give_whole(head),
                Some(length) => self.fail(too_short(length).into()),
            };
        }
        let stream = Arc::clone(&self.stream);
        let mut body = pin!(body);
        let mut content = Sending::new(Pieces::new(announced), None);
        // The content that is there at once goes out with the head.
        let begun =
            poll_fn(|cx| Poll::Ready(content.poll_move(cx, body.as_mut(), &stream, false))).await;
        if let Poll::Ready(Err(error)) = begun {
            return self.fail(error);
        }
        if begun.is_ready() {
            // The end of this task, after the body is dropped, tells the carrier of everything.
            self.stage = Stage::Whole;
            let _ = stream.put_answer(head, false);
            return;
        }
        self.stage = Stage::Begun;
        // A client that has gone is noticed below.
        let _ = stream.give_answer(head);
        let rest = poll_fn(|cx| content.poll_move(cx, body.as_mut(), &stream, true));
        match unless_over(&stream, rest).await {
            Some(Ok(())) => self.stage = Stage::Whole,
            Some(Err(error)) => self.fail(error),
            None => self.stage = Stage::Over,
        }
    }

    /// Gives a response without content. The end of this task tells the carrier of it.
    fn give_whole(&mut self, head: response::Parts) {
        self.stage = Stage::Whole;
        let _ = self.stream.put_answer(head, true);
        self.stream.outbox.put_end();
    }

    /// Gives the response of a connection.
    fn give_conn(&mut self, mut head: response::Parts) {
        let is_replaced = self.stream.exchange().is_some_and(Exchange::is_answer_dropped);
        if is_replaced && head.status.is_success() {
            let message = "the response of `accept` was dropped, and another one was given in its \
                           place; a request that must not become a connection must be answered \
                           before `accept`";
            return self.fail(message.into());
        }
        self.stage = Stage::Over;
        head.headers.remove(header::CONTENT_LENGTH);
        if !self.stream.answer_has(&header::CONTENT_ENCODING) {
            // A layer has seen to the response's body, which the bytes of a connection are not.
            head.headers.remove(header::CONTENT_ENCODING);
        }
        if head.status.is_success() {
            let _ = self.stream.give_answer(head);
            return;
        }
        let message = format!(
            "the client was answered with {} in place of the response of `accept`, so there is no \
             connection",
            head.status
        );
        self.stream.close_because(Error::new(ErrorKind::Aborted, message));
        let _ = self.stream.give_whole_answer(head);
    }

    /// Resets the request because of the program's error.
    fn fail(&mut self, error: BoxError) {
        self.stage = Stage::Over;
        // An error of another connection has a reason of its own, which is not this stream's.
        let reason = asked_for(&*error).unwrap_or_else(|| {
            observe::service_failed(self.stream.request.uri.path(), &*error);
            Reason::INTERNAL_ERROR
        });
        self.stream.reset(reason, format!("the service has failed: {error}"));
    }
}

/// A panic, or a task that is dropped with its runtime, leaves no request without an end.
impl Drop for Answer {
    fn drop(&mut self) {
        match self.stage {
            Stage::Over => {}
            Stage::Whole => self.stream.drop_writer(),
            Stage::Unanswered if self.stream.is_ordinary() && std::thread::panicking() => {
                let (mut head, ()) = Response::new(()).into_parts();
                head.status = StatusCode::INTERNAL_SERVER_ERROR;
                fields::prepare(&mut head.headers);
                let _ = self.stream.give_whole_answer(head);
                self.stream.drop_writer();
            }
            Stage::Unanswered | Stage::Begun => {
                let message = "the response was dropped before its end";
                self.stream.reset(Reason::INTERNAL_ERROR, message);
            }
        }
    }
}
