//! The two kinds of HTTP/2 connection, and how h2 is set up for both.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, client, server};
use http::Request;

use super::window::Windows;
use super::wire::Wire;
use crate::config::Config;
use crate::pipe::Batch;

/// What a client has sent: the request, its body, and the means to answer.
pub(super) type Arrival = (Request<RecvStream>, SendResponse<Batch>);

/// h2's side of a link.
pub(super) enum Peer {
    Client {
        conn: Box<client::Connection<Wire, Batch>>,
        /// `None` once no more streams are to be opened, so that h2 can say goodbye.
        send: Option<client::SendRequest<Batch>>,
    },
    Server {
        conn: Box<server::Connection<Wire, Batch>>,
    },
}

impl Peer {
    /// Drives the connection: reads, writes, and gathers new streams. Ready when it is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        arrivals: &mut VecDeque<Arrival>,
    ) -> Poll<Result<(), h2::Error>> {
        match self {
            Peer::Client { conn, .. } => {
                std::future::Future::poll(std::pin::Pin::new(&mut **conn), cx)
            }
            Peer::Server { conn } => loop {
                match conn.poll_accept(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(arrival))) => arrivals.push_back(arrival),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                }
            },
        }
    }

    pub(super) fn set_link_window(&mut self, window: u32) {
        match self {
            Peer::Client { conn, .. } => conn.set_target_window_size(window),
            Peer::Server { conn } => conn.set_target_window_size(window),
        }
    }

    /// `false` while the peer has not acknowledged the last change.
    pub(super) fn set_stream_window(&mut self, window: u32) -> bool {
        match self {
            Peer::Client { conn, .. } => conn.set_initial_window_size(window).is_ok(),
            Peer::Server { conn } => conn.set_initial_window_size(window).is_ok(),
        }
    }

    pub(super) fn ping_pong(&mut self) -> Option<h2::PingPong> {
        match self {
            Peer::Client { conn, .. } => conn.ping_pong(),
            Peer::Server { conn } => conn.ping_pong(),
        }
    }

    /// Takes no more streams, and ends when those that are there have ended.
    pub(super) fn shut_down(&mut self) {
        match self {
            Peer::Client { send, .. } => *send = None,
            Peer::Server { conn } => conn.graceful_shutdown(),
        }
    }

    /// Ends now, and says why where h2 can.
    pub(super) fn abort(&mut self, reason: Reason) {
        match self {
            Peer::Client { send, .. } => *send = None,
            Peer::Server { conn } => conn.abrupt_shutdown(reason),
        }
    }
}

/// h2 ends the connection when unread small frames, or frames for streams that were reset here,
/// exceed its budgets (T1, T10). Ours are counted in the wire, so its are set where they never act.
const NEVER: usize = usize::MAX >> 1;

/// Streams reset here that h2 remembers, so that what is on its way for them is no surprise.
const RESET_STREAMS: usize = 4096;
const RESET_MEMORY: Duration = Duration::from_secs(30);

/// Streams that the peer may open and reset before h2 has even shown them to us: it is what one
/// turn of the wire can hold.
const RESETS_PENDING: usize = 8192;

macro_rules! common {
    ($builder:expr, $config:expr, $windows:expr) => {
        $builder
            .initial_window_size($windows.stream())
            .initial_connection_window_size($windows.base())
            .max_frame_size($config.max_frame_size)
            .max_header_list_size($config.max_header_list_size)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .reset_stream_duration(RESET_MEMORY)
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams(RESETS_PENDING)
            .data_frame_budget(NEVER)
    };
}

pub(super) fn client_builder(config: &Config, windows: &Windows) -> client::Builder {
    let mut builder = client::Builder::new();
    common!(builder, config, windows).enable_push(false);
    builder
}

pub(super) fn server_builder(config: &Config, windows: &Windows) -> server::Builder {
    let mut builder = server::Builder::new();
    common!(builder, config, windows).max_concurrent_streams(config.max_conns);
    if config.extended_connect {
        builder.enable_connect_protocol();
    }
    builder
}
