//! A subscriber that keeps the library's events for a thread that listens. It is installed for the
//! whole process: `tracing` caches for all threads which subscribers are interested, and tests that
//! do not listen would spoil that cache.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

type Fields = BTreeMap<&'static str, String>;

/// An event.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) fields: Fields,
    /// The name and the fields of the span that the event belongs to.
    pub(super) span: Option<(&'static str, Fields)>,
    /// The names of the spans around that, from the inside.
    pub(super) around: Vec<&'static str>,
}

impl Said {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// A field of the link that the event belongs to.
    pub(super) fn of_link(&self, name: &str) -> &str {
        self.of_span("h2conn.link", name)
    }

    /// A field of the span that it was said in, if that has this name.
    pub(super) fn of_span(&self, span: &str, name: &str) -> &str {
        match &self.span {
            Some((its_name, fields)) if *its_name == span => {
                fields.get(name).map_or("", String::as_str)
            }
            _ => "",
        }
    }
}

/// The events on this thread since this was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    spans: HashMap<u64, Heard>,
    entered: Vec<u64>,
    said: Vec<Said>,
    /// How often spans were entered, by their names.
    entries: BTreeMap<&'static str, usize>,
    /// The name of spans that are not listened to.
    deaf_to: Option<&'static str>,
}

#[derive(Debug)]
struct Heard {
    metadata: &'static Metadata<'static>,
    fields: Fields,
    parent: Option<u64>,
}

impl State {
    /// The names of a span, and of those around it.
    fn chain(&self, id: Option<u64>) -> Vec<&'static str> {
        let first = id.and_then(|id| self.spans.get(&id));
        let around = |span: &&Heard| span.parent.and_then(|id| self.spans.get(&id));
        std::iter::successors(first, around).map(|span| span.metadata.name()).collect()
    }
}

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

impl Log {
    /// Starts to listen on this thread.
    pub(super) fn listen() -> Log {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            tracing::subscriber::set_global_default(Listeners::default())
                .expect("no other test has a subscriber for the process");
        });
        let log = Log::default();
        LOG.set(Some(log.clone()));
        log
    }

    /// Listens on this thread, to all but spans of this name.
    pub(super) fn listen_without(span: &'static str) -> Log {
        let log = Log::listen();
        log.0.borrow_mut().deaf_to = Some(span);
        log
    }

    /// How often spans of this name were entered.
    pub(super) fn entries(&self, span: &str) -> usize {
        self.0.borrow().entries.get(span).copied().unwrap_or(0)
    }

    pub(super) fn said(&self) -> Vec<Said> {
        self.0.borrow().said.clone()
    }

    /// The values of this field in events with this message, sorted.
    pub(super) fn fields(&self, message: &str, field: &str) -> Vec<String> {
        let said = self.said().into_iter().filter(|said| said.message == message);
        let mut fields: Vec<_> = said.map(|said| said.field(field).to_owned()).collect();
        fields.sort();
        fields
    }
}

#[derive(Default)]
struct Reader(Fields);

impl Visit for Reader {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

#[derive(Default)]
struct Listeners {
    spans: AtomicU64,
}

/// Calls `what` with the log of this thread, if it has one.
fn tell(what: impl FnOnce(&mut State)) {
    // A runtime that ends with its thread may emit events after the log has gone.
    let _ = LOG.try_with(|log| {
        if let Some(log) = &*log.borrow() {
            what(&mut log.0.borrow_mut());
        }
    });
}

impl Subscriber for Listeners {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target() {
            // A thread may be deaf to it.
            "h2conn" if metadata.is_span() => Interest::sometimes(),
            "h2conn" => Interest::always(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let mut deaf = false;
        tell(|state| deaf = metadata.is_span() && state.deaf_to == Some(metadata.name()));
        metadata.target() == "h2conn" && !deaf
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.spans.fetch_add(1, Relaxed) + 1;
        let mut reader = Reader::default();
        span.record(&mut reader);
        tell(|state| {
            let parent = match span.is_contextual() {
                true => state.entered.last().copied(),
                false => span.parent().map(Id::into_u64),
            };
            let heard = Heard { metadata: span.metadata(), fields: reader.0, parent };
            state.spans.insert(id, heard);
        });
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut reader = Reader::default();
        event.record(&mut reader);
        let message = reader.0.remove("message").unwrap_or_default();
        let level = *event.metadata().level();
        tell(|state| {
            let parent = match event.is_contextual() {
                true => state.entered.last().copied(),
                false => event.parent().map(Id::into_u64),
            };
            let span = parent.and_then(|id| state.spans.get(&id));
            let span = span.map(|span| (span.metadata.name(), span.fields.clone()));
            let around = state.chain(parent).into_iter().skip(1).collect();
            state.said.push(Said { level, message, fields: reader.0, span, around });
        });
    }

    fn current_span(&self) -> Current {
        let mut current = Current::none();
        tell(|state| {
            let id = state.entered.last().copied();
            if let Some((id, span)) = id.and_then(|id| Some((id, state.spans.get(&id)?))) {
                current = Current::new(Id::from_u64(id), span.metadata);
            }
        });
        current
    }

    fn enter(&self, span: &Id) {
        tell(|state| {
            let id = span.into_u64();
            state.entered.push(id);
            if let Some(span) = state.spans.get(&id) {
                *state.entries.entry(span.metadata.name()).or_default() += 1;
            }
        });
    }

    fn exit(&self, _: &Id) {
        tell(|state| {
            state.entered.pop();
        });
    }
}
