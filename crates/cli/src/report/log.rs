//! The logs of the libraries: warnings always, and more with `-v`.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

use super::rate::About;
use super::{say, warn};

/// The target of the library's events.
const LIBRARY: &str = "h2conn";

/// The field of the library's event in which the peer's SETTINGS are shown.
const SETTINGS: &str = "settings";

/// Installs the log. Without `-v` it shows warnings, among them refusals by limits. `-v` adds the
/// peer's SETTINGS, `-vv` the library's log, and `-vvv` each frame.
pub(crate) fn install(verbose: u8) {
    let level = match verbose {
        0 | 1 => LevelFilter::WARN,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let is_shown = filter_fn(move |metadata| {
        // The span of a warning names its link's peer.
        let is_asked_for = *metadata.level() <= level || metadata.is_span();
        metadata.target().starts_with(LIBRARY) && is_asked_for
    });
    let is_shown = is_shown.with_max_level_hint(level.max(LevelFilter::INFO));
    let logs = lines::layer().with_writer(Lines).with_ansi(false).with_filter(is_shown);
    let registry = tracing_subscriber::registry().with(logs);
    if verbose == 0 {
        return registry.init();
    }
    let settings = PeerSettings.with_filter(filter_fn(|metadata| {
        // The span of the event names its link's peer.
        let has_settings = metadata.fields().field(SETTINGS).is_some();
        metadata.target() == LIBRARY && (has_settings || metadata.is_span())
    }));
    registry.with(settings).init();
}

/// Makes a writer for each event. The writer lives as long as the event.
struct Lines;

/// One line of the log.
struct Line {
    text: Vec<u8>,
    /// The key for limiting lines that a peer can cause as often as it likes: the event's place in
    /// the source.
    limited: Option<&'static str>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { text: Vec::new(), limited: None }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Line {
        let is_limited = *metadata.level() <= tracing::Level::WARN;
        Line { text: Vec::new(), limited: is_limited.then_some(metadata.name()) }
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        let line = text.trim_end_matches('\n');
        match self.limited {
            Some(name) => warn(peer_in(line), name, line),
            None => say(line),
        }
    }
}

/// The peer that a line names, in a field of the event or of its link's span.
fn peer_in(line: &str) -> About {
    let peers = line.split("peer=").skip(1);
    let mut addresses = peers.filter_map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || c == '}').unwrap_or(rest.len());
        rest[..end].parse::<SocketAddr>().ok()
    });
    addresses.next().map_or(About::All, About::from)
}

/// Shows the SETTINGS of peers (RFC 9113 §6.5).
struct PeerSettings;

/// The peer of a link's span.
struct PeerOf(About);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for PeerSettings {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut peer = PeerOf(About::All);
        attributes.record(&mut peer);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(peer);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event);
        let about = span.and_then(|span| span.extensions().get().map(|PeerOf(about)| *about));
        event.record(&mut Shown(about.unwrap_or(About::All)));
    }
}

impl Visit for PeerOf {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "peer" {
            let addr = format!("{value:?}").parse::<SocketAddr>();
            self.0 = addr.map_or(About::All, About::from);
        }
    }
}

/// Prints the field's value, about this peer.
struct Shown(About);

impl Visit for Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == SETTINGS {
            warn(self.0, SETTINGS, format_args!("* settings of the peer: {value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_warning_is_that_of_its_event_or_of_its_span() {
        let line =
            "WARN link{side=\"server\" peer=10.0.0.1:5 local=[::1]:8443}: h2conn: link closed";
        assert_eq!(peer_in(line), SocketAddr::from(([10, 0, 0, 1], 9)).into());
        assert_eq!(peer_in("WARN h2conn: slow peer=10.0.0.1:5"), peer_in(line));
        for line in ["WARN h2conn: cannot accept", "peer=unix", "peer="] {
            assert_eq!(peer_in(line), About::All);
        }
    }
}
