//! One end of a connection: its input, its output, and the state in between.
//!
//! ```text
//! bytes ─► receive ─► deframer ─► limits ─► {data, heads, control} ─► Visitor
//! calls ─► {open, send, credit, control} ─► output ─► transmit ─► bytes
//! ```

mod control;
mod credit;
mod data;
mod end;
mod heads;
mod open;
mod receive;
mod send;
mod settings;
mod transmit;

use crate::deframe::Deframer;
use crate::frame;
use crate::hpack::{Decoder, Encoder};
use crate::limits::Limits;
use crate::schedule::Schedule;
use crate::stream::{SendHalf, Stream};
use crate::streams::Streams;
use crate::window::{self, Due, RecvWindow, SendWindow};
use crate::{Config, ConnectionError, Settings, StreamId};

pub use send::DataHead;
pub use transmit::Output;

/// One end of an HTTP/2 connection.
///
/// There are four kinds of calls:
///
/// - [`receive`](Connection::receive) takes the peer's bytes and reports their meaning to a
///   [`Visitor`](crate::Visitor).
/// - Calls like [`open`](Connection::open), [`send_data`](Connection::send_data) and
///   [`reset`](Connection::reset) act on streams.
/// - [`transmit`](Connection::transmit) takes the output of these calls and the answers that HTTP/2
///   requires. [`output`](Connection::output) says whether there is any.
/// - [`tick`](Connection::tick) checks the time.
///
/// All other calls only read the state.
///
/// The peer must get the bytes in the order in which they were handed out: those of `transmit`, and
/// the DATA frames, whose heads `send_data` gives and whose content the caller has. The engine
/// never keeps content, in either direction.
///
/// Dropping a connection sends nothing.
#[derive(Debug)]
pub struct Connection {
    deframer: Deframer,
    inner: Inner,
}

/// Everything except the deframer. The frames that the other fields act on are borrowed from its
/// buffer.
#[derive(Debug)]
struct Inner {
    is_server: bool,
    config: Config,
    ours: settings::Ours,
    /// The peer's SETTINGS, and whether they have come.
    theirs: Settings,
    has_settings: bool,
    decoder: Decoder,
    /// The bytes of values in the peer's last head. Its next head probably has as many.
    values_before: usize,
    encoder: Encoder,
    streams: Streams,
    schedule: Schedule,
    limits: Limits,
    /// The connection's own windows.
    send_window: SendWindow,
    recv_window: RecvWindow,
    /// The window of a stream that opens now, as the peer may count it.
    stream_window: u32,
    /// The stream that gets the rest of the DATA frame that has begun. 0 if no stream does.
    data_for: u32,
    output: transmit::Buffer,
    updates: credit::Updates,
    /// The identifier of a client's next stream.
    next_id: u32,
    /// PINGs of this side that are not yet answered.
    pings: u64,
    /// The last stream that each GOAWAY has named: the peer's GOAWAY for our streams, and ours for
    /// the peer's streams.
    their_last: Option<u32>,
    our_last: Option<u32>,
    /// Urgencies of streams that are not yet open (RFC 9218 §7.1).
    early_urgencies: Vec<(u32, u8)>,
    failed: Option<ConnectionError>,
}

impl Connection {
    /// Makes the client's end. Its preface and SETTINGS are output at once.
    pub fn client(config: &Config) -> Connection {
        Connection::new(config, false)
    }

    /// Makes the server's end. Its SETTINGS are output at once.
    pub fn server(config: &Config) -> Connection {
        Connection::new(config, true)
    }

