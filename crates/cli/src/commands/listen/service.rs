//! The services that a listener has for its connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use h2conn::doctor::Doctor;
use h2conn::http::{Response, StatusCode};
use h2conn::{Conn, Incoming, Reason};
use tokio::sync::Mutex;

use super::exec;
use crate::args::{Destination, Listen};
use crate::exit::{Code, Failure, Result};
use crate::places::{Line, Place};
use crate::pump::{self, CutOnDrop};
use crate::report::Report;
use crate::signals::Interrupt;
use crate::stdio::{Input, Output};
use crate::talk::{End, talk};
use crate::tunnel::target::{Host, Target};
use crate::tunnel::tcp;

/// One of the services, for any number of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Service {
    Echo,
    Exec(Arc<str>),
    /// With the time for which nothing may move once the peer has left.
    To(Destination, Option<Duration>),
    Doctor(Doctor),
    /// Only one connection at a time can have standard input and output.
    Stdio(Arc<Mutex<Stdio>>),
}

#[derive(Debug)]
pub(super) struct Stdio {
    pub(super) input: Input,
    pub(super) output: Output,
    linger: Option<Duration>,
}

impl Service {
    pub(super) fn of(args: &Listen) -> Service {
        if args.echo {
            Service::Echo
        } else if args.doctor {
            Service::Doctor(Doctor::default())
        } else if let Some(command) = &args.exec {
            Service::Exec(command.as_str().into())
        } else if let Some(destination) = &args.to {
            Service::To(destination.clone(), args.stream.idle_timeout)
        } else {
            let (input, output) = (Input::stdin(), Output::stdout());
            Service::Stdio(Arc::new(Mutex::new(Stdio { input, output, linger: args.linger })))
        }
    }

    /// Serves one connection, from its acceptance to its end.
    pub(super) async fn serve(
        self,
        incoming: Incoming,
        place: &Place<Line>,
        report: Report,
        interrupt: Interrupt,
    ) -> Result<End> {
        match self {
            Service::Echo => {
                let conn = accept(incoming, report)?;
                let served = pump::echo(&conn).await;
                finish(&conn, served, report).await
            }
            Service::Exec(command) => exec::serve(incoming, &command, report).await,
            Service::To(destination, idle) => {
                relay(incoming, place, &destination, idle, report).await
            }
            Service::Doctor(doctor) => {
                let who = incoming.peer_addr().clone();
                match doctor.serve(incoming).await {
                    Ok(what) => report.note_about(&who, "probe", format_args!("{who}: {what}")),
                    // A reset is what some probes are about.
                    Err(error) => {
                        report.note_about(&who, "probe", format_args!("{who}: {error}"));
                    }
                }
                Ok(())
            }
            Service::Stdio(stdio) => {
                let mut stdio = stdio.lock().await;
                let Stdio { input, output, linger } = &mut *stdio;
                let conn = accept(incoming, report)?;
                // After CANCEL, proxies would drop the parts of a whole answer that they still
                // hold.
                let no_more = Reason::NO_ERROR;
                let talked = talk(&conn, input, output, *linger, &interrupt, no_more).await;
                report.stats(&conn);
                let end = talked?;
                report.note_about(
                    conn.peer_addr(),
                    "closed",
                    format_args!("closed: {}", end.reason()),
                );
                return Ok(end);
            }
        }?;
        Ok(End::Peer)
    }
}

pub(super) fn accept(incoming: Incoming, report: Report) -> Result<Conn> {
    let conn = incoming.accept()?;
    report.accepted(&conn);
    Ok(conn)
}

/// Ends a connection whose bytes have all been passed on, or that broke.
async fn finish(conn: &Conn, served: io::Result<()>, report: Report) -> Result {
    let served = match served {
        Ok(()) => conn.close().await.map_err(Failure::from),
        Err(error) => Err(Failure::of_io("the other side of the relay failed", error)),
    };
    report.stats(conn);
    if served.is_ok() {
        report.note_about(conn.peer_addr(), "closed", "closed: both directions have ended");
    }
    served
}

async fn relay(
    incoming: Incoming,
    place: &Place<Line>,
    destination: &Destination,
    idle_timeout: Option<Duration>,
    report: Report,
) -> Result {
    let cannot = |incoming: Incoming, error: io::Error| {
        let text = "502 Bad Gateway: what is behind this listener cannot be reached\n";
        let mut response = Response::new(text);
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        incoming.reject_with(response);
        let context = format!("cannot connect to {destination} for --to");
        Failure::new(Code::Connect, anyhow::Error::new(error).context(context))
    };
    match destination {
        Destination::Tcp { host, port } => {
            let host = host.parse().map_or_else(|_| Host::Name(host.clone()), Host::Ip);
            let socket = match tcp::dial(&Target { host, port: *port }, place).await {
                Ok(socket) => CutOnDrop::new(socket),
                Err(error) => return Err(cannot(incoming, error)),
            };
            let conn = accept(incoming, report)?;
            let relayed = pump::relay(&conn, socket, idle_timeout).await;
            finish(&conn, relayed, report).await
        }
        #[cfg(unix)]
        Destination::Unix(path) => {
            let socket = match tokio::net::UnixStream::connect(path).await {
                Ok(socket) => CutOnDrop::new(socket),
                Err(error) => return Err(cannot(incoming, error)),
            };
            let conn = accept(incoming, report)?;
            let relayed = pump::relay(&conn, socket, idle_timeout).await;
            finish(&conn, relayed, report).await
        }
        #[cfg(not(unix))]
        Destination::Unix(_) => unreachable!("the command line refuses it"),
    }
}
