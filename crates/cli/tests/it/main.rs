//! The tool as its users have it: the program, its input and output, and its exit code.

mod connect;
#[cfg(unix)]
mod exec;
mod input;
mod listen;
mod manual;
mod ping;
mod proxy;
mod reconnect;
#[cfg(unix)]
mod stop;
mod support;
mod verbose;
