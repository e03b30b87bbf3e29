//! Compares heads with those of the `h2` crate. Each crate reads the other's heads, and both
//! interpret them in the same way.

use h2_crate::ext::Protocol as ProtocolOfH2;
use h2_crate::{client, server};
use http::{HeaderMap, Method, Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

use super::round_trip::{some_headers, some_request};
use super::{LIMITS, of};
use crate::deframe::Deframer;
use crate::frame::{Frame, PREFACE, headers, settings};
use crate::head::{Outgoing, RequestHead, ResponseHead};
use crate::hpack::{Decoder, Encoder};
use crate::settings::Setting;
use crate::{Protocol, StreamId};

const MAX_FRAME_SIZE: u32 = 1 << 14;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Our HEADERS on the first stream, with END_STREAM.
fn written(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    headers::write(StreamId::FIRST, true, MAX_FRAME_SIZE, &mut bytes, |into| {
        outgoing.write(&mut Encoder::new(), into);
    });
    bytes
}

fn settings_of(entries: &[Setting]) -> Vec<u8> {
    let mut bytes = Vec::new();
    settings::write(entries.iter().copied(), &mut bytes);
    bytes
}

/// Reads until a field block is there.
async fn block(transport: &mut DuplexStream, server: bool) -> Vec<u8> {
    let mut deframer = Deframer::new(server, MAX_FRAME_SIZE, 1 << 16);
    let mut bytes = vec![0; 4096];
    loop {
        let len = transport.read(&mut bytes).await.unwrap();
        assert!(len > 0, "the end of the bytes came before a head");
        let mut input = &bytes[..len];
        while let Some(frame) = deframer.next(&mut input).unwrap() {
            if let Frame::Headers(headers) = frame {
                return headers.block.to_vec();
            }
        }
    }
}

fn ours(block: &[u8]) -> Request<()> {
    let mut head = RequestHead::new(LIMITS, 20, true);
    Decoder::new(4096).decode(block, &mut |field| head.field(field)).unwrap();
    head.finish().unwrap().request
}

/// The block that h2's client writes for a request.
async fn written_by_h2(request: &Request<()>) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&settings_of(&[Setting::EnableConnectProtocol(true)])).await.unwrap();
    let (mut send, connection) = client::handshake(near).await.unwrap();
    let connection = tokio::spawn(connection);
    while request.method() == Method::CONNECT && !send.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut request = request.clone();
    if let Some(protocol) = request.extensions_mut().remove::<Protocol>() {
        request.extensions_mut().insert(ProtocolOfH2::from(protocol.as_str()));
    }
    let _response = send.send_request(request, true).unwrap();
    let block = block(&mut far, true).await;
    connection.abort();
    block
}

/// The request that h2's server makes from ours.
async fn read_by_h2(request: &Request<()>) -> Request<()> {
    let (near, mut far) = duplex(1 << 16);
    let head = written(&of(request).unwrap());
    far.write_all(&[PREFACE.as_slice(), &settings_of(&[]), &head].concat()).await.unwrap();
    let mut builder = server::Builder::new();
    let mut connection =
        builder.enable_connect_protocol().handshake::<_, &[u8]>(near).await.unwrap();
    let (request, _respond) = connection.accept().await.unwrap().unwrap();
    let mut request = request.map(drop);
    if let Some(protocol) = request.extensions_mut().remove::<ProtocolOfH2>() {
        request.extensions_mut().insert(Protocol::new(protocol.as_str()).unwrap());
    }
    request
}

fn assert_same(one: &Request<()>, other: &Request<()>) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.method(), other.method());
    prop_assert_eq!(one.uri(), other.uri());
    prop_assert_eq!(one.version(), other.version());
    prop_assert_eq!(one.headers(), other.headers());
    let protocol = |request: &Request<()>| request.extensions().get::<Protocol>().cloned();
    prop_assert_eq!(protocol(one), protocol(other));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_are_what_h2_makes_them(sent in some_request()) {
        let mut block = Vec::new();
        of(&sent).unwrap().write(&mut Encoder::new(), &mut block);
        let expected = ours(&block);
        runtime().block_on(async {
            assert_same(&read_by_h2(&sent).await, &expected)?;
            assert_same(&ours(&written_by_h2(&sent).await), &expected)
        })?;
    }

    #[test]
    fn responses_are_what_h2_makes_them(status in 200..600_u16, headers in some_headers()) {
        let (response, by_h2) = runtime().block_on(exchange(status, headers.clone()));
        for received in [response, by_h2] {
            prop_assert_eq!(received.status().as_u16(), status);
            prop_assert_eq!(received.headers(), &headers);
        }
    }
}

/// A response from h2 as it is read here, and one of ours as h2 reads it.
async fn exchange(status: u16, headers: HeaderMap) -> (Response<()>, Response<()>) {
    let mut sent = Response::builder().status(status).body(()).unwrap();
    *sent.headers_mut() = headers;
    let request = Request::get("https://example.com/").body(()).unwrap();

    let (near, mut far) = duplex(1 << 16);
    let head = written(&of(&request).unwrap());
    far.write_all(&[PREFACE.as_slice(), &settings_of(&[]), &head].concat()).await.unwrap();
    let mut connection = server::handshake(near).await.unwrap();
    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
    respond.send_response(sent.clone(), true).unwrap();
    let connection = tokio::spawn(async move { connection.accept().await.is_some() });
    let block = block(&mut far, false).await;
    connection.abort();
    let mut head = ResponseHead::new(LIMITS, 20);
    Decoder::new(4096).decode(&block, &mut |field| head.field(field)).unwrap();
    let received = head.finish(true).unwrap().response;

    let (near, mut far) = duplex(1 << 16);
    far.write_all(&settings_of(&[])).await.unwrap();
    let (mut send, connection) = client::handshake(near).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, _) = send.send_request(request, true).unwrap();
    self::block(&mut far, true).await;
    far.write_all(&written(&Outgoing::response(&sent).unwrap())).await.unwrap();
    let by_h2 = response.await.unwrap().map(drop);
    connection.abort();
    (received, by_h2)
}

/// Special forms of a target, for which a URI has its own forms.
#[test]
fn targets_are_what_h2_makes_them() {
    let mut star = Request::options("/").body(()).unwrap();
    *star.uri_mut() = http::Uri::builder()
        .scheme("https")
        .authority("example.com")
        .path_and_query("*")
        .build()
        .unwrap();
    let requests = [
        Request::connect("example.com:443").body(()).unwrap(),
        Request::get("http://example.com").body(()).unwrap(),
        Request::options("http://example.com").body(()).unwrap(),
        star,
    ];
    for sent in requests {
        let mut block = Vec::new();
        of(&sent).unwrap().write(&mut Encoder::new(), &mut block);
        let expected = ours(&block);
        runtime().block_on(async {
            assert_same(&read_by_h2(&sent).await, &expected).unwrap();
            if sent.method() != Method::CONNECT {
                assert_same(&ours(&written_by_h2(&sent).await), &expected).unwrap();
            }
        });
    }
}
