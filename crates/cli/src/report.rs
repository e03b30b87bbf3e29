//! All messages on standard error: errors, warnings, `-v` and `--stats`.

mod certificate;
mod log;
mod rate;
mod stderr;
mod terms;
mod visible;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use h2conn::http::{HeaderMap, HeaderName, Response, Uri};
use h2conn::{Addr, Conn, Stats};
use indicatif::{ProgressBar, WeakProgressBar};

use crate::args::StatsFormat;
use crate::waiting::without_query;
pub(crate) use log::install as install_log;
pub(crate) use rate::About;
use stderr::Stderr;
pub(crate) use terms::{brief, shown};
pub(crate) use visible::{visible, without_passwords};

/// The only way to standard error.
static STDERR: LazyLock<Stderr> = LazyLock::new(|| Stderr::start(beside_the_bar));

/// The progress bar on the terminal, if there is one.
static BAR: LazyLock<Mutex<WeakProgressBar>> = LazyLock::new(Mutex::default);

/// Prints what the user has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    pub(crate) stats: Option<StatsFormat>,
}

/// The names of header fields from files and variables that hold secrets. Their values are not
/// shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(pub(crate) Vec<HeaderName>);

/// Prints a line, whatever the user has asked for. It does not wait for a reader: lines that do not
/// fit into the queue are dropped and counted.
pub(crate) fn say(line: impl fmt::Display) {
    STDERR.say(&line.to_string());
}

/// Prints a line that a peer can cause as often as it likes. Lines of one `kind` about one host are
/// limited in number.
pub(crate) fn warn(about: impl Into<About>, kind: &'static str, line: impl fmt::Display) {
    STDERR.warn(about.into(), kind, || line.to_string());
}

/// Prints the reason for the program's end, however full the queue is.
pub(crate) fn say_last(line: impl fmt::Display) {
    STDERR.say_at_any_rate(&line.to_string());
}

/// Waits until all lines are written, or until a reader that does not read has used up `patience`.
pub(crate) fn flush(patience: Duration) {
    STDERR.flush(patience);
}

/// From now on, hides the bar while a line is written.
pub(crate) fn keep_clear_of(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar.downgrade();
}

/// Prints panics through the queue: the default handler would wait for a reader of standard error.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        say_last(format_args!("h2conn: a bug, {}", panic.to_string().replace('\n', " ")));
        if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(say_last);
        }
    }));
}

fn beside_the_bar(line: &[u8]) -> std::io::Result<()> {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    match bar {
        Some(bar) => bar.suspend(|| stderr::write(line)),
        None => stderr::write(line),
    }
}

impl Report {
    /// Prints a line of `-v`.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        if self.verbose > 0 {
            say(format_args!("* {line}"));
        }
    }

    /// Like [`note`](Report::note), for a line that a peer can cause as often as it likes.
    pub(crate) fn note_about(
        &self,
        about: impl Into<About>,
        kind: &'static str,
        line: impl fmt::Display,
    ) {
        self.block(about, kind, || vec![format!("* {line}")]);
    }

    /// Prints the lines of one event, which a peer can cause as often as it likes.
    fn block(
        &self,
        about: impl Into<About>,
        kind: &'static str,
        lines: impl FnOnce() -> Vec<String>,
    ) {
        if self.verbose > 0 {
            STDERR.block(about.into(), kind, lines);
        }
    }

    /// Prints a connection that was opened here: its two ends, the server's certificate, and the
    /// request.
    pub(crate) fn opened(&self, conn: &Conn, took: Duration, secrets: &Secrets) {
        self.block(conn.peer_addr(), "opened", || {
            let (local, peer) = (conn.local_addr(), conn.peer_addr());
            let millis = took.as_secs_f64() * 1000.0;
            let mut lines = vec![format!("* connected from {local} to {peer} in {millis:.1} ms")];
            lines.extend(certificate_of(conn, "the server"));
            lines.push(format!("> {} {}", conn.method(), self.target(conn.uri())));
            lines.extend(fields('>', conn.headers(), secrets));
            lines
        });
    }

    /// Prints a connection that was accepted.
    pub(crate) fn accepted(&self, conn: &Conn) {
        self.block(conn.peer_addr(), "accepted", || {
            let mut lines = vec![format!("* connection from {}", conn.peer_addr())];
            lines.extend(certificate_of(conn, "the client"));
            lines.push(format!("< {} {}", conn.method(), self.target(conn.uri())));
            lines.extend(fields('<', conn.headers(), &Secrets::default()));
            lines
        });
    }

    /// The target of a request. The query is hidden: it can be a secret, and users paste the output
    /// of `-v` into reports.
    fn target(&self, uri: &Uri) -> String {
        let shown = uri.to_string();
        match uri.query() {
            Some(_) if self.verbose < 2 => format!("{}?(-vv shows it)", without_query(&shown)),
            _ => shown,
        }
    }

    /// Prints the response of this peer.
    pub(crate) fn response(&self, peer: &Addr, response: &Response<()>) {
        self.block(peer, "response", || {
            let mut lines = vec![format!("< {}", response.status())];
            lines.extend(fields('<', response.headers(), &Secrets::default()));
            lines
        });
    }

    /// Prints what a connection has carried, in the format of `--stats`.
    pub(crate) fn stats(&self, conn: &Conn) {
        let text = match self.stats {
            None => return,
            Some(StatsFormat::Text) => text,
            Some(StatsFormat::Json) => json,
        };
        STDERR.block(conn.peer_addr().into(), "stats", || vec![text(&conn.stats())]);
    }
}

