//! `h2conn listen`.

mod exec;
mod service;

use std::time::Duration;

use anyhow::anyhow;
use h2conn::http::{Response, StatusCode};
use h2conn::{Incoming, Listener, OnDrop, WebSockets};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::args::Listen;
use crate::bind;
use crate::exit::{Code, Failure, Result};
use crate::places::{Full, Line, Peer, Place, Places};
use crate::report::{About, Report, say, warn};
use crate::signals::{Interrupt, say_what_is_awaited, say_what_was_cut};
use crate::talk::End;
use service::Service;

/// How long connections that are open when the listener ends may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Accepts connections, and serves them.
pub(crate) async fn run(args: Listen, verbose: u8) -> Result {
    let report = Report { verbose, stats: args.stream.stats };
    let interrupt = Interrupt::watch();
    let builder = Listener::builder().on_drop(OnDrop::Reset).idle_timeout(args.stream.idle_timeout);
    let builder = bind::with_tls(builder.websockets(websockets(&args)), &args.listening)?;
    let mut listener = bind::listen(builder, &args.listening).await?;
    let service = Service::of(&args);
    if matches!(service, Service::Exec(_)) && std::process::id() == 1 {
        say(exec::WITHOUT_INIT);
    }
    // There is only one standard input.
    let is_stdio = matches!(service, Service::Stdio(_));
    let is_shared = args.keep_open && !is_stdio;
    let most = if is_shared { args.max_conns.get() } else { 1 };
    let places: Places<Line> = Places::new(most, "connections", "--max-conns");
    let is_local = bind::is_local(&args.listening.addr);
    let peer_of = |incoming: &Incoming| match is_local {
        true => Peer::LOCAL,
        false => Peer::at(incoming.peer_addr()),
    };
    let mut guests = JoinSet::new();
    let result = loop {
        tokio::select! {
            // Free the place of an ended connection before another client asks for one.
            biased;
            Some(served) = guests.join_next() => {
                let (about, served) = joined(served);
                match served {
                    // Nothing would read the output of the next connection.
                    Ok(End::Reader) => break Ok(()),
                    result if !args.keep_open => break result.map(drop),
                    // Standard input or output has failed, and would fail for the next one too.
                    Err(failure) if is_stdio && failure.code() == Code::Local => break Err(failure),
                    Err(failure) => complain(about, &failure),
                    Ok(_) => {}
                }
            },
            () = interrupt.asked() => match guests.is_empty() && !args.keep_open {
                true => break Err(Failure::interrupted().context("no connection had come")),
                false => break Ok(()),
            },
            incoming = listener.accept() => match incoming {
                Some(incoming) if let Some(text) = bind::forbidden_page(&incoming, &args.listening.origin) => {
                    forbid(incoming, &text);
                }
                Some(incoming) => match places.take(peer_of(&incoming)) {
                    Ok(place) => {
                        let service = service.clone();
                        let about = About::from(incoming.peer_addr());
                        let interrupt = interrupt.clone();
                        guests.spawn(async move {
                            let served = service.serve(incoming, &place, report, interrupt).await;
                            Guest { about, served, _place: place }
                        });
                    }
                    Err(full) => turn_away(incoming, full, most, is_shared),
                },
                None => break Ok(()),
            },
        }
    };
    // A connection of standard input and output is reset at once, which it says itself.
    let is_awaited = args.keep_open || !guests.is_empty();
    if interrupt.is_asked() && is_awaited && !is_stdio {
        say_what_is_awaited(guests.len(), DRAIN);
    }
    listener.drain(DRAIN).await;
    // All connections have ended. Wait for the processes and sockets that they leave, and for their
    // results.
    let mut left = Ok(());
    let leaving = async {
        while let Some(served) = guests.join_next().await {
            match joined(served) {
                (about, Err(failure)) if args.keep_open => complain(about, &failure),
                (_, served) => left = served.map(drop),
            }
        }
    };
    if timeout(DRAIN, leaving).await.is_err() {
        let cut = guests.len();
        guests.shutdown().await;
        if args.keep_open {
            say_what_was_cut(cut);
        } else {
            left =
                Err(Failure::new(Code::Reset, anyhow!("the connection did not end, and was cut")));
        }
    }
    result.and(left).and(written(service).await)
}

/// The settings for clients that connect by a WebSocket.
fn websockets(args: &Listen) -> WebSockets {
    let settings = WebSockets::new().max_message_size(args.max_message);
    if args.text_lines { settings.text_lines() } else { settings.text_messages(true) }
}

/// A connection that was served. Dropping this frees its place.
struct Guest {
    about: About,
    served: Result<End>,
    _place: Place<Line>,
}

/// How a connection was served, and which host it came from.
fn joined(guest: std::result::Result<Guest, JoinError>) -> (About, Result<End>) {
    match guest {
        Ok(Guest { about, served, .. }) => (about, served),
        Err(error) => (About::All, Err(Failure::local("a task failed", error.into()))),
    }
}

/// Reports the failure of one connection among many.
fn complain(about: About, failure: &Failure) {
    warn(about, failure.code().name(), format_args!("h2conn: {failure}"));
}

/// Waits until standard output has been written.
async fn written(service: Service) -> Result {
    let Service::Stdio(stdio) = service else { return Ok(()) };
    stdio.lock().await.output.finish().await.map_err(Failure::output)
}

fn forbid(incoming: Incoming, text: &str) {
    let peer = incoming.peer_addr();
    warn(peer, "forbidden", format_args!("{peer}: 403 {text}"));
    let mut response = Response::new(format!("403 Forbidden: {text}\n"));
    *response.status_mut() = StatusCode::FORBIDDEN;
    incoming.reject_with(response);
}

fn turn_away(incoming: Incoming, full: Full, most: usize, is_shared: bool) {
    let (text, logged) = match most {
        1 => {
            let knob = if is_shared { full.knob() } else { "there is one standard input" };
            let served = "one connection at a time";
            (format!("{served}, and no place is free"), format!("{served} ({knob})"))
        }
        _ => (full.to_string(), full.to_string()),
    };
    let mut response = Response::new(format!("503 Service Unavailable: {text}\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let peer = incoming.peer_addr();
    warn(peer, "no place", format_args!("{peer}: 503 {logged}"));
    incoming.reject_with(response);
}
