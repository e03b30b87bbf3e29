//! A chat over h2conn.
//!
//! Read [`post`] first: it is the protocol of a connection. Then read [`room`], [`member`] and
//! [`server`], and [`client`] for the other side.

pub mod client;
pub mod member;
pub mod post;
pub mod room;
pub mod server;
mod web;