fn certificate_of(conn: &Conn, whose: &str) -> Vec<String> {
    let lines = conn.peer_certificates().first().map(|der| certificate::lines(der));
    let lines = lines.into_iter().flatten();
    lines.map(|line| format!("* certificate of {whose}: {line}")).collect()
}

/// Whether the header field of this name, in lower case, holds a secret wherever it comes from.
pub(crate) fn is_a_secret(name: &str) -> bool {
    matches!(name, "authorization" | "proxy-authorization" | "cookie" | "set-cookie")
}

fn fields(mark: char, headers: &HeaderMap, secrets: &Secrets) -> Vec<String> {
    let shown = headers.iter().map(|(name, value)| {
        // Users paste the output of `-v` into reports.
        let secret = secrets.0.contains(name) || is_a_secret(name.as_str());
        match secret || value.is_sensitive() {
            true => format!("{mark} {name}: (hidden)"),
            false => format!("{mark} {name}: {}", value.as_bytes().escape_ascii()),
        }
    });
    shown.chain([mark.to_string()]).collect()
}

fn text(stats: &Stats) -> String {
    let seconds = stats.age.as_secs_f64();
    let rate = |bytes: u64| rate(bytes, seconds);
    let rtt = stats.rtt.map_or_else(String::new, |rtt| {
        format!(", round trip {:.3} ms", rtt.as_secs_f64() * 1000.0)
    });
    format!(
        "sent {} bytes ({}), received {} bytes ({}) in {seconds:.3} s; {} waits for the peer's window, \
         {:.3} s{rtt}",
        stats.bytes_sent,
        rate(stats.bytes_sent),
        stats.bytes_received,
        rate(stats.bytes_received),
        stats.stalls,
        stats.stalled.as_secs_f64(),
    )
}

fn json(stats: &Stats) -> String {
    let rtt = stats.rtt.map_or("null".to_owned(), |rtt| rtt.as_secs_f64().to_string());
    // These are only numbers, so there is nothing to escape.
    format!(
        "{{\"bytes_written\":{},\"bytes_sent\":{},\"bytes_received\":{},\"bytes_read\":{},\
         \"stalls\":{},\"stalled_seconds\":{},\"rtt_seconds\":{rtt},\"seconds\":{}}}",
        stats.bytes_written,
        stats.bytes_sent,
        stats.bytes_received,
        stats.bytes_read,
        stats.stalls,
        stats.stalled.as_secs_f64(),
        stats.age.as_secs_f64(),
    )
}

/// Bytes per second, in a suitable unit.
fn rate(bytes: u64, seconds: f64) -> String {
    let mut rate = bytes as f64 / seconds.max(1e-6);
    for unit in ["B/s", "kB/s", "MB/s"] {
        if rate < 1000.0 {
            return format!("{rate:.1} {unit}");
        }
        rate /= 1000.0;
    }
    format!("{rate:.1} GB/s")
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_in_the_unit_that_fits() {
        let table = [(0, "0.0 B/s"), (999, "999.0 B/s"), (2_500, "2.5 kB/s")];
        for (bytes, shown) in table {
            assert_eq!(rate(bytes, 1.0), shown);
        }
        assert_eq!(rate(3_000_000_000, 1.5), "2.0 GB/s");
    }
}
