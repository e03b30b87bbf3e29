//! A record of all frames in some bytes. It must not depend on how the bytes were cut.

use super::Deframer;
use crate::ConnectionError;
use crate::frame::{Data, Frame};

/// Feeds a deframer and records its frames, for tests and fuzzers.
#[derive(Debug)]
pub struct Transcript {
    deframer: Deframer,
    told: Vec<String>,
    /// The unfinished DATA frame.
    data: Option<Joined>,
    error: Option<ConnectionError>,
    most_held: usize,
}

/// The pieces of a DATA frame.
#[derive(Debug)]
struct Joined {
    frame: Data<'static>,
    bytes: Vec<u8>,
}

impl Transcript {
    /// Makes a transcript with the limits of a deframer. It expects a client's bytes if `server`,
    /// and otherwise a server's.
    pub fn new(server: bool, max_frame_size: u32, max_block: usize) -> Transcript {
        Transcript {
            deframer: Deframer::new(server, max_frame_size, max_block),
            told: Vec::new(),
            data: None,
            error: None,
            most_held: 0,
        }
    }

    /// The next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.error.is_none() {
            match self.deframer.next(&mut bytes) {
                Ok(Some(Frame::Data(piece))) => add(&mut self.told, &mut self.data, piece),
                Ok(Some(frame)) => self.told.push(format!("{frame:?}")),
                Ok(None) => {
                    assert!(bytes.is_empty(), "{} bytes were left", bytes.len());
                    break;
                }
                Err(error) => self.error = Some(error),
            }
            self.most_held = self.most_held.max(self.deframer.held());
        }
        self.most_held = self.most_held.max(self.deframer.held());
    }

    /// The most bytes that the deframer has held.
    pub fn most_held(&self) -> usize {
        self.most_held
    }

    /// The number of bytes that the deframer holds now.
    pub fn held(&self) -> usize {
        self.deframer.held()
    }

    /// Whether no frame is half-received.
    pub fn is_between_frames(&self) -> bool {
        self.deframer.is_between_frames()
    }

    /// The whole record, and the error that ended it. An unfinished DATA frame comes last.
    pub fn end(mut self) -> (Vec<String>, Option<ConnectionError>) {
        if let Some(data) = self.data.take() {
            self.told.push(data.to_text(false));
        }
        (self.told, self.error)
    }
}

fn add(told: &mut Vec<String>, data: &mut Option<Joined>, piece: Data<'_>) {
    assert_eq!(piece.first, data.is_none(), "{piece:?} after {data:?}");
    let joined = data
        .get_or_insert_with(|| Joined { frame: Data { bytes: &[], ..piece }, bytes: Vec::new() });
    let Data { stream, flow, padding, end, .. } = joined.frame;
    let same = Data { stream, flow, padding, end, ..piece };
    assert_eq!(same, piece, "the pieces of a frame differ");
    joined.bytes.extend_from_slice(piece.bytes);
    if piece.last {
        told.push(joined.to_text(true));
        *data = None;
    }
}

impl Joined {
    fn to_text(&self, last: bool) -> String {
        format!("{:?}", Frame::Data(Data { bytes: &self.bytes, first: true, last, ..self.frame }))
    }
}
