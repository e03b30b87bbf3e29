//! The user of one end: how much it has written and read on each stream.

use std::collections::BTreeMap;

use h2conn_engine::{Reason, StreamError, StreamId, Visitor};
use http::{HeaderMap, Request, Response};

/// One stream, as its user knows it.
#[derive(Debug, Default)]
struct Flow {
    /// The head was sent, so content may follow.
    open: bool,
    queued: usize,
    finish: bool,
    trailers: bool,
    /// This side has ended.
    ended: bool,
    sent: usize,
    received: usize,
    unreleased: usize,
    has_head: bool,
    /// The other side has ended.
    heard_end: bool,
    /// Either side has reset the stream.
    reset: bool,
}

impl Flow {
    fn is_live(&self) -> bool {
        !(self.reset || self.ended && self.heard_end)
    }
}

#[derive(Debug)]
pub(super) struct App {
    at: usize,
    flows: BTreeMap<u32, Flow>,
    /// New streams since the last look.
    fresh: Vec<StreamId>,
    values: u32,
}

/// The byte at `position` of the content that end `at` sends on a stream.
fn byte(at: usize, id: StreamId, position: usize) -> u8 {
    (position.wrapping_mul(31) + id.get() as usize * 7 + at * 101 + (position >> 8)) as u8
}

impl App {
    pub(super) fn new(at: usize) -> App {
        App { at, flows: BTreeMap::new(), fresh: Vec::new(), values: 0 }
    }

    /// Values that repeat, so that the compression tables are used.
    pub(super) fn next_value(&mut self) -> String {
        self.values += 1;
        format!("value {}", self.values % 7)
    }

    pub(super) fn known(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.flows.keys().filter_map(|id| StreamId::new(*id))
    }

    pub(super) fn take_fresh(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.fresh)
    }

    /// A stream that is live.
    pub(super) fn pick(&self, pick: u8) -> Option<StreamId> {
        let live: Vec<u32> =
            self.flows.iter().filter(|(_, flow)| flow.is_live()).map(|(id, _)| *id).collect();
        StreamId::new(*live.get(pick as usize % live.len().max(1))?)
    }

    /// Any stream.
    pub(super) fn pick_any(&self, pick: u8) -> Option<StreamId> {
        self.known().nth(pick as usize % self.flows.len().max(1))
    }

    fn flow(&mut self, id: StreamId) -> &mut Flow {
        self.flows.get_mut(&id.get()).expect("the stream is known")
    }

    fn of(&self, id: StreamId) -> Option<&Flow> {
        self.flows.get(&id.get())
    }

    pub(super) fn is_live(&self, id: StreamId) -> bool {
        self.of(id).is_some_and(Flow::is_live)
    }

    pub(super) fn is_answered(&self, id: StreamId) -> bool {
        self.of(id).is_some_and(|flow| flow.open)
    }

    pub(super) fn opened(&mut self, id: StreamId, end: bool) {
        let flow = Flow { open: true, ended: end, ..Flow::default() };
        assert!(self.flows.insert(id.get(), flow).is_none(), "stream {id} is opened twice");
    }

    pub(super) fn answered(&mut self, id: StreamId, end: bool, went: bool) {
        let flow = self.flow(id);
        assert_eq!(went, !flow.open && flow.is_live(), "an answer goes once");
        if went {
            flow.open = true;
            flow.ended = end;
        }
    }

    pub(super) fn write(&mut self, pick: u8, len: usize) -> Option<StreamId> {
        let id = self.pick(pick)?;
        let flow = self.flow(id);
        let may = flow.open && !flow.finish && !flow.ended && len > 0;
        may.then(|| {
            flow.queued += len;
            id
        })
    }

    /// Returns the stream if only its end is left to be sent.
    pub(super) fn finish(&mut self, pick: u8, trailers: bool) -> Option<StreamId> {
        let id = self.pick(pick)?;
        let flow = self.flow(id);
        if !flow.open || flow.ended || flow.finish {
            return None;
        }
        flow.finish = true;
        flow.trailers = trailers;
        (flow.queued == 0).then_some(id)
    }

    pub(super) fn finish_one(&mut self, id: StreamId) {
        let flow = self.flow(id);
        if flow.open && !flow.ended && !flow.finish {
            flow.queued += 100;
            flow.finish = true;
        }
    }

    /// The number of queued bytes, whether an end follows, and whether the end is made by trailers.
    pub(super) fn to_send(&self, id: StreamId) -> (usize, bool, bool) {
        match self.of(id) {
            Some(flow) if flow.is_live() && !flow.ended => {
                (flow.queued, flow.finish, flow.finish && flow.trailers)
            }
            _ => (0, false, false),
        }
    }

    pub(super) fn content(&self, id: StreamId, len: usize) -> Vec<u8> {
        let sent = self.of(id).map_or(0, |flow| flow.sent);
        (sent..sent + len).map(|position| byte(self.at, id, position)).collect()
    }

    pub(super) fn sent(&mut self, id: StreamId, len: usize, end: bool) {
        let flow = self.flow(id);
        flow.queued -= len;
        flow.sent += len;
        flow.ended |= end;
        assert!(!end || (flow.finish && flow.queued == 0), "an end goes with the last byte");
    }

    pub(super) fn sent_trailers(&mut self, id: StreamId, went: bool) {
        assert!(went, "trailers can go after all content");
        self.flow(id).ended = true;
    }

    pub(super) fn reset_here(&mut self, id: StreamId) {
        self.flow(id).reset = true;
    }

    /// Returns how many of the bytes that were read can be released.
    pub(super) fn release(&mut self, id: StreamId, len: usize) -> usize {
        let flow = self.flow(id);
        let len = len.min(flow.unreleased);
        flow.unreleased -= len;
        len
    }

    pub(super) fn unreleased(&self) -> usize {
        self.flows.values().map(|flow| flow.unreleased).sum()
    }

    /// Checks that everything from this end has arrived, or that the stream was reset and both ends
    /// know it.
    pub(super) fn all_arrived_at(&self, other: &App) {
        for (id, flow) in &self.flows {
            let Some(there) = other.flows.get(id) else {
                assert!(flow.reset, "stream {id} was never seen, and nobody said so: {flow:?}");
                continue;
            };
            assert!(there.received <= flow.sent);
            if flow.reset || there.reset {
                let over = |flow: &Flow| flow.reset || (flow.ended && flow.heard_end);
                assert!(over(flow) && over(there), "stream {id}: {flow:?} {there:?}");
                continue;
            }
            assert_eq!((flow.queued, flow.sent), (0, there.received), "stream {id}: {flow:?}");
            assert!(flow.ended && there.heard_end, "stream {id}: {flow:?} {there:?}");
        }
    }
}

