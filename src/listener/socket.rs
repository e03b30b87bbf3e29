//! The sockets of a listener: files of Unix sockets, and advice when a socket cannot be bound.

use std::io;
#[cfg(unix)]
use std::path::PathBuf;

#[cfg(any(feature = "serve", feature = "websocket"))]
use tokio::net::TcpStream;

#[cfg(any(feature = "serve", feature = "websocket"))]
use crate::link::Socket;
#[cfg(any(feature = "serve", feature = "websocket"))]
use crate::tls;

/// Whether the file is a socket. Only a socket is ever removed.
#[cfg(unix)]
pub(super) fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Removes a Unix socket's file when it is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile(pub(super) PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the end of a client's transport look like a broken connection: the system sends RST instead of FIN. It does so
/// for TCP, also below TLS. Unix sockets have no reset.
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(super) fn break_off(io: &dyn Socket) {
    let io = io.as_any();
    if let Some(tcp) = io.downcast_ref::<TcpStream>().or_else(|| tls::tcp_below(io)) {
        // If the system refuses, the client sees a plain end.
        let _ = tcp.set_zero_linger();
    }
}

/// Advice for a failure to bind.
pub(super) fn bind_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program listens there; stop it, or take another port (0 is any free one)"
        }
        io::ErrorKind::PermissionDenied => {
            ": permission was denied; ports below 1024 and many folders need rights"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine does not have that address",
        _ => "",
    }
}
