//! `h2conn serve`.

use std::error::Error;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result as Anyhow};
use bytes::Bytes;
use h2conn::http::{HeaderValue, Response, StatusCode, header};
use h2conn::{Incoming, Listener, OnDrop, WebSockets};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::forward::token;
use crate::args::{Limit, ListenOptions, Secret, Serve};
use crate::bind;
use crate::descriptors;
use crate::exit::{Failure, Result};
use crate::places::{Full, Line, Peer, Places};
use crate::pump::{CutOnDrop, relay};
use crate::report::{About, Report, shown, warn};
use crate::signals::{Interrupt, say_what_is_awaited, say_what_was_cut};
use crate::transfer::store::{Limits, Secrets, Store};
use crate::tunnel::BOUND;
use crate::tunnel::bind::{Listening, Visitors};
use crate::tunnel::dial::{dial, may_bind};
use crate::tunnel::rules::Rules;
use crate::tunnel::target::{Host, Target};
use crate::tunnel::token::{TOKEN_VARIABLE, Token};

/// How long connections that are open at the end of the program may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a client may keep a transfer waiting by default. This is longer than a change of
/// networks takes, and longer than most disks take.
const IDLE_TRANSFER: Duration = Duration::from_secs(60);

/// The shared state from which all requests are answered.
struct Server {
    token: Option<Token>,
    targets: Rules,
    binds: Rules,
    tunnels: Places<Line>,
    visitors: Arc<Visitors>,
    max_visitors: usize,
    store: Option<Store>,
    idle_timeout: Option<Duration>,
    /// The pages that may connect by a name.
    origins: Vec<String>,
    /// Only programs of this machine can connect.
    is_local: bool,
    report: Report,
}

/// Serves until Ctrl-C.
pub(crate) async fn run(args: Serve, verbose: u8) -> Result {
    let interrupt = Interrupt::watch();
    let token = if args.no_token { None } else { token(&args.secret)? };
    if token.is_none() && !args.no_token && args.listening.client_ca.is_none() {
        return Err(Failure::usage(format_args!(
            "nothing says who may use this server: expected --token-file, the variable \
             {TOKEN_VARIABLE}, --client-ca, or --no-token for whoever reaches the port"
        )));
    }
    // A limit that is given is set in the library, where it applies to all connections.
    let idle_timeout = args.idle_timeout.and_then(Limit::time);
    let idle_transfers = args.idle_timeout.is_none().then_some(IDLE_TRANSFER);
    let limits = Limits {
        takes: args.writable,
        most: args.max_transfers.map_or_else(descriptors::for_transfers, NonZeroUsize::get),
        idle: idle_transfers,
        quota: args.files_quota,
    };
    let store = args.files.as_ref().map(|dir| {
        Store::open(dir, limits)
            .map_err(|error| Failure::usage(format_args!("cannot open {}: {error}", dir.display())))
    });
    let mut store = store.transpose()?;
    let mut builder = Listener::builder().on_drop(OnDrop::Reset).idle_timeout(idle_timeout);
    builder = builder.websockets(WebSockets::new());
    if let Some(links) = args.max_links {
        builder = builder.max_links(links.get());
    }
    let builder = bind::with_tls(builder, &args.listening)?;
    if let (Some(open), Some(dir)) = (store.take(), &args.files) {
        // The first start has only now made the file of --identity, and no client can connect yet.
        let secrets = secrets(&args.secret, &args.listening, dir).map_err(Failure::by_usage)?;
        secrets.warn_if_in(dir);
        store = Some(open.without(secrets));
    }
    let mut listener = bind::listen(builder, &args.listening).await?;
    let max_tunnels = args.max_tunnels.map_or_else(descriptors::for_tunnels, NonZeroUsize::get);
    let server = Arc::new(Server {
        token,
        targets: Rules { allow: args.allow, deny: args.deny },
        binds: Rules { allow: args.allow_bind, deny: Vec::new() },
        tunnels: Places::new(max_tunnels, "tunnels", "--max-tunnels"),
        visitors: Arc::default(),
        max_visitors: args.max_visitors.get(),
        store,
        idle_timeout,
        origins: args.listening.origin,
        is_local: bind::is_local(&args.listening.addr),
        report: Report { verbose, stats: None },
    });
    let mut tidying = JoinSet::new();
    if let Some(store) = server.store.clone() {
        let expiry = args.partial_expiry.time();
        tidying.spawn(async move { store.keep_tidy(expiry).await });
    }
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => {
                    let server = Arc::clone(&server);
                    guests.spawn(async move { server.welcome(incoming).await });
                }
                None => break,
            },
            Some(_) = guests.join_next() => {}
            () = interrupt.asked() => break,
        }
    }
    drop(tidying);
    while guests.try_join_next().is_some() {}
    if interrupt.is_asked() {
        say_what_is_awaited(guests.len(), DRAIN);
    }
    listener.drain(DRAIN).await;
    // Each task ends or resets its socket. At the end of the process the system would end all open
    // sockets in order, even those of broken connections.
    let leaving = async { while guests.join_next().await.is_some() {} };
    if timeout(DRAIN, leaving).await.is_err() {
        say_what_was_cut(guests.len());
        guests.shutdown().await;
    }
    Ok(())
}

