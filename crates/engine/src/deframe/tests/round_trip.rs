//! Any frames, in any pieces.

use proptest::prelude::*;

use super::*;

/// A frame that is sent, and its text in the transcript.
#[derive(Clone, Debug)]
enum Sent {
    Data { stream: StreamId, bytes: Vec<u8>, padding: Option<u8>, end: bool },
    Headers { stream: StreamId, block: Vec<u8>, frame_size: u32, end: bool },
    Reset { stream: StreamId, code: u32 },
    Settings(Vec<Setting>),
    SettingsAck,
    Ping { payload: [u8; 8], ack: bool },
    GoAway { last: u32, code: u32, debug: Vec<u8> },
    WindowUpdate { stream: Option<StreamId>, increment: u32 },
    PriorityUpdate { stream: StreamId, priority: Priority },
    Unknown { kind: u8, flags: u8, stream: u32, payload: Vec<u8> },
}

impl Sent {
    fn write(&self, into: &mut Vec<u8>) {
        match self.clone() {
            Sent::Data { stream, bytes, padding: None, end } => {
                data::head(stream, bytes.len() as u32, end).write(into);
                into.extend(bytes);
            }
            Sent::Data { stream, bytes, padding: Some(padding), end } => {
                let padded = [&[padding], &bytes[..], &vec![0; padding.into()]].concat();
                let flags = Flags::PADDED.with(Flags::only_if(Flags::END_STREAM, end));
                into.extend(raw(Kind::DATA, flags, stream.get(), &padded));
            }
            Sent::Headers { stream, block, frame_size, end } => {
                headers::write(stream, end, frame_size, into, |into| into.extend(block));
            }
            Sent::Reset { stream, code } => {
                rst_stream::write(stream, Reason::from_code(code), into);
            }
            Sent::Settings(entries) => settings::write(entries, into),
            Sent::SettingsAck => settings::write_ack(into),
            Sent::Ping { payload, ack } => ping::write(payload, ack, into),
            Sent::GoAway { last, code, debug } => {
                go_away::write(last, Reason::from_code(code), &debug, into);
            }
            Sent::WindowUpdate { stream, increment } => {
                window_update::write(stream, increment, into);
            }
            Sent::PriorityUpdate { stream, priority } => {
                priority_update::write(stream, priority, into);
            }
            Sent::Unknown { kind, flags, stream, payload } => {
                into.extend(raw(Kind(kind), Flags(flags), stream, &payload));
            }
        }
    }

    /// The text in the transcript, without heads.
    fn said(&self) -> Option<String> {
        let frame = match self {
            Sent::Data { stream, bytes, padding, end } => Frame::Data(Data {
                stream: *stream,
                bytes,
                first: true,
                last: true,
                flow: bytes.len() as u32 + padding.map_or(0, |padding| 1 + u32::from(padding)),
                padding: padding.map_or(0, |padding| 1 + u32::from(padding)),
                end: *end,
            }),
            Sent::Headers { stream, block, end, .. } => whole_headers(stream.get(), block, *end),
            Sent::Reset { stream, code } => {
                Frame::Reset { stream: *stream, reason: Reason::from_code(*code) }
            }
            // `settings.rs` tests the content.
            Sent::Settings(_) => return None,
            Sent::SettingsAck => Frame::SettingsAck,
            Sent::Ping { payload, ack: true } => Frame::Pong(*payload),
            Sent::Ping { payload, ack: false } => Frame::Ping(*payload),
            Sent::GoAway { last, code, debug } => {
                Frame::GoAway(GoAway { last: *last, reason: Reason::from_code(*code), debug })
            }
            Sent::WindowUpdate { stream, increment } => {
                Frame::WindowUpdate { stream: *stream, increment: *increment }
            }
            Sent::PriorityUpdate { stream, priority } => {
                Frame::PriorityUpdate { stream: *stream, priority: *priority }
            }
            Sent::Unknown { .. } => return None,
        };
        Some(format!("{frame:?}"))
    }
}

