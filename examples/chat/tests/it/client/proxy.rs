//! A network that can be made to fail.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::TestResult;

/// The fate of the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They arrive.
    Open,
    /// Only the bytes to the server arrive.
    UpOnly,
    /// No bytes arrive, and neither end is told.
    Silent,
    /// The connection is cut.
    Cut,
}

/// A proxy before a server.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// The mode of new connections, and of all connections since the last renewal.
    mode: Arc<Mutex<watch::Sender<Mode>>>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> TestResult<Proxy> {
        let server = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/", listener.local_addr()?.port());
        let mode = Arc::new(Mutex::new(watch::Sender::new(Mode::Open)));
        let current = Arc::clone(&mode);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                let mode = current.lock().expect("no panic").subscribe();
                if *mode.borrow() == Mode::Cut {
                    continue;
                }
                let server = TcpStream::connect(&server).await.expect("the server");
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, mode.clone(), Mode::UpOnly));
                tokio::spawn(pass(from_server, to_client, mode, Mode::Open));
            }
        });
        Ok(Proxy { url, mode })
    }

    /// Changes the mode of the connections since the last renewal.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.lock().expect("no panic").send_replace(mode);
    }

    /// New connections are open from now on. Returns the sender on which the others still depend.
    pub(crate) fn renew(&self) -> watch::Sender<Mode> {
        let mut mode = self.mode.lock().expect("no panic");
        std::mem::replace(&mut mode, watch::Sender::new(Mode::Open))
    }
}

/// Moves bytes one way, while the mode is open or `also`.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    also: Mode,
) -> TestResult {
    let mut buf = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buf) => read.unwrap_or(0),
            cut = mode.wait_for(|mode| *mode == Mode::Cut) => {
                cut.context("nobody controls it any more")?;
                return Ok(());
            }
        };
        let now = *mode.borrow();
        if now != Mode::Open && now != also {
            if read == 0 {
                mode.wait_for(|mode| *mode == Mode::Cut).await?;
            }
        } else if read == 0 {
            return Ok(());
        } else {
            to.write_all(&buf[..read]).await?;
        }
    }
}