impl Visitor for App {
    fn request(&mut self, id: StreamId, _: Request<()>, end: bool) {
        let flow = Flow { has_head: true, heard_end: end, ..Flow::default() };
        assert!(self.flows.insert(id.get(), flow).is_none(), "stream {id} comes twice");
        self.fresh.push(id);
    }

    fn response(&mut self, id: StreamId, _: Response<()>, end: bool) {
        let flow = self.flow(id);
        assert!(flow.is_live() && !flow.has_head);
        flow.has_head = true;
        flow.heard_end = end;
    }

    fn informational(&mut self, id: StreamId, _: Response<()>) {
        assert!(!self.flow(id).has_head);
    }

    fn data(&mut self, id: StreamId, content: &[u8]) {
        let other = 1 - self.at;
        let flow = self.flow(id);
        assert!(flow.is_live() && flow.has_head && !flow.heard_end);
        for got in content {
            assert_eq!(*got, byte(other, id, flow.received), "byte {} of {id}", flow.received);
            flow.received += 1;
        }
        flow.unreleased += content.len();
    }

    fn trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        assert!(trailers.len() == 1 && self.is_live(id));
    }

    fn end(&mut self, id: StreamId) {
        let flow = self.flow(id);
        assert!(flow.has_head && !flow.heard_end && !flow.reset);
        flow.heard_end = true;
    }

    fn reset(&mut self, id: StreamId, reason: Reason) {
        assert!(matches!(reason, Reason::CANCEL | Reason::REFUSED_STREAM), "{reason}");
        let flow = self.flow(id);
        assert!(flow.is_live(), "a stream that is over is reset");
        flow.reset = true;
    }

    fn broken(&mut self, id: StreamId, error: &StreamError) {
        panic!("stream {id} is broken between two honest ends: {error}");
    }

    fn not_processed(&mut self, id: StreamId) {
        let flow = self.flow(id);
        assert!(flow.is_live() && !flow.has_head);
        flow.reset = true;
    }
}