/// The files with secrets that the options name. The certificates of --cert are public.
fn secrets(token: &Secret, listening: &ListenOptions, dir: &Path) -> Anyhow<Secrets> {
    Secrets::at([&token.token_file, &listening.identity, &listening.key].into_iter().flatten(), dir)
}

impl Server {
    async fn welcome(&self, incoming: Incoming) {
        let about = About::from(incoming.peer_addr());
        let who = format!("{} {}", incoming.peer_addr(), incoming.uri().path());
        match self.serve(incoming).await {
            Ok(how) => self.report.note_about(about, "served", format_args!("{who}: {how}")),
            Err(error) => {
                let refused = error.downcast_ref().map(|Refused(status, _)| *status);
                let kind = refused.and_then(|status| status.canonical_reason()).unwrap_or("failed");
                warn(about, kind, format_args!("{who}: {}", shown(&error)));
            }
        }
    }

    /// Answers one request, and does what it asks for. The result is only for the log: the client
    /// has been told.
    async fn serve(&self, incoming: Incoming) -> Anyhow<String> {
        // Check the token first: a client without it must learn nothing.
        if self.token.as_ref().is_some_and(|token| !token.is_shown_in(incoming.headers())) {
            let text = format!(
                "the token is missing or wrong; --token-file or the variable {TOKEN_VARIABLE} gives it"
            );
            return refuse(incoming, StatusCode::UNAUTHORIZED, &text);
        }
        if let Some(text) = bind::forbidden_page(&incoming, &self.origins) {
            return refuse(incoming, StatusCode::FORBIDDEN, &text);
        }
        let path = incoming.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (&*parts, &self.store) {
            (["check"], _) => {
                incoming.accept()?.close().await?;
                Ok("the token is right".to_owned())
            }
            (["tcp", host, port], _) => match Target::from_segments(host, port) {
                Ok(target) => self.connect(incoming, &target).await,
                Err(error) => refuse(incoming, StatusCode::BAD_REQUEST, &format!("{error:#}")),
            },
            (["bind", host, port], _) => match Target::from_segments(host, port) {
                Ok(target) => self.listen(incoming, &target).await,
                Err(error) => refuse(incoming, StatusCode::BAD_REQUEST, &format!("{error:#}")),
            },
            (["accepted", id], _) => self.hand_over(incoming, id).await,
            (["files", ..], Some(store)) => {
                let name = path.strip_prefix("/files/").unwrap_or("");
                let peer = self.peer_of(&incoming);
                store.serve(incoming, peer, name).await
            }
            (["files", ..], None) => refuse(
                incoming,
                StatusCode::NOT_FOUND,
                "this server has no files (--files is not set)",
            ),
            _ => refuse(
                incoming,
                StatusCode::NOT_FOUND,
                "this is `h2conn serve`: it has no such path; the URL is that of its root",
            ),
        }
    }

