//! Ordinary requests of a client, beside its connections (feature `requests`).

mod body;
mod content;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request};
use http_body::Body;
use tower_service::Service;

use super::Client;
use super::call::{Call, expects_content};
use super::request::replace;
use super::target::Target;
use crate::config::values;
use crate::conn::Transport;
use crate::content::{
    BoxError, content_length, is_without_content, remove_connection_specific, trim,
};
use crate::error::{Error, ErrorKind, Result, request_name};
use content::Content;

pub use body::ResponseBody;

impl Client {
    /// Sends an ordinary request, with any method and body, over the links that the client's
    /// connections use, and waits for the head of the response. Every status is a response: none is
    /// an error.
    ///
    /// The client is also a [`tower_service::Service`] that does this, for the layers of tower-http
    /// (redirects, compression, tracing), for tonic's clients, and for servers that forward
    /// requests. In statistics, metrics and the limits of links, a request counts as a connection.
    ///
    /// * **URL.** It must be absolute. A field `host` becomes the `:authority` (RFC 9113 §8.3.1).
    /// * **Fields.** A field of the request takes the place of the client's
    ///   [`header`](crate::ClientBuilder::header) of that name.
    ///   [`headers_with`](crate::ClientBuilder::headers_with) runs last, and can change both. The
    ///   client's own fields are also sent to an origin that a redirect leads to: if a layer follows
    ///   redirects, set a token on the request, and not on the client. Fields that HTTP/2 forbids
    ///   (RFC 9113 §8.2.2) are removed. A body of a known length gets a `content-length`. The
    ///   request's version and extensions are not used.
    /// * **Body.** Content that is there at once leaves with the head. Otherwise a task moves it, as
    ///   fast as the server takes it, and at most the
    ///   [`send_queue_size`](crate::ClientBuilder::send_queue_size) and one chunk wait. Trailers are
    ///   sent and received. `expect: 100-continue` is sent, but not waited for.
    /// * **Retries.** A request that the server has certainly not looked at is sent again as
    ///   [`Client::connect`] does it, if all of its content was there at once, in one chunk or up to
    ///   64 KiB.
    /// * **Time.** The [`connect_timeout`](crate::ClientBuilder::connect_timeout) bounds the wait
    ///   for a place on a link. Nothing bounds the wait for the response, which may be a stream that
    ///   begins with its first event: use a timeout of the runtime or of a layer.
    ///
    /// # Errors
    ///
    /// The same as for [`connect`](crate::connect), without [`ErrorKind::Rejected`]. Besides:
    ///
    /// - [`ErrorKind::InvalidInput`]: the URL is not absolute, the method is CONNECT, or a field
    ///   cannot be sent.
    /// - [`ErrorKind::Aborted`]: the request's body failed, or is not as long as its
    ///   `content-length`. The cause is the source.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the request back, by a reset with `CANCEL`. Keep polling the
    /// future: other requests may be waiting for the link that it makes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use h2conn::Client;
    /// use h2conn::http::Request;
    /// use http_body_util::BodyExt;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new()?;
    /// let request = Request::put("https://localhost:8000/users/1")
    ///     .header("content-type", "application/json")
    ///     .body(r#"{"name": "Ada"}"#.to_owned())?;
    /// let response = client.send(request).await?;
    /// println!("{}", response.status());
    /// let answer = response.into_body().collect().await?.to_bytes();
    /// println!("{}", String::from_utf8_lossy(&answer));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<ResponseBody>>
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let hint = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let call = self.exchange_call(parts, hint)?;
        let mut content = match Content::gather(body, call.length).await {
            Ok(content) => content,
            Err(error) => {
                let message = format!("{}: not sent, because the body failed", call.name());
                return Err(Error::new(ErrorKind::Aborted, message).with_source(error));
            }
        };
        let mut retries = call.retries(content.is_whole());
        loop {
            match call.exchange(&mut content).await {
                Err(error) => retries.after(error).await?,
                answered => return answered,
            }
        }
    }

    /// Checks an ordinary request. `known` is the length of its body.
    fn exchange_call(&self, parts: request::Parts, known: Option<u64>) -> Result<Call> {
        let request::Parts { method, uri, headers: mut fields, .. } = parts;
        let wrong = |what: &str| {
            let message = format!("{}: {what}", request_name(&method, &uri));
            Error::new(ErrorKind::InvalidInput, message)
        };
        if method == Method::CONNECT {
            let what = "CONNECT opens a tunnel, and is no ordinary request; set another method";
            return Err(wrong(what));
        }
        let mut target = Target::of(uri.clone())?;
        prepare(&mut fields);
        let host = take_only(&mut fields, header::HOST).map_err(&wrong)?;
        if let Some(host) = host {
            let authority = Authority::try_from(host.as_bytes());
            let authority = authority.ok().filter(|authority| !authority.as_str().contains('@'));
            target
                .set_authority(authority.ok_or_else(|| wrong("the field \"host\" names no host"))?);
        }
        let declared = content_length(&fields);
        let length = take_only(&mut fields, header::CONTENT_LENGTH).map_err(&wrong)?;
        if length.is_some() && declared.is_none() {
            return Err(wrong("the field \"content-length\" is no number (RFC 9110 §8.6)"));
        }
        let length = declared.or(known.filter(|length| *length > 0 || expects_content(&method)));
        let inner = &self.inner;
        let mut headers = inner.headers.clone();
        replace(&mut headers, fields);
        Ok(Call {
            target,
            method,
            transport: Transport::Request,
            headers,
            length,
            ends_with_head: false,
            headers_with: [inner.headers_with.clone(), None],
            response_timeout: inner.response_timeout,
            client: self.clone(),
        })
    }
}

