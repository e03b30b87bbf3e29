//! The crate `h2`, which has an HPACK of its own. It runs over a connection in memory; the test
//! writes and reads the frames.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2_crate::{client, server};
use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Indexing};
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use proptest::{collection, sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime;
use tokio::time::timeout;

use crate::lists::{Item, cases};
use crate::peer::{decoded, encoded, failed};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A case that takes longer hangs.
const CASE: Duration = Duration::from_secs(20);
/// More than all frames of a case.
const ROOM: usize = 1 << 22;
const LARGEST_PAYLOAD: usize = 16_384;

const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    async fn read(from: &mut DuplexStream) -> Result<Frame> {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).await?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    async fn write(&self, to: &mut DuplexStream) -> Result<()> {
        let [_, a, b, c] = u32::try_from(self.payload.len())?.to_be_bytes();
        to.write_all(&[a, b, c, self.kind, self.flags]).await?;
        to.write_all(&self.stream.to_be_bytes()).await?;
        Ok(to.write_all(&self.payload).await?)
    }
}

/// SETTINGS_HEADER_TABLE_SIZE.
fn table_size(size: u32) -> Frame {
    let payload = [&[0, 1], &size.to_be_bytes()[..]].concat();
    Frame { kind: SETTINGS, flags: 0, stream: 0, payload }
}

fn acknowledgement() -> Frame {
    Frame { kind: SETTINGS, flags: ACK, stream: 0, payload: Vec::new() }
}

/// Requests as lists of fields. A new size of the table is announced before some of them.
fn requests() -> impl Strategy<Value = Vec<(Option<u32>, Vec<Item>)>> {
    let size = prop_oneof![Just(0), 0..200_u32, 0..5000_u32, 5000..70_000_u32];
    collection::vec((prop_oneof![2 => Just(None), 1 => size.prop_map(Some)], request()), 1..12)
}

fn request() -> impl Strategy<Value = Vec<Item>> {
    let known = ["accept", "authorization", "cookie", "user-agent", "x-a", "x-request-id"];
    let name = prop_oneof![
        3 => sample::select(known.to_vec()).prop_map(String::from),
        1 => "x-[a-z0-9-]{1,30}",
    ];
    let values = ["", "*/*", "a value that comes more than once"];
    let value = prop_oneof![
        2 => sample::select(values.to_vec()).prop_map(Vec::from),
        2 => "[ -~]{0,60}".prop_map(String::into_bytes),
        1 => collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..700),
    ];
    let how = sample::select(vec![Indexing::Index, Indexing::Index, Indexing::Never]);
    let field = (name, value, how).prop_map(|(name, value, how)| (name.into_bytes(), value, how));
    let method = sample::select(vec!["GET", "POST", "PUT"]);
    (method, "/[a-z/]{0,20}", collection::vec(field, 0..10)).prop_map(|(method, path, fields)| {
        let text = |name: &str, value: &str| (name.into(), value.into(), Indexing::Index);
        let mut list: Vec<Item> = vec![
            text(":method", method),
            text(":scheme", "https"),
            text(":authority", "www.example.com"),
            text(":path", &path),
        ];
        list.extend(fields);
        list
    })
}

/// Names and values, in an order that does not depend on a map of fields.
fn sorted(list: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list: Vec<_> = list.into_iter().collect();
    // The sort is stable: values of one name keep their order.
    list.sort_by(|one, other| one.0.cmp(&other.0));
    list
}

fn sent(list: &[Item]) -> Vec<(Vec<u8>, Vec<u8>)> {
    sorted(list.iter().map(|(name, value, _)| (name.clone(), value.clone())))
}

fn received<T>(request: &Request<T>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let uri = request.uri();
    let pseudo = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", uri.path()),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.into(), value.into()));
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()));
    sorted(pseudo.into_iter().chain(fields))
}

fn build(list: &[Item]) -> Result<Request<()>> {
    let (pseudo, fields) = list.split_at(4);
    let text = |at: usize| std::str::from_utf8(&pseudo[at].1);
    let uri = format!("{}://{}{}", text(1)?, text(2)?, text(3)?);
    let mut request = Request::builder().method(text(0)?).uri(uri).body(())?;
    for (name, value, how) in fields {
        let mut value = HeaderValue::from_bytes(value)?;
        value.set_sensitive(*how == Indexing::Never);
        request.headers_mut().append(HeaderName::from_bytes(name)?, value);
    }
    Ok(request)
}

