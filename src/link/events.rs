//! The peer's actions, as HTTP/2 reports them, passed on to the streams that they concern.
//!
//! HTTP/2 cannot be called during a report. So the driver acts on an event when it next examines
//! the stream. An event that concerns the whole link takes effect at once, before any stream's user
//! learns of the peer's other actions.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;

use bytes::BytesMut;
use h2conn_engine::{Reason, Settings, StreamError, StreamId, Visitor};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use slab::Slab;

use super::budget::{Charge, Share};
use super::entry::Entry;
use super::fault::GoAway;
use super::ids::{Ids, Place};
use super::{Shared, fault};
use crate::conn::Kept;
use crate::error::Ending;
use crate::observe::Cause;

/// The number of the peer's last resets that are remembered. It is more than can come between a
/// stream's end and the acknowledgement of the PING after it.
const RESETS: usize = 1024;

/// The bytes of a GOAWAY's text that are kept: every stream that it ends has the text in its error.
const GOAWAY_TEXT: usize = 256;

/// A stream that the peer has opened and that the driver has not examined yet.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) id: StreamId,
    /// `None` if the peer has taken the request back, or if there is no memory for it.
    pub(super) request: Option<Request<()>>,
    /// The memory of its header fields.
    pub(super) charge: Option<Charge>,
    /// The limit that leaves no memory for it.
    pub(super) limit: Option<&'static str>,
    /// The content that has come already.
    pub(super) content: BytesMut,
    /// The trailers, and what they are charged to.
    pub(super) trailers: Option<(HeaderMap, Option<Kept>)>,
    pub(super) end: bool,
}

/// The memory for the header fields of requests.
pub(super) struct Room<'a> {
    pub(super) share: &'a Share,
    /// The bytes that the link may use for them.
    pub(super) link: usize,
}

impl Room<'_> {
    fn charge(&self, request: &Request<()>) -> Result<Charge, &'static str> {
        let bytes = memory_of(request.uri(), request.headers());
        if self.share.requests() + bytes > self.link {
            return Err("max_link_memory");
        }
        if !self.share.takes_more() {
            return Err("max_memory");
        }
        Ok(self.share.charge(bytes))
    }

    /// The memory for trailers. They are no reason to refuse a request that is being served, and
    /// the cap of a head bounds them.
    fn charge_trailers(&self, trailers: &HeaderMap) -> Charge {
        self.share.charge(memory_of_fields(trailers))
    }
}

/// The memory of a field in addition to its name and value: its place in a `HeaderMap`, which has
/// up to twice the necessary places, and the allocator's overhead for two pieces.
/// `tests/it/limits/fields.rs` measures it.
const A_FIELD: usize = 224;

/// The memory of an open stream, whatever is sent on it: its state here and in HTTP/2, and a short
/// text that waits for a window. In a test, 240,000 unread refusals took 4.7 KiB each.
const A_STREAM: usize = 5 << 10;

/// The approximate memory of a request.
pub(super) fn memory_of(uri: &Uri, fields: &HeaderMap) -> usize {
    let target = uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len());
    A_STREAM + target + memory_of_fields(fields)
}

fn memory_of_fields(fields: &HeaderMap) -> usize {
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| A_FIELD + name.as_str().len() + value.len();
    fields.iter().map(field).sum()
}

/// The events that the driver must handle.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) arrivals: Vec<Arrival>,
    /// How many streams arrived when last some did. As many may arrive next.
    pub(super) arrivals_before: usize,
    /// The keys of the streams with new events.
    pub(super) touched: Vec<usize>,
    /// Bytes that have come into inboxes.
    pub(super) held: usize,
    /// Bytes that have come for no stream.
    pub(super) dropped: usize,
    pub(super) pongs: Vec<[u8; 8]>,
    /// The peer's SETTINGS have come.
    pub(super) settings: bool,
    /// The peer has acknowledged SETTINGS.
    pub(super) settings_acknowledged: bool,
    /// The peer's last GOAWAY.
    pub(super) goaway: Option<GoAway>,
    /// The streams that the peer has reset last, and the codes.
    pub(super) resets: VecDeque<(u32, u32)>,
}

impl News {
    fn note_reset(&mut self, id: StreamId, reason: Reason) {
        if self.resets.len() == RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back((id.get(), reason.code()));
    }
}

/// The peer's SETTINGS, in the form for the log.
struct Shown<'a>(&'a Settings);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { max_concurrent_streams, max_header_list_size, .. } = self.0;
        write!(
            f,
            "initial_window_size={}, max_frame_size={}, header_table_size={}, \
             enable_connect_protocol={}",
            self.0.initial_window_size,
            self.0.max_frame_size,
            self.0.header_table_size,
            u8::from(self.0.enable_connect_protocol)
        )?;
        if let Some(most) = max_concurrent_streams {
            write!(f, ", max_concurrent_streams={most}")?;
        }
        if let Some(most) = max_header_list_size {
            write!(f, ", max_header_list_size={most}")?;
        }
        Ok(())
    }
}

/// Receives every event.
pub(super) struct Events<'a> {
    pub(super) shared: &'a Shared,
    pub(super) streams: &'a mut Slab<Entry>,
    pub(super) ids: &'a mut Ids,
    pub(super) news: &'a mut News,
    pub(super) is_client: bool,
    /// A server's memory for header fields.
    pub(super) room: Option<Room<'a>>,
    /// Whether new requests are served, so that their trailers are wanted.
    pub(super) is_served: bool,
}