    /// `forward -L` and `-D`.
    async fn connect(&self, incoming: Incoming, target: &Target) -> Anyhow<String> {
        // Take a place before dialling the target, because dialling already takes a descriptor.
        let place = match self.tunnels.take(self.peer_of(&incoming)) {
            Ok(place) => place,
            Err(full) => return refuse_for_room(incoming, full),
        };
        match dial(&self.targets, target, &place).await {
            Ok(tcp) => {
                let tcp = CutOnDrop::new(tcp);
                let conn = incoming.accept()?;
                relay(&conn, tcp, self.idle_timeout).await?;
                Ok("ended".to_owned())
            }
            Err(no_way) => {
                let mut response = refusal(no_way.status, &no_way.text);
                if let Some(unreached) = no_way.unreached {
                    unreached.add_to(response.headers_mut());
                }
                incoming.reject_with(response);
                Err(Refused(no_way.status, no_way.text).into())
            }
        }
    }

    /// `forward -R`.
    async fn listen(&self, incoming: Incoming, target: &Target) -> Anyhow<String> {
        let Host::Ip(ip) = target.host else {
            let text = format!("{target} is nothing to listen on: expected an address");
            return refuse(incoming, StatusCode::BAD_REQUEST, &text);
        };
        if let Err(refusal) = may_bind(&self.binds, ip, target.port) {
            let text = format!("listening on {target} is {refusal}");
            return refuse(incoming, StatusCode::FORBIDDEN, &text);
        }
        let _place = match self.tunnels.take(self.peer_of(&incoming)) {
            Ok(place) => place,
            Err(full) => return refuse_for_room(incoming, full),
        };
        let bound = match TcpListener::bind((ip, target.port)).await {
            Ok(listener) => listener.local_addr().map(|addr| (listener, addr)),
            Err(error) => Err(error),
        };
        let (listener, addr) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let text = format!("the server cannot listen on {target}: {error}");
                let status = match error.kind() {
                    // This can be the client's own earlier listener, which has yet to end after its
                    // link was lost.
                    io::ErrorKind::AddrInUse => StatusCode::SERVICE_UNAVAILABLE,
                    // Clients do not try again after this status.
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                return refuse(incoming, status, &text);
            }
        };
        let mut response = Response::new(());
        let field = HeaderValue::try_from(addr.to_string()).context("an address is a field")?;
        response.headers_mut().insert(BOUND, field);
        let conn = incoming.accept_with(response)?;
        let peer = conn.peer_addr();
        self.report.note_about(peer, "listening", format_args!("{peer}: listening on {addr}"));
        let listening = Listening {
            tcp: listener,
            addr,
            visitors: &self.visitors,
            tunnels: &self.tunnels,
            places: Places::new(self.max_visitors, "visitors", "--max-visitors"),
        };
        listening.serve(&conn, self.idle_timeout).await?;
        Ok(format!("listens on {addr} no more"))
    }

    /// Gives a visitor to the client of a `forward -R`.
    async fn hand_over(&self, incoming: Incoming, id: &str) -> Anyhow<String> {
        let Some((tcp, _held)) = self.visitors.fetch(id) else {
            return refuse(incoming, StatusCode::NOT_FOUND, "nobody waits here under this name");
        };
        let conn = incoming.accept()?;
        relay(&conn, tcp, self.idle_timeout).await?;
        Ok("ended".to_owned())
    }

    /// The peer whose places a request takes.
    fn peer_of(&self, incoming: &Incoming) -> Peer {
        if self.is_local { Peer::LOCAL } else { Peer::at(incoming.peer_addr()) }
    }
}

/// A request that was answered with a status other than 2xx, and why.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.as_u16(), self.1)
    }
}

impl Error for Refused {}

/// Tells the client, and returns the error for the log.
fn refuse(incoming: Incoming, status: StatusCode, text: &str) -> Anyhow<String> {
    incoming.reject_with(refusal(status, text));
    Err(Refused(status, text.to_owned()).into())
}

fn refuse_for_room(incoming: Incoming, full: Full) -> Anyhow<String> {
    let text = format!("the server has no room: {full}; try again later");
    refuse(incoming, StatusCode::SERVICE_UNAVAILABLE, &text)
}

fn refusal(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::UNAUTHORIZED {
        fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