    fn new(config: &Config, is_server: bool) -> Connection {
        let config = config.in_range();
        // A block takes about as many bytes as its fields, or fewer. Padding and priority come in
        // addition.
        let max_block = (config.max_header_list_size as usize).saturating_mul(2).max(64 << 10);
        let mut inner = Inner {
            is_server,
            ours: settings::Ours::new(&config, is_server),
            theirs: Settings::default(),
            has_settings: false,
            decoder: Decoder::new(config.header_table_size),
            values_before: 0,
            encoder: Encoder::new(),
            streams: Streams::new(),
            schedule: Schedule::new(),
            limits: Limits::new(),
            send_window: SendWindow::new(window::DEFAULT),
            recv_window: RecvWindow::new(window::DEFAULT),
            stream_window: window::DEFAULT,
            data_for: 0,
            output: transmit::Buffer::default(),
            updates: credit::Updates::default(),
            next_id: 1,
            pings: 0,
            their_last: None,
            our_last: None,
            early_urgencies: Vec::new(),
            failed: None,
            config,
        };
        inner.encoder.set_limit(inner.config.encoder_table_size.min(4_096));
        if !is_server {
            inner.output.bytes.extend_from_slice(frame::PREFACE);
        }
        inner.send_settings();
        inner.recv_window.set_target(inner.config.connection_window);
        if let Some(credit) = inner.recv_window.update() {
            frame::window_update::write(None, credit, &mut inner.output.bytes);
        }
        let deframer = Deframer::new(is_server, inner.config.max_frame_size, max_block);
        Connection { deframer, inner }
    }

    /// The peer's SETTINGS. Before they come, these are the initial values of RFC 9113 §6.5.2.
    #[inline]
    pub fn peer_settings(&self) -> &Settings {
        &self.inner.theirs
    }

    /// Whether the peer's first SETTINGS have come, which shows that it speaks HTTP/2.
    #[inline]
    pub fn has_peer_settings(&self) -> bool {
        self.inner.has_settings
    }

    /// Whether the peer has acknowledged all SETTINGS of this side.
    #[inline]
    pub fn are_settings_acknowledged(&self) -> bool {
        self.inner.ours.are_acknowledged()
    }

    /// The streams that are open or half-closed.
    #[inline]
    pub fn open_streams(&self) -> usize {
        self.inner.streams.open()
    }

    /// Whether no stream is open, and nothing waits for [`Connection::transmit`].
    pub fn is_idle(&self) -> bool {
        self.inner.streams.open() == 0 && self.output() == Output::Nothing
    }

    /// Whether one of the ends has sent GOAWAY.
    pub fn is_going_away(&self) -> bool {
        self.inner.their_last.is_some() || self.inner.our_last.is_some()
    }

    /// The highest stream that the peer, a client, has opened.
    pub fn last_peer_stream(&self) -> Option<StreamId> {
        if !self.inner.is_server {
            return None;
        }
        StreamId::new(self.inner.streams.highest())
    }

    /// The streams that a client can still open before its identifiers are used up
    /// (RFC 9113 §5.1.1).
    pub fn remaining_ids(&self) -> u32 {
        ((1_u32 << 31) - self.inner.next_id.min(1 << 31)).div_ceil(2)
    }

    /// Whether the received bytes end between two frames.
    pub fn is_between_frames(&self) -> bool {
        self.deframer.is_between_frames()
    }

    /// The error of a failed connection.
    pub fn error(&self) -> Option<&ConnectionError> {
        self.inner.failed.as_ref()
    }

    /// Bytes of the peer that are kept here. They are parts of one frame or field block.
    pub fn held(&self) -> usize {
        self.deframer.held()
    }
}

impl Inner {
    /// The slot of a stream that the caller may act on.
    #[inline]
    fn slot(&mut self, id: StreamId) -> Option<u32> {
        match self.failed {
            Some(_) => None,
            None => self.streams.slot(id.get()),
        }
    }

    /// Adds a new stream.
    fn enter(&mut self, stream: Stream, urgency: u8) -> u32 {
        debug_assert!(stream.send != SendHalf::Ended || !stream.is_over());
        let slot = self.streams.insert(stream);
        self.schedule.enter(slot, urgency);
        self.limits.opened();
        slot
    }

    /// Whether the connection's credit is worth a WINDOW_UPDATE.
    #[inline]
    fn connection_due(&self) -> Due {
        self.recv_window.due_of_the_rest()
    }
}
