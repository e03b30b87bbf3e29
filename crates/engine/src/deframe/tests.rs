//! Bytes in, frames out, for every cut. h2spec's sections are named if they have the same case.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod data_frames;
mod field_blocks;
mod format;
mod other_frames;
mod round_trip;
mod start;

use super::transcript::Transcript;
use crate::frame::{
    Data, Flags, Frame, GoAway, Head, Headers, Kind, PREFACE, continuation, data, go_away, headers,
    ping, priority_update, rst_stream, settings, window_update,
};
use crate::priority::Priority;
use crate::settings::Setting;
use crate::{ConnectionError, Reason, StreamId};

const MAX_FRAME_SIZE: u32 = 1 << 14;
const MAX_BLOCK: usize = 1 << 16;

/// Makes the transcript for a server, which expects a client's preface, or for a client.
fn transcript(server: bool) -> Transcript {
    Transcript::new(server, MAX_FRAME_SIZE, MAX_BLOCK)
}

type Told = (Vec<String>, Option<ConnectionError>);

/// Feeds the bytes whole, byte by byte, and in two pieces cut everywhere (or at 200 places, if they
/// are long). Returns the transcript, which must be the same for all.
fn at_every_cut(server: bool, bytes: &[u8]) -> Told {
    let fed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut transcript = transcript(server);
        pieces.for_each(|piece| transcript.feed(piece));
        assert!(transcript.most_held() <= MAX_FRAME_SIZE as usize + MAX_BLOCK);
        transcript.end()
    };
    let whole = fed(&mut std::iter::once(bytes));
    same(&fed(&mut bytes.chunks(1)), &whole, "byte by byte");
    for at in (0..=bytes.len()).step_by(bytes.len() / 200 + 1) {
        let (first, second) = bytes.split_at(at);
        same(&fed(&mut [first, second].into_iter()), &whole, &format!("cut at {at}"));
    }
    whole
}

fn same(told: &Told, whole: &Told, how: &str) {
    assert_eq!(told.0, whole.0, "{how}");
    let errors = (&told.1, &whole.1);
    let (Some(error), Some(of_whole)) = errors else {
        assert_eq!(errors, (&None, &None), "{how}");
        return;
    };
    assert_eq!((error.reason(), error.what()), (of_whole.reason(), of_whole.what()), "{how}");
    // An error about the first bytes comes at once, whatever follows.
    match (error.first_bytes(), of_whole.first_bytes()) {
        (Some(bytes), Some(of_whole)) => assert!(of_whole.starts_with(bytes), "{how}"),
        (bytes, of_whole) => assert_eq!(bytes, of_whole, "{how}"),
    }
}

fn id(stream: u32) -> StreamId {
    StreamId::new(stream).expect("a stream")
}

/// A frame with any head and payload.
fn raw(kind: Kind, flags: Flags, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Head { len: payload.len() as u32, kind, flags, stream }.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// The beginning of a server's bytes.
fn empty_settings() -> Vec<u8> {
    raw(Kind::SETTINGS, Flags::NONE, 0, &[])
}

/// Feeds a server, after the preface and SETTINGS. Returns the transcript of `bytes`.
fn after_settings(bytes: &[u8]) -> Told {
    let begin = [PREFACE.as_slice(), &empty_settings()].concat();
    let (mut told, error) = at_every_cut(true, &[&begin, bytes].concat());
    assert!(told.len() >= 2, "{told:?} {error:?}");
    told.drain(..2);
    (told, error)
}

/// A server's whole transcript of `bytes`.
#[track_caller]
fn frames(bytes: &[u8]) -> Vec<String> {
    let (told, error) = after_settings(bytes);
    assert_eq!(error, None);
    told
}

/// A server's transcript of `bytes`, without heads.
#[track_caller]
fn payloads(bytes: &[u8]) -> Vec<String> {
    let mut told = frames(bytes);
    told.retain(|told| !told.starts_with("Head("));
    told
}

/// The error with which `bytes` end a server's connection.
#[track_caller]
fn error(bytes: &[u8]) -> ConnectionError {
    let (told, error) = after_settings(bytes);
    error.unwrap_or_else(|| panic!("no error: {told:?}"))
}

#[track_caller]
fn assert_error(bytes: &[u8], reason: Reason, section: &str) {
    let error = error(bytes);
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.what().ends_with(&format!("({section})")), "{error}");
    assert_eq!(error.first_bytes(), None);
}

fn said(frames: &[Frame<'_>]) -> Vec<String> {
    frames.iter().map(|frame| format!("{frame:?}")).collect()
}

fn whole_data(stream: u32, bytes: &[u8], end: bool) -> Frame<'_> {
    let (stream, flow) = (id(stream), bytes.len() as u32);
    Frame::Data(Data { stream, bytes, first: true, last: true, flow, padding: 0, end })
}

fn whole_headers(stream: u32, block: &[u8], end: bool) -> Frame<'_> {
    Frame::Headers(Headers { stream: id(stream), block, end, fault: None })
}
