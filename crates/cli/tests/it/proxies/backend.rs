//! The server behind a proxy: a listener without TLS, that does what the path says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use h2conn::{Conn, Incoming, Listener, Reason, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The server, in a runtime of its own, so that it can be killed.
pub(super) struct Backend {
    runtime: Option<Runtime>,
    pub(super) address: SocketAddr,
    /// The tests that wait to hear how their connection has ended here, by the rest of the path.
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>,
}

impl Backend {
    pub(super) async fn start() -> Result<Backend> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let builder = Listener::builder().websockets(WebSockets::new());
        let binding = runtime.spawn(builder.bind("127.0.0.1:0"));
        let mut listener = binding.await??;
        let address = listener.local_addr().to_string().parse()?;
        let waiting = Arc::default();
        let told = Arc::clone(&waiting);
        runtime.spawn(async move {
            while let Some(incoming) = listener.accept().await {
                tokio::spawn(serve(incoming, Arc::clone(&told)));
            }
        });
        Ok(Backend { runtime: Some(runtime), address, waiting })
    }

    /// A path, and how its connection has ended at the server.
    pub(super) fn told(&self, what: &str) -> (String, oneshot::Receiver<String>) {
        let (tells, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let path = format!("{what}/{}", waiting.len());
        waiting.insert(path.clone(), tells);
        (path, told)
    }

    /// Cuts all connections, as if the process were killed.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    incoming: Incoming,
    told: Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>,
) -> Result<()> {
    let path = incoming.uri().path().trim_start_matches('/').to_owned();
    let what = path.split('/').next().unwrap_or_default();
    if what == "hesitates" {
        sleep(Duration::from_secs(1)).await;
    }
    let conn = incoming.accept()?;
    let ended = match act(what, conn).await {
        Ok(text) => text,
        Err(error) => format!("error: {error:#}"),
    };
    let waits = told.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
    if let Some(waits) = waits {
        // The test may have failed already.
        let _ = waits.send(ended);
    }
    Ok(())
}

/// Returns what the test hears of the end.
async fn act(what: &str, mut conn: Conn) -> Result<String> {
    match what {
        "echo" | "hesitates" => {
            let (mut read, mut write) = (&conn, &conn);
            tokio::io::copy(&mut read, &mut write).await?;
            conn.close().await?;
            Ok("ended".to_owned())
        }
        "sink" => {
            let bytes = tokio::io::copy(&mut &conn, &mut tokio::io::sink()).await?;
            conn.write_all(format!("{bytes} bytes").as_bytes()).await?;
            conn.close().await?;
            Ok("ended".to_owned())
        }
        "count" => {
            let mut all = Vec::new();
            conn.read_to_end(&mut all).await?;
            conn.write_all(format!("{} bytes", all.len()).as_bytes()).await?;
            conn.close().await?;
            Ok("ended".to_owned())
        }
        "ends-first" => {
            conn.write_all(b"all of it").await?;
            conn.shutdown().await?;
            let mut all = Vec::new();
            conn.read_to_end(&mut all).await?;
            Ok(format!("{} bytes", all.len()))
        }
        "resets" => {
            conn.write_all(b"a part").await?;
            // The client has this part when it sends the second byte.
            conn.read_exact(&mut [0; 2]).await?;
            conn.reset(Reason::from_code(CODE));
            Ok("reset".to_owned())
        }
        "hears" => {
            conn.write_all(b"a").await?;
            let mut all = Vec::new();
            conn.read_to_end(&mut all).await.context("the client's side")?;
            Ok(format!("an end after {} bytes", all.len()))
        }
        "waits" => {
            // The answer comes long after the end of the question.
            let mut all = String::new();
            conn.read_to_string(&mut all).await?;
            sleep(Duration::from_secs(all.trim().parse()?)).await;
            conn.write_all(b"late").await?;
            conn.close().await?;
            Ok("ended".to_owned())
        }
        _ => Ok(format!("no such path: {what}")),
    }
}

/// The code with which the server resets.
pub(super) const CODE: u32 = 0xbeef;
