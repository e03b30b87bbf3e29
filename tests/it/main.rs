//! The library as its users see it: over sockets, against itself and against other implementations.
//!
//! There is one binary, with one file per topic. Every test runs under a watchdog
//! ([`support::run`]), listens on port 0, and waits for events instead of sleeping.

mod accept;
mod accept_drain;
mod accept_limits;
mod accept_requests;
mod attacks;
mod axum;
mod bulk;
mod churn;
mod commands;
mod connector;
mod doctor;
mod ending;
mod extended_connect;
mod formats;
mod go;
mod go_library;
mod h2load;
mod h2spec;
mod honest;
mod hostile;
mod http1;
mod imports;
mod keep_alive;
mod leaks;
mod limits;
mod links;
mod messages;
mod model;
mod nettest;
mod node;
mod observe;
mod openssl;
mod origins;
mod peers;
mod pool;
mod pressure;
mod prose;
mod python;
mod reach;
mod requests;
mod restart;
mod send;
mod serve;
mod slow_line;
mod soak;
mod stats;
mod straight;
mod support;
mod testing;
mod timeouts;
mod tls;
mod told;
mod transports;
#[cfg(unix)]
mod unix;
mod websocket;
mod windows;