impl Events<'_> {
    /// The stream with this number. The driver examines it after the whole read.
    fn entry(&mut self, id: StreamId) -> Option<&mut Entry> {
        let Place::Entry(key) = *self.ids.get(&id)? else { return None };
        let entry = self.streams.get_mut(key)?;
        if !std::mem::replace(&mut entry.touched, true) {
            self.news.touched.push(key);
        }
        Some(entry)
    }

    /// The same, for streams that the driver has not examined yet.
    fn arrival(&mut self, id: StreamId) -> Option<&mut Arrival> {
        match self.ids.get(&id)? {
            Place::Arrival(index) => self.news.arrivals.get_mut(*index),
            Place::Entry(_) => None,
        }
    }

    /// Ends a stream because of the peer's action.
    fn cut(&mut self, id: StreamId, ending: &Ending) {
        if let Some(arrival) = self.arrival(id) {
            (arrival.request, arrival.charge, arrival.limit) = (None, None, None);
            let content = std::mem::take(&mut arrival.content);
            self.news.dropped += content.len();
        } else if let Some(entry) = self.entry(id) {
            entry.was_cut_by_the_peer(ending);
        }
    }
}

impl Visitor for Events<'_> {
    fn request(&mut self, id: StreamId, request: Request<()>, end: bool) {
        self.ids.insert(id, Place::Arrival(self.news.arrivals.len()));
        let charged = self.room.as_ref().map(|room| room.charge(&request)).transpose();
        let (request, charge, limit) = match charged {
            Ok(charge) => (Some(request), charge, None),
            Err(limit) => (None, None, Some(limit)),
        };
        let content = BytesMut::new();
        let trailers = None;
        if self.news.arrivals.is_empty() {
            self.news.arrivals.reserve_exact(self.news.arrivals_before);
        }
        self.news.arrivals.push(Arrival { id, request, charge, limit, content, trailers, end });
    }

    fn response(&mut self, id: StreamId, response: Response<()>, end: bool) {
        let Some(entry) = self.entry(id) else { return };
        entry.activity.comes = true;
        if end && entry.stream.is_ordinary() {
            // The end is noted before the user is told, because a response that the user drops before
            // its end resets the request.
            entry.has_received_end();
        }
        entry.was_answered(response);
        if end {
            entry.has_received_end();
        }
    }

    fn data(&mut self, id: StreamId, content: &[u8]) {
        if let Some(entry) = self.entry(id) {
            entry.activity.comes = true;
            self.news.held += entry.keep(content);
        } else if let Some(arrival) = self.arrival(id) {
            arrival.content.extend_from_slice(content);
        } else {
            self.news.dropped += content.len();
        }
    }

    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        // A connection has no use for them.
        let is_wanted = match self.ids.get(&id) {
            Some(Place::Entry(key)) => {
                self.streams.get(*key).is_some_and(|entry| entry.stream.is_ordinary())
            }
            Some(Place::Arrival(_)) => self.is_served,
            None => false,
        };
        if !is_wanted {
            return;
        }
        let charge =
            self.room.as_ref().map(|room| Box::new(room.charge_trailers(&trailers)) as Kept);
        if let Some(arrival) = self.arrival(id) {
            arrival.trailers = Some((trailers, charge));
        } else if let Some(exchange) = self.entry(id).and_then(|entry| entry.stream.exchange()) {
            exchange.set_received(trailers, charge);
        }
    }

    fn end(&mut self, id: StreamId) {
        if let Some(entry) = self.entry(id) {
            entry.has_received_end();
        } else if let Some(arrival) = self.arrival(id) {
            arrival.end = true;
        }
    }

    fn reset(&mut self, id: StreamId, reason: Reason) {
        self.news.note_reset(id, reason);
        self.cut(id, &Ending::Reset(reason));
    }

    fn late_reset(&mut self, id: StreamId, reason: Reason) {
        self.news.note_reset(id, reason);
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        self.cut(id, &Ending::Violation(error.reason(), error.what().into()));
    }

    fn not_processed(&mut self, id: StreamId) {
        let awaits_answer = self.entry(id).is_some_and(|entry| entry.awaits_answer());
        let ending = match &self.news.goaway {
            Some(goaway) if awaits_answer => fault::not_processed(goaway),
            // The peer has answered a stream that its GOAWAY claims not to have seen.
            Some(goaway) => Ending::GoAway(goaway.reason, goaway.text.as_str().into()),
            None => Ending::Gone(None),
        };
        self.cut(id, &ending);
    }

    fn settings(&mut self, settings: &Settings) {
        self.news.settings = true;
        self.shared.set_established();
        self.shared.info.observed.peer_settings(&Shown(settings));
        if self.is_client {
            self.shared.offers_connect.store(settings.enable_connect_protocol, SeqCst);
            let limit = settings.max_concurrent_streams.unwrap_or(u32::MAX);
            self.shared.places.set_limit(limit as usize);
        }
    }

    fn settings_acknowledged(&mut self) {
        self.news.settings_acknowledged = true;
    }

    fn pong(&mut self, payload: [u8; 8]) {
        self.news.pongs.push(payload);
    }

    fn go_away(&mut self, _: Option<StreamId>, reason: Reason, debug: &[u8]) {
        let text = String::from_utf8_lossy(&debug[..debug.len().min(GOAWAY_TEXT)]).into_owned();
        self.news.goaway = Some(GoAway { reason, text });
        self.shared.info.observed.retired(Cause::GoAway);
        match reason {
            Reason::NO_ERROR => self.shared.set_draining(),
            // A failure: the end of the streams tells of it.
            _ => self.shared.set_going_away(),
        }
    }
}
