//! A chat over h2conn.
//!
//! Read [`post`], what goes over a connection, then [`room`], [`member`] and [`server`]; and
//! [`client`] for the other side.

pub mod client;
pub mod member;
pub mod post;
pub mod room;
pub mod server;
mod web;
