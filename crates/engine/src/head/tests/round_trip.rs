//! Any head is the same after a real encoder and decoder.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use proptest::prelude::*;

use super::{LIMITS, ReceivedRequest, ReceivedResponse, of};
use crate::Protocol;
use crate::head::{Outgoing, RequestHead, ResponseHead, Trailers};
use crate::hpack::{Decoder, Encoder, Field};

/// Fields without a meaning for HTTP/2. Some occur several times, and some are secret.
pub(super) fn some_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        Just("accept".to_owned()),
        Just("content-type".to_owned()),
        Just("authorization".to_owned()),
        Just("set-cookie".to_owned()),
        "x-[a-z0-9!#$%&'*+.^_`|~-]{0,20}",
    ];
    let value = prop_oneof![
        "([!-~]([ -~\t]{0,40}[!-~])?)?".prop_map(String::into_bytes),
        prop::collection::vec(0x80..=0xff_u8, 0..20),
    ];
    prop::collection::vec((name, value, any::<bool>()), 0..12).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value, secret) in fields {
            let name = HeaderName::try_from(name).unwrap();
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(secret);
            headers.append(name, value);
        }
        headers
    })
}

fn some_uri() -> impl Strategy<Value = Uri> {
    let authority = "([a-z0-9.-]{1,20}|\\[::1\\])(:[1-9][0-9]{0,3})?";
    let path = "/[a-zA-Z0-9/._~%-]{0,30}(\\?[a-z=&/?]{0,10})?";
    ("(https?|coap)", authority, path).prop_map(|(scheme, authority, path)| {
        let uri = Uri::builder().scheme(&*scheme).authority(authority).path_and_query(path);
        uri.build().unwrap()
    })
}

pub(super) fn some_request() -> impl Strategy<Value = Request<()>> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::POST),
        Just(Method::CONNECT),
        "[A-Z]{1,20}".prop_map(|method| Method::from_bytes(method.as_bytes()).unwrap()),
    ];
    let protocol = "[a-z-]{1,12}(/[0-9.]{1,3})?";
    (method, some_uri(), some_headers(), protocol).prop_map(|(method, uri, headers, protocol)| {
        let mut request = Request::new(());
        if method == Method::CONNECT {
            request.extensions_mut().insert(Protocol::new(&protocol).unwrap());
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    })
}

/// Asserts that both are equal, including the secrecy of values.
fn same(received: &HeaderMap, sent: &HeaderMap) -> Result<(), TestCaseError> {
    prop_assert_eq!(received, sent);
    for name in sent.keys() {
        let secret = |headers: &HeaderMap| -> Vec<bool> {
            headers.get_all(name).iter().map(HeaderValue::is_sensitive).collect()
        };
        // Names that are always secret come out as secrets.
        if !matches!(name.as_str(), "authorization" | "set-cookie") {
            prop_assert_eq!(secret(received), secret(sent));
        }
    }
    Ok(())
}

/// Both ends of the compression.
struct Line {
    encoder: Encoder,
    decoder: Decoder,
}

impl Line {
    fn new() -> Line {
        Line { encoder: Encoder::new(), decoder: Decoder::new(4096) }
    }

    fn carry(&mut self, outgoing: &Outgoing<'_>, mut sink: impl FnMut(Field<'_>)) {
        let mut block = Vec::new();
        outgoing.write(&mut self.encoder, &mut block);
        self.decoder.decode(&block, &mut sink).unwrap();
    }
}

proptest! {
    #[test]
    fn requests(sent in prop::collection::vec(some_request(), 1..5)) {
        let (mut line, mut values_before) = (Line::new(), 0);
        for sent in sent {
            let mut head = RequestHead::new(LIMITS, values_before, true);
            line.carry(&of(&sent).unwrap(), |field| head.field(field));
            let ReceivedRequest { request: received, values, .. } = head.finish().unwrap();
            values_before = values;
            prop_assert_eq!(received.method(), sent.method());
            prop_assert_eq!(received.uri(), sent.uri());
            let protocol = |request: &Request<()>| request.extensions().get::<Protocol>().cloned();
            prop_assert_eq!(protocol(&received), protocol(&sent));
            same(received.headers(), sent.headers())?;
        }
    }

    #[test]
    fn responses(sent in prop::collection::vec((100..1000_u16, some_headers()), 1..5)) {
        let (mut line, mut values_before) = (Line::new(), 0);
        for (status, headers) in sent {
            let mut sent = Response::new(());
            *sent.status_mut() = StatusCode::from_u16(status).unwrap();
            *sent.headers_mut() = headers;
            if status == 101 {
                continue;
            }
            let mut head = ResponseHead::new(LIMITS, values_before);
            line.carry(&Outgoing::response(&sent).unwrap(), |field| head.field(field));
            let ReceivedResponse { response: received, values, .. } = head.finish(false).unwrap();
            values_before = values;
            prop_assert_eq!(received.status(), sent.status());
            same(received.headers(), sent.headers())?;
        }
    }

    #[test]
    fn trailers(sent in some_headers()) {
        let mut trailers = Trailers::new(LIMITS);
        Line::new().carry(&Outgoing::trailers(&sent).unwrap(), |field| trailers.field(field));
        same(&trailers.finish().unwrap(), &sent)?;
    }

    /// An accepted head can be sent on.
    #[test]
    fn a_head_that_is_taken_is_one_that_can_be_sent(
        fields in prop::collection::vec(
            (
                prop::sample::select(&[
                    ":method", ":scheme", ":authority", ":path", ":protocol", ":status", "host",
                    "te", "cookie", "content-length", "x", "connection",
                ][..]),
                prop::sample::select(&[
                    "GET", "CONNECT", "OPTIONS", "https", "http", "a", "a:1", "/", "*", "/x?y",
                    "200", "101", "trailers", "7", "", " ", "u@h",
                ][..]),
            ),
            0..8,
        ),
    ) {
        let mut head = RequestHead::new(LIMITS, 20, true);
        super::feed(&[&fields], |field| head.field(field));
        if let Ok(received) = head.finish() {
            let authority = received.request.uri().authority().is_some()
                || received.request.headers().contains_key("host");
            let outgoing = of(&received.request);
            // Without either its scheme has no hosts, which a URI cannot express.
            prop_assert!(outgoing.is_ok() || !authority, "{:?}: {:?}", received, outgoing);
        }
    }
}
