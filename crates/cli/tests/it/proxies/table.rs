//! The behaviour that is expected through each proxy. `docs/proxies.md` shows it as a table.

use super::kinds::{Form, Kind};

/// The Conn behaves as without a proxy.
pub(super) const GOOD: &str = "✔";

/// A property of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Silent,
    SilentLate,
    Lines,
    ClientEnds,
    ServerEnds,
    Bulk,
    ServerResets,
    ClientResets,
    Many,
    Reload,
    ServerKilled,
    ProxyKilled,
    Streams,
    Tunnel,
    Files,
    Silence100,
    Silence330,
    Talk75,
    Late70,
    Auto,
    AutoVersion,
}

impl Cell {
    /// Those that need neither minutes nor the end of the proxy, with the library at both ends.
    pub(super) const QUICK: [Cell; 8] = [
        Cell::Silent,
        Cell::SilentLate,
        Cell::Lines,
        Cell::ClientEnds,
        Cell::ServerEnds,
        Cell::Bulk,
        Cell::ServerResets,
        Cell::ClientResets,
    ];

    /// Those of a client that finds the WebSocket by itself.
    pub(super) const AUTO: [Cell; 2] = [Cell::Auto, Cell::AutoVersion];

    /// Those that need minutes.
    pub(super) const SLOW: [Cell; 4] =
        [Cell::Silence100, Cell::Silence330, Cell::Talk75, Cell::Late70];

    /// The rows of the table of HTTP/2.
    const ALL: [Cell; 19] = [
        Cell::Silent,
        Cell::SilentLate,
        Cell::Lines,
        Cell::ClientEnds,
        Cell::ServerEnds,
        Cell::Bulk,
        Cell::ServerResets,
        Cell::ClientResets,
        Cell::Many,
        Cell::Streams,
        Cell::Tunnel,
        Cell::Files,
        Cell::Reload,
        Cell::ServerKilled,
        Cell::ProxyKilled,
        Cell::Silence100,
        Cell::Silence330,
        Cell::Talk75,
        Cell::Late70,
    ];

    /// The rows of a form's table.
    pub(super) fn of(form: Form) -> Vec<Cell> {
        match form {
            Form::Http2 | Form::Tcp => Cell::ALL.to_vec(),
            Form::WebSocket => {
                let same = Cell::ALL.into_iter().filter(|cell| *cell != Cell::Streams);
                Cell::AUTO.into_iter().chain(same).collect()
            }
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Cell::Silent => "the 200 of a server that says nothing yet",
            Cell::SilentLate => "the same, a second after the request",
            Cell::Lines => "an echo, line by line",
            Cell::ClientEnds => "the client ends its side, then the server answers",
            Cell::ServerEnds => "the server ends its side, the client goes on",
            Cell::Bulk => "20 MB each way at once",
            Cell::ServerResets => "the server resets: the client sees",
            Cell::ClientResets => "the client resets: the server is told",
            Cell::Many => "300 Conns at once",
            Cell::Streams => "streams that it allows on a link",
            Cell::Tunnel => "`h2conn forward`",
            Cell::Files => "`h2conn send` and `recv`",
            Cell::Reload => "the configuration is read again",
            Cell::ServerKilled => "the server is killed: the client is told",
            Cell::ProxyKilled => "the proxy is killed: both ends are told",
            Cell::Silence100 => "silent for 100 s",
            Cell::Silence330 => "silent for 330 s",
            Cell::Talk75 => "a line a second for 75 s",
            Cell::Late70 => "the answer comes 70 s after the client's end",
            Cell::Auto => "`Reach::Auto` finds the WebSocket",
            Cell::AutoVersion => "the version of HTTP that it then takes",
        }
    }
}

/// The expected behaviour, faults of the proxy included.
pub(super) fn expected(cell: Cell, kind: Kind, form: Form) -> &'static str {
    match form {
        Form::Http2 | Form::Tcp => expected_of_http2(cell, kind),
        Form::WebSocket => expected_of_websockets(cell, kind),
    }
}

fn expected_of_websockets(cell: Cell, kind: Kind) -> &'static str {
    match (cell, kind) {
        (Cell::AutoVersion, Kind::OldHaproxy | Kind::Haproxy | Kind::Nghttpx) => "2",
        (Cell::AutoVersion, _) => "1.1",
        (Cell::Reload, Kind::Envoy | Kind::Caddy) => "Closed",
        _ => GOOD,
    }
}

fn expected_of_http2(cell: Cell, kind: Kind) -> &'static str {
    use Kind::{Apache, Caddy, Envoy, Haproxy, Nghttpx, Nginx, OldHaproxy, OldNginx, Traefik};

    match (cell, kind) {
        (Cell::Silent | Cell::SilentLate, Apache) => "held back until a byte comes",
        (Cell::ServerEnds, OldNginx | Nginx | Envoy | Caddy | Nghttpx) => {
            "the client can send no more: NO_ERROR"
        }
        (Cell::ServerEnds, Traefik) => "not told, and the rest is lost, with or without an error",
        (Cell::ServerEnds, Apache) => "not told until the client ends",
        (Cell::ServerResets, OldHaproxy) => "an end, then CANCEL",
        (Cell::ServerResets, Haproxy) => "CANCEL",
        (Cell::ServerResets, OldNginx | Nginx | Envoy | Caddy | Nghttpx) => "INTERNAL_ERROR",
        (Cell::ServerResets, Traefik) => "not told",
        (Cell::ServerResets, Apache) => "STREAM_CLOSED",
        (Cell::ClientResets, OldHaproxy) => "an end after 1000 bytes",
        (Cell::Many, Apache) => "not all at once",
        (Cell::Streams, OldNginx | Nginx) => "128",
        (Cell::Streams, Envoy) => "1024",
        (Cell::Streams, Caddy | Traefik) => "250",
        (Cell::Streams, _) => "100",
        (Cell::ServerKilled, OldHaproxy) => "an end, then CANCEL",
        (Cell::ServerKilled, Traefik) => "not told",
        (Cell::ServerKilled, Apache) => "an end, then NO_ERROR",
        (Cell::Tunnel, Apache) => "reset after 30 s",
        (Cell::Reload, Envoy) => "Closed",
        _ => GOOD,
    }
}

/// Whether a test can wait for the event, whatever it is. Otherwise nothing comes.
pub(super) fn comes(expected: &str) -> bool {
    !["held back", "not told", "not all"].iter().any(|start| expected.starts_with(start))
}

/// The lines of a form's table in `docs/proxies.md`, and of the notes below it. A note is shown by its number.
pub(super) fn lines(form: Form) -> Vec<String> {
    let mut notes: Vec<&str> = Vec::new();
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let mut lines = vec![format!("| | {} |\n", names.join(" | "))];
    for cell in Cell::of(form) {
        let entries = Kind::ALL.map(|kind| match expected(cell, kind, form) {
            seen if seen == GOOD || seen.parse::<f32>().is_ok() => seen.to_owned(),
            seen => {
                let number = notes.iter().position(|note| *note == seen).unwrap_or_else(|| {
                    notes.push(seen);
                    notes.len() - 1
                });
                format!("({})", number + 1)
            }
        });
        lines.push(format!("| {} | {} |\n", cell.text(), entries.join(" | ")));
    }
    let numbered = notes.iter().enumerate().map(|(at, note)| format!("\n{}. *{note}*", at + 1));
    lines.extend(numbered);
    lines
}
