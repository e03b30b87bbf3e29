//! The logs of the libraries, as `-v` asks for them.

use std::fmt;
use std::io;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as lines};

use super::say;

/// Where h2 tells of each frame that it has read.
const FRAMES: &str = "h2::codec::framed_read";

/// Once shows the peer's SETTINGS, twice also what the library logs, three times each frame.
pub(crate) fn install(verbose: u8) {
    if verbose == 0 {
        return;
    }
    let level = |from: u8, level| if verbose >= from { level } else { LevelFilter::OFF };
    let logs = Targets::new()
        .with_target("h2conn", level(2, LevelFilter::DEBUG))
        .with_target("h2", level(3, LevelFilter::DEBUG));
    let logs = lines::layer().with_writer(io::stderr).with_ansi(false).with_filter(logs);
    let settings = PeerSettings.with_filter(filter_fn(|metadata| {
        metadata.target() == FRAMES && *metadata.level() == Level::DEBUG
    }));
    tracing_subscriber::registry().with(logs).with(settings).init();
}

/// Shows the SETTINGS frames of peers (RFC 9113 §6.5), which only h2 sees.
struct PeerSettings;

impl<S: Subscriber> Layer<S> for PeerSettings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut frame = Frame::default();
        event.record(&mut frame);
        if let Some(settings) = settings(&frame.0) {
            say(format_args!("* settings of the peer: {settings}"));
        }
    }
}

/// The frame of an event, as h2 shows it.
#[derive(Default)]
struct Frame(String);

impl Visit for Frame {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "frame" {
            self.0 = format!("{value:?}");
        }
    }
}

/// What a SETTINGS frame sets; `None` for other frames, and for an acknowledgement.
fn settings(frame: &str) -> Option<String> {
    let inner = frame.strip_prefix("Settings { flags: (0x0)")?.strip_suffix(" }")?;
    let settings = inner.trim_start_matches([',', ' ']);
    Some(if settings.is_empty() {
        "all at their defaults".to_owned()
    } else {
        settings.replace(": ", "=")
    })
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn settings_are_told_from_other_frames_and_acknowledgements() {
        let frame = "Settings { flags: (0x0), max_frame_size: 65536, enable_push: 0 }";
        assert_eq!(settings(frame).as_deref(), Some("max_frame_size=65536, enable_push=0"));
        let empty = "Settings { flags: (0x0) }";
        assert_eq!(settings(empty).as_deref(), Some("all at their defaults"));
        for other in ["Settings { flags: (0x1: ACK) }", "Data { stream_id: StreamId(1) }", ""] {
            assert_eq!(settings(other), None);
        }
    }
}
