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

type Fields = BTreeMap<&'static str, String>;

/// An event.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) fields: Fields,
    /// The name and the fields of the span that the event belongs to.
    pub(super) span: Option<(&'static str, Fields)>,
}

impl Said {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// A field of the link that the event belongs to.
    pub(super) fn of_link(&self, name: &str) -> &str {
        match &self.span {
            Some(("h2conn.link", fields)) => fields.get(name).map_or("", String::as_str),
            _ => "",
        }
    }
}

/// The events on this thread since this was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    spans: HashMap<u64, (&'static str, Fields)>,
    entered: Vec<u64>,
    said: Vec<Said>,
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
        if metadata.target() == "h2conn" { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "h2conn"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.spans.fetch_add(1, Relaxed) + 1;
        let mut reader = Reader::default();
        span.record(&mut reader);
        tell(|state| {
            state.spans.insert(id, (span.metadata().name(), reader.0));
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
            let span = parent.and_then(|id| state.spans.get(&id).cloned());
            state.said.push(Said { level, message, fields: reader.0, span });
        });
    }

    fn enter(&self, span: &Id) {
        tell(|state| state.entered.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        tell(|state| {
            state.entered.pop();
        });
    }
}
