//! The bytes that one end has sent and that have yet to arrive, and the credit in them.

use std::collections::VecDeque;

use h2conn_engine::StreamId;

const PREFACE: usize = 24;

/// A frame that has not arrived completely.
#[derive(Debug)]
struct Item {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Including the frame header.
    len: usize,
    /// The value of WINDOW_UPDATE, or of SETTINGS_INITIAL_WINDOW_SIZE if it is there.
    number: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Wire {
    bytes: VecDeque<u8>,
    items: VecDeque<Item>,
    /// Bytes of the first item, or of the preface, that have arrived.
    arrived: usize,
    preface: usize,
    /// This end's initial window after each of its SETTINGS, and how many of those the peer has
    /// read.
    windows: Vec<i64>,
    read: usize,
    /// Acknowledgements of the peer's SETTINGS that have arrived there.
    acks: usize,
}

impl Wire {
    pub(super) fn new(at: usize) -> Wire {
        Wire {
            bytes: VecDeque::new(),
            items: VecDeque::new(),
            arrived: 0,
            preface: if at == 0 { PREFACE } else { 0 },
            windows: vec![65_535],
            read: 0,
            acks: 0,
        }
    }

    pub(super) fn send(&mut self, head: &[u8; 9], content: &[u8]) {
        self.append(&[head, content].concat());
    }

    /// Appends whole frames, and the preface before the first one.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let mut rest = bytes;
        if self.preface == PREFACE && !rest.is_empty() {
            rest = &rest[PREFACE..];
            self.preface = PREFACE + 1;
        }
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let payload = &after[..len];
            let number =
                |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            let number = match kind {
                8 => Some(number(0)),
                4 => (0..len / 6).find(|at| payload[at * 6 + 1] == 4).map(|at| number(at * 6 + 2)),
                _ => None,
            };
            if kind == 4 && flags == 0 {
                let last = self.windows.last().copied().unwrap_or_default();
                self.windows.push(number.map_or(last, i64::from));
            }
            self.items.push_back(Item { kind, flags, stream, len: 9 + len, number });
            rest = &after[len..];
        }
        assert!(rest.is_empty(), "half a frame is sent");
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next bytes, which arrive now.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.bytes.len());
        let bytes = self.bytes.drain(..len).collect();
        self.arrived += len;
        if self.preface > PREFACE {
            if self.arrived < PREFACE {
                return bytes;
            }
            self.arrived -= PREFACE;
            self.preface = 0;
        }
        while let Some(item) = self.items.front()
            && self.arrived >= item.len
        {
            self.arrived -= item.len;
            match (item.kind, item.flags) {
                (4, 0) => self.read += 1,
                (4, 1) => self.acks += 1,
                _ => {}
            }
            self.items.pop_front();
        }
        bytes
    }

    /// Flow-controlled bytes on their way that the receiver has not counted, on one stream, or on
    /// all streams if it is 0. The receiver counts a frame as soon as its first byte of content is
    /// there.
    pub(super) fn content(&self, stream: u32) -> i64 {
        let begun = usize::from(self.has_begun());
        let data = self.items.iter().skip(begun).filter(|item| item.kind == 0);
        let data = data.filter(|item| stream == 0 || item.stream == stream);
        data.map(|item| item.len as i64 - 9).sum()
    }

    fn has_begun(&self) -> bool {
        self.preface <= PREFACE
            && self.arrived > 9
            && self.items.front().is_some_and(|item| item.kind == 0)
    }

    /// Content that has yet to arrive, of a frame that the receiver has counted.
    pub(super) fn rest_of_begun(&self) -> usize {
        match self.items.front() {
            Some(item) if self.has_begun() => item.len - self.arrived,
            _ => 0,
        }
    }

    /// Credit on its way, for a stream, or for the connection (0).
    pub(super) fn credit(&self, stream: u32) -> i64 {
        let updates = self.items.iter().filter(|item| item.kind == 8 && item.stream == stream);
        updates.filter_map(|item| item.number).map(i64::from).sum()
    }

    /// Whether a reset of the stream is on its way.
    pub(super) fn is_closing(&self, id: StreamId) -> bool {
        self.items.iter().any(|item| item.kind == 3 && item.stream == id.get())
    }

    /// The difference of the streams' windows as this end counts them and as the other end does,
    /// which sends on `other`.
    pub(super) fn window_counted_by(&self, other: &Wire) -> i64 {
        // This end counts a larger value before it is acknowledged, and a smaller one only after
        // that.
        let counted = self.windows[other.acks..].iter().max().copied().unwrap_or_default();
        counted - self.windows[self.read]
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.preface == 0 && self.arrived == 0
    }
}