impl Call {
    /// Sends the request once, and waits for the head of the response.
    async fn exchange<B>(&self, content: &mut Content<B>) -> Result<Response<ResponseBody>>
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let place = self.place().await?;
        let stream = place.exchange(self.head()?, |stream| content.put(stream));
        // Resets the stream if it is dropped before the response is there.
        let mut body = ResponseBody::new(Arc::clone(&stream));
        content.send_rest(&stream, self);
        let head = poll_fn(|cx| stream.poll_response(cx)).await?;
        body.expect(match is_without_content(&self.method, head.status) {
            true => Some(0),
            false => content_length(&head.headers),
        });
        Ok(Response::from_parts(head, body))
    }
}

/// Makes the fields of a request fit for HTTP/2.
fn prepare(fields: &mut HeaderMap) {
    // gRPC needs it, and HTTP/2 allows no other value (RFC 9113 §8.2.2).
    let takes_trailers = fields.contains_key(header::TE)
        && values(fields, header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    remove_connection_specific(fields);
    if takes_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    trim(fields);
}

/// Takes out a field that may occur only once.
fn take_only(
    fields: &mut HeaderMap,
    name: HeaderName,
) -> Result<Option<HeaderValue>, &'static str> {
    if fields.get_all(&name).iter().nth(1).is_some() {
        return Err("the field \"host\" or \"content-length\" occurs more than once");
    }
    Ok(fields.remove(name))
}

/// Sends requests as [`Client::send`] does. It is always ready: a request waits for its place on a
/// link in its own future.
impl<B> Service<Request<B>> for Client
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_fields_of_http_1_only_te_trailers_is_kept() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop, te"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip, Trailers"),
            ("x", " a b\t"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        prepare(&mut fields);
        let mut left = HeaderMap::new();
        left.insert("te", HeaderValue::from_static("trailers"));
        left.insert("x", HeaderValue::from_static("a b"));
        assert_eq!(fields, left);
        fields.insert("te", HeaderValue::from_static("gzip"));
        prepare(&mut fields);
        assert_eq!(fields.get("te"), None);
    }
}
