//! The logs of the libraries, as `-v` asks for them.

use std::fmt;
use std::io;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

use super::say;

/// The field of the library's event in which the peer's SETTINGS are shown.
const SETTINGS: &str = "settings";

/// Once shows the peer's SETTINGS, twice also what the library logs, three times each frame.
pub(crate) fn install(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::OFF,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let logs = Targets::new().with_target("h2conn", level);
    let logs = lines::layer().with_writer(io::stderr).with_ansi(false).with_filter(logs);
    let settings = PeerSettings.with_filter(filter_fn(|metadata| {
        metadata.target() == "h2conn" && metadata.fields().field(SETTINGS).is_some()
    }));
    tracing_subscriber::registry().with(logs).with(settings).init();
}

/// Shows the SETTINGS of peers (RFC 9113 §6.5).
struct PeerSettings;

impl<S: Subscriber> Layer<S> for PeerSettings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Shown);
    }
}

/// Says what stands in the field.
struct Shown;

impl Visit for Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == SETTINGS {
            say(format_args!("* settings of the peer: {value:?}"));
        }
    }
}
