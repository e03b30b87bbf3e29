//! Clients that speak HTTP/1: a server for them where there is one, and otherwise an answer that says
//! how to connect.

mod answer;
#[cfg(any(feature = "serve", feature = "websocket"))]
mod body;
#[cfg(any(feature = "serve", feature = "websocket"))]
mod clients;
#[cfg(any(feature = "serve", feature = "websocket"))]
mod drive;
#[cfg(any(feature = "serve", feature = "websocket"))]
mod transport;

#[cfg(feature = "websocket")]
pub(super) use answer::asks_for_websocket;
pub(super) use answer::{answer, other_version};
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(super) use clients::{Http1, NewClient};
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(crate) use clients::{Http1Client, Http1Server};
