//! The tool as its users see it: the program, its input and output, and its exit code.

mod caps;
mod connect;
mod crowd;
mod doctor;
#[cfg(unix)]
mod document;
#[cfg(unix)]
mod examples;
#[cfg(unix)]
mod exec;
#[cfg(unix)]
mod exec_ends;
mod fingerprint;
mod foreign;
mod input;
mod listen;
mod manual;
#[cfg(unix)]
mod modes;
mod ping;
mod places;
#[cfg(unix)]
mod private;
#[cfg(target_os = "linux")]
mod proxies;
mod proxy;
#[cfg(unix)]
mod quiet;
mod reach;
mod reconnect;
#[cfg(unix)]
mod secrets;
mod served;
#[cfg(unix)]
mod shell;
mod shown;
mod slow_line;
mod socks;
#[cfg(unix)]
mod stop;
mod strangers;
mod support;
mod terms;
mod tls;
#[path = "../../../../tests/it/support/tools.rs"]
mod tools;
mod transfer;
mod tunnel;
mod verbose;
mod waiting;
mod websocket;
mod whole;