fn a_stream() -> impl Strategy<Value = StreamId> {
    (1..=0x7fff_ffff_u32).prop_map(id)
}

fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

fn a_frame() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (a_stream(), some_bytes(), any::<Option<u8>>(), any::<bool>())
            .prop_map(|(stream, bytes, padding, end)| Sent::Data { stream, bytes, padding, end }),
        (a_stream(), some_bytes(), 64..500_u32, any::<bool>()).prop_map(
            |(stream, block, frame_size, end)| Sent::Headers { stream, block, frame_size, end }
        ),
        (a_stream(), any::<u32>()).prop_map(|(stream, code)| Sent::Reset { stream, code }),
        prop::collection::vec(any::<u32>().prop_map(Setting::HeaderTableSize), 0..5)
            .prop_map(Sent::Settings),
        Just(Sent::SettingsAck),
        any::<([u8; 8], bool)>().prop_map(|(payload, ack)| Sent::Ping { payload, ack }),
        (0..=0x7fff_ffff_u32, any::<u32>(), some_bytes())
            .prop_map(|(last, code, debug)| Sent::GoAway { last, code, debug }),
        (prop::option::of(a_stream()), 1..=0x7fff_ffff_u32)
            .prop_map(|(stream, increment)| Sent::WindowUpdate { stream, increment }),
        (a_stream(), 0..8_u8, any::<bool>()).prop_map(|(stream, urgency, incremental)| {
            let priority = Priority::new(urgency).incremental(incremental);
            Sent::PriorityUpdate { stream, priority }
        }),
        (0x11..=255_u8, any::<u8>(), 0..=0x7fff_ffff_u32, some_bytes()).prop_map(
            |(kind, flags, stream, payload)| Sent::Unknown { kind, flags, stream, payload }
        ),
    ]
}

/// The bytes in pieces of these lengths, in turn.
fn feed(transcript: &mut Transcript, mut bytes: &[u8], pieces: &[usize]) {
    for &len in pieces.iter().cycle() {
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        transcript.feed(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written(
        sent in prop::collection::vec(a_frame(), 0..20),
        pieces in prop::collection::vec(1..600_usize, 1..8),
    ) {
        let mut bytes = [PREFACE.as_slice(), &empty_settings()].concat();
        sent.iter().for_each(|frame| frame.write(&mut bytes));
        let mut transcript = transcript(true);
        feed(&mut transcript, &bytes, &pieces);
        prop_assert!(transcript.is_between_frames());
        let (mut told, error) = transcript.end();
        prop_assert_eq!(error, None);
        told.retain(|told| !told.starts_with("Head(") && !told.starts_with("Settings("));
        prop_assert_eq!(told, sent.iter().filter_map(Sent::said).collect::<Vec<_>>());
    }

    #[test]
    fn anything_is_read_the_same_however_it_is_cut(
        server in any::<bool>(),
        heads in prop::collection::vec((0..20_u32, 0..18_u8, any::<u8>(), 0..4_u32), 0..12),
        noise in some_bytes(),
        pieces in prop::collection::vec(1..40_usize, 1..8),
    ) {
        let mut bytes = if server { PREFACE.to_vec() } else { vec![] };
        bytes.extend(empty_settings());
        for (len, kind, flags, stream) in heads {
            let payload: Vec<u8> = noise.iter().copied().cycle().take(len as usize).collect();
            bytes.extend(raw(Kind(kind), Flags(flags & 0x2d), stream, &payload));
        }
        bytes.extend(&noise);
        let mut whole = transcript(server);
        whole.feed(&bytes);
        let mut cut = transcript(server);
        feed(&mut cut, &bytes, &pieces);
        same(&cut.end(), &whole.end(), "cut");
    }
}

#[test]
fn a_continuation_is_written_only_where_it_is_needed() {
    let mut bytes = vec![];
    continuation::write(id(1), 4, b"", &mut bytes);
    assert_eq!(bytes, [0; 0]);
}