fn run(case: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(CASE, case).await.context("it hangs")? })
}

/// A server of h2 announces a size of its table, and we are its client.
async fn to_a_server(requests: Vec<(Option<u32>, Vec<Item>)>) -> Result<()> {
    let (mut near, far) = duplex(ROOM);
    let size = requests.iter().find_map(|(size, _)| *size).unwrap_or(4096);
    let lists: Vec<Vec<Item>> = requests.into_iter().map(|(_, list)| list).collect();
    near.write_all(PREFACE).await?;
    Frame { kind: SETTINGS, flags: 0, stream: 0, payload: Vec::new() }.write(&mut near).await?;
    let mut builder = server::Builder::new();
    builder.header_table_size(size).max_header_list_size(1 << 24);
    let mut server = builder.handshake::<_, Bytes>(far).await?;
    let writing = async {
        while Frame::read(&mut near).await?.kind != SETTINGS {}
        acknowledgement().write(&mut near).await?;
        let mut encoder = Encoder::new();
        encoder.set_limit(size);
        for (stream, list) in (1..).step_by(2).zip(&lists) {
            let block = encoded(&mut encoder, list);
            let (mut kind, mut flags, mut rest) = (HEADERS, END_STREAM, block.as_slice());
            loop {
                let (part, behind) = rest.split_at(rest.len().min(LARGEST_PAYLOAD));
                rest = behind;
                flags |= if rest.is_empty() { END_HEADERS } else { 0 };
                Frame { kind, flags, stream, payload: part.to_vec() }.write(&mut near).await?;
                if rest.is_empty() {
                    break;
                }
                (kind, flags) = (CONTINUATION, 0);
            }
        }
        anyhow::Ok(near)
    };
    let reading = async {
        for list in &lists {
            let (request, _respond) = server.accept().await.context("an end")??;
            ensure!(received(&request) == sent(list), "{request:?}");
        }
        Ok(())
    };
    tokio::try_join!(writing, reading)?;
    Ok(())
}

/// A client of h2. We announce other sizes of the table between its requests.
async fn from_a_client(requests: Vec<(Option<u32>, Vec<Item>)>) -> Result<()> {
    let (mut near, far) = duplex(ROOM);
    Frame { kind: SETTINGS, flags: 0, stream: 0, payload: Vec::new() }.write(&mut near).await?;
    let (client, connection) = client::handshake(far).await?;
    tokio::spawn(connection);
    near.read_exact(&mut [0; PREFACE.len()]).await?;
    let mut client = client.ready().await?;
    let mut decoder = Decoder::new(4096);
    for (size, list) in requests {
        if let Some(size) = size {
            table_size(size).write(&mut near).await?;
            // The first SETTINGS are acknowledged too, and change nothing.
            let mut acknowledged = Frame::read(&mut near).await?;
            while acknowledged.kind != SETTINGS || acknowledged.flags != ACK {
                acknowledged = Frame::read(&mut near).await?;
            }
            decoder.set_limit(size);
        }
        let (_response, _) = client.send_request(build(&list)?, true)?;
        let mut block = Vec::new();
        loop {
            let frame = Frame::read(&mut near).await?;
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                block.extend(frame.payload);
                if frame.flags & END_HEADERS != 0 {
                    break;
                }
            }
        }
        let fields = decoded(&mut decoder, &block)?;
        // Like Python's encoder, h2's encoder refers to entries even for secrets.
        let secret = |how| how == Indexing::Never;
        for field in fields.iter().filter(|field| field.2) {
            let is_it = |item: &Item| item.0 == field.0 && item.1 == field.1 && secret(item.2);
            ensure!(list.iter().any(is_it), "{field:?}");
        }
        let fields = sorted(fields.into_iter().map(|(name, value, _)| (name, value)));
        ensure!(fields == sent(&list), "{fields:?}");
    }
    Ok(())
}

#[test]
fn h2_decodes_our_blocks() -> Result<()> {
    TestRunner::new(cases(50))
        .run(&requests(), |requests| run(to_a_server(requests)).map_err(failed))?;
    Ok(())
}

#[test]
fn we_decode_h2s_blocks() -> Result<()> {
    TestRunner::new(cases(50))
        .run(&requests(), |requests| run(from_a_client(requests)).map_err(failed))?;
    Ok(())
}
