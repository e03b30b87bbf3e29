//! One connection through a proxy, with the library at both ends.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use h2conn::{Client, Conn, Error, Reach, Reason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::backend::{Backend, CODE};
use super::boxes::Proxy;
use super::kinds::{Form, Kind};
use super::ready::{builder, client, until_it_is_changed, until_it_serves};
use super::table::{Cell, GOOD, comes, expected};
use crate::support::{WATCHDOG, noise};

/// The wait for an event that is known not to come.
const SOON: Duration = Duration::from_secs(5);

/// A proxy with a server behind it, and a client.
pub(super) struct Way {
    pub(super) proxy: Proxy,
    pub(super) backend: Backend,
    client: Client,
}

impl Way {
    /// Starts everything, and waits until a connection works.
    pub(super) async fn start(kind: Kind, form: Form, program: &std::path::Path) -> Result<Way> {
        let backend = Backend::start().await?;
        let mut proxy = Proxy::start(kind, form, program, backend.address)?;
        until_it_serves(&mut proxy).await?;
        let client = client(&proxy)?;
        Ok(Way { proxy, backend, client })
    }

    pub(super) async fn open(&self, path: &str) -> Result<Conn> {
        Ok(self.client.open(format!("{}{path}", self.proxy.url)).await?)
    }

    /// How long an event of this cell may take.
    fn patience(&self, cell: Cell) -> Duration {
        if comes(expected(cell, self.proxy.kind, self.proxy.form)) { WATCHDOG } else { SOON }
    }

    /// Sees a cell that leaves the proxy and the server alive.
    pub(super) async fn see(&self, cell: Cell) -> String {
        let seen = async {
            match cell {
                Cell::Silent => self.silent("echo").await,
                Cell::SilentLate => self.silent("hesitates").await,
                Cell::Lines => self.lines().await,
                Cell::ClientEnds => self.client_ends().await,
                Cell::ServerEnds => self.server_ends().await,
                Cell::Bulk => self.bulk().await,
                Cell::ServerResets => self.server_resets().await,
                Cell::ClientResets => self.client_resets().await,
                Cell::Many => self.many().await,
                Cell::Silence100 => self.silence(100).await,
                Cell::Silence330 => self.silence(330).await,
                Cell::Talk75 => self.talk().await,
                Cell::Late70 => self.late().await,
                Cell::Auto => self.auto().await.map(|_| GOOD.to_owned()),
                Cell::AutoVersion => self.auto().await,
                _ => bail!("{cell:?} is seen elsewhere"),
            }
        };
        bounded(seen).await
    }

    /// The head of the response, of a server that says nothing yet.
    async fn silent(&self, path: &str) -> Result<String> {
        let mut conn = self.open(path).await?;
        let told = timeout(self.patience(Cell::Silent), conn.response()).await;
        conn.write_all(b"a").await?;
        let mut echo = [0];
        conn.read_exact(&mut echo).await?;
        ensure!(&echo == b"a", "{echo:?}");
        conn.close().await?;
        Ok(match told {
            Ok(response) => {
                response?;
                GOOD.to_owned()
            }
            Err(_) => "held back until a byte comes".to_owned(),
        })
    }

    async fn lines(&self) -> Result<String> {
        let mut conn = self.open("echo").await?;
        for index in 0..100 {
            echoed(&mut conn, format!("line {index}\n").as_bytes()).await?;
        }
        conn.close().await?;
        Ok(GOOD.to_owned())
    }

    /// The server answers after the client's end.
    async fn client_ends(&self) -> Result<String> {
        counted(self.open("count").await?).await?;
        Ok(GOOD.to_owned())
    }

    /// The server ends its side first, and the client goes on.
    async fn server_ends(&self) -> Result<String> {
        let (path, told) = self.backend.told("ends-first");
        let mut conn = self.open(&path).await?;
        conn.write_all(b"a").await?;
        let mut all = Vec::new();
        let reading = timeout(self.patience(Cell::ServerEnds), conn.read_to_end(&mut all)).await;
        ensure!(all == b"all of it", "{all:?}");
        let is_told = match reading {
            Ok(read) => {
                read?;
                true
            }
            Err(_) => false,
        };
        // Some proxies end the request with the response.
        let _ = timeout(Duration::from_secs(1), conn.closed()).await;
        let going_on = async {
            conn.write_all(&[7; 99_999]).await?;
            conn.shutdown().await?;
            anyhow::Ok(conn.close().await?)
        };
        let gone_on = going_on.await;
        let told = match timeout(Duration::from_secs(20), told).await {
            Ok(told) => told?,
            Err(_) => "is told nothing".to_owned(),
        };
        let has_all = told == "100000 bytes";
        Ok(match (is_told, gone_on) {
            (true, Ok(())) if has_all => GOOD.to_owned(),
            (true, Ok(())) => format!("the client sees no error, and the server: {told}"),
            (true, Err(error)) => format!("the client can send no more: {}", words(Err(error))),
            (false, Ok(())) if has_all => "not told until the client ends".to_owned(),
            // The client may have ended its side before the proxy's reset came, or not.
            (false, _) => "not told, and the rest is lost, with or without an error".to_owned(),
        })
    }

    async fn bulk(&self) -> Result<String> {
        let conn = self.open("echo").await?;
        let bytes = noise(20_000_000);
        let writing = async {
            (&conn).write_all(&bytes).await?;
            (&conn).shutdown().await
        };
        let reading = async {
            let mut all = Vec::new();
            (&conn).read_to_end(&mut all).await.map(|_| all)
        };
        let ((), all) = tokio::try_join!(writing, reading)?;
        ensure!(all == bytes, "{} bytes came back", all.len());
        conn.close().await?;
        Ok(GOOD.to_owned())
    }

    async fn server_resets(&self) -> Result<String> {
        let mut conn = self.open("resets").await?;
        conn.write_all(b"a").await?;
        conn.read_exact(&mut [0; 6]).await?;
        conn.write_all(b"b").await?;
        let mut all = Vec::new();
        let patience = self.patience(Cell::ServerResets);
        match timeout(patience, conn.read_to_end(&mut all)).await {
            Err(_) => Ok("not told".to_owned()),
            Ok(Err(error)) => {
                let error = Error::from_io(&error).context("a foreign error")?;
                let is_the_servers = error.reason().is_some_and(|reason| reason.code() == CODE);
                Ok(if is_the_servers { GOOD.to_owned() } else { reason(error) })
            }
            Ok(Ok(_)) => match timeout(patience, conn.closed()).await {
                Err(_) => Ok("seen as an end".to_owned()),
                Ok(Ok(())) => Ok("seen as an end of both sides".to_owned()),
                Ok(Err(error)) => Ok(format!("an end, then {}", reason(&error))),
            },
        }
    }

    async fn client_resets(&self) -> Result<String> {
        let (path, told) = self.backend.told("hears");
        let conn = self.open(&path).await?;
        (&conn).write_all(&[7; 1000]).await?;
        // The server has heard of it.
        (&conn).read_exact(&mut [0]).await?;
        conn.reset(Reason::CANCEL);
        match timeout(self.patience(Cell::ClientResets), told).await {
            Err(_) => Ok("not told".to_owned()),
            Ok(told) => Ok(match told? {
                // A reset keeps its code where both ends are known to each other.
                told if told.starts_with("error")
                    && (self.proxy.form == Form::Http2 || told.contains("CANCEL")) =>
                {
                    GOOD.to_owned()
                }
                told => told,
            }),
        }
    }

    /// 300 connections at once.
    async fn many(&self) -> Result<String> {
        let all = (0..300).map(|_| async {
            let mut conn = self.open("echo").await?;
            echoed(&mut conn, b"one of many").await?;
            anyhow::Ok(conn)
        });
        let patience = self.patience(Cell::Many);
        let Ok(conns) = timeout(patience, futures_util::future::try_join_all(all)).await else {
            return Ok("not all at once".to_owned());
        };
        for conn in conns? {
            conn.close().await?;
        }
        Ok(GOOD.to_owned())
    }

    /// Both ends say nothing for a time.
    async fn silence(&self, seconds: u64) -> Result<String> {
        let mut conn = self.open("echo").await?;
        echoed(&mut conn, b"before").await?;
        sleep(Duration::from_secs(seconds)).await;
        echoed(&mut conn, b"behind").await?;
        conn.close().await?;
        Ok(GOOD.to_owned())
    }

    /// A line a second, for longer than some limits of whole requests.
    async fn talk(&self) -> Result<String> {
        let mut conn = self.open("echo").await?;
        for second in 0..75 {
            echoed(&mut conn, format!("{second}\n").as_bytes()).await?;
            sleep(Duration::from_secs(1)).await;
        }
        conn.close().await?;
        Ok(GOOD.to_owned())
    }

    /// The answer comes 70 seconds after the end of the question.
    async fn late(&self) -> Result<String> {
        let mut conn = self.open("waits").await?;
        conn.write_all(b"70").await?;
        conn.shutdown().await?;
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await?;
        ensure!(answer == "late", "{answer:?}");
        conn.close().await?;
        Ok(GOOD.to_owned())
    }

    /// The version of HTTP under the WebSocket that a client finds by itself, which has all its ends.
    async fn auto(&self) -> Result<String> {
        let client = builder(&self.proxy).reach(Reach::Auto).build()?;
        let connecting = client.connect(format!("{}echo", self.proxy.url));
        let (mut conn, _) = connecting.await?;
        echoed(&mut conn, b"by whichever way").await?;
        // The other end's answer, and not that of the proxy.
        conn.ping().await?;
        let version = match conn.transport() {
            Transport::WebSocketHttp1 => "1.1",
            Transport::WebSocketHttp2 => "2",
            other => bail!("{other}"),
        };
        let way = conn.transport().clone();
        conn.close().await?;
        let conn = client.open(format!("{}count", self.proxy.url)).await?;
        ensure!(*conn.transport() == way, "{}", conn.transport());
        counted(conn).await?;
        let mut conn = client.open(format!("{}resets", self.proxy.url)).await?;
        conn.write_all(b"ab").await?;
        let error = conn.read_to_end(&mut Vec::new()).await.err().context("an end")?;
        let error = Error::from_io(&error).context("a foreign error")?;
        ensure!(error.reason().is_some_and(|reason| reason.code() == CODE), "{error}");
        Ok(version.to_owned())
    }

    /// A connection that is open while the proxy reads its configuration again.
    pub(super) async fn see_reload(&mut self) -> String {
        let seen = async {
            let mut conn = self.open("echo").await?;
            echoed(&mut conn, b"before").await?;
            self.proxy.reload()?;
            until_it_is_changed(&mut self.proxy).await?;
            while !self.proxy.old_has_ended()? {
                sleep(Duration::from_millis(50)).await;
            }
            if expected(Cell::Reload, self.proxy.kind, self.proxy.form) != GOOD {
                // Its end comes at some time.
                let _ = conn.closed().await;
            }
            echoed(&mut conn, b"behind").await?;
            conn.close().await?;
            Ok(GOOD.to_owned())
        };
        bounded(seen).await
    }

    /// The end of a connection whose server is killed.
    pub(super) async fn see_server_killed(mut self) -> String {
        let seen = async {
            let mut conn = self.open("echo").await?;
            echoed(&mut conn, b"before").await?;
            self.backend.kill();
            self.lost(conn, Cell::ServerKilled).await
        };
        bounded(seen).await
    }

    /// The ends of a connection whose proxy is killed.
    pub(super) async fn see_proxy_killed(mut self) -> String {
        let seen = async {
            let (path, told) = self.backend.told("echo");
            let mut conn = self.open(&path).await?;
            echoed(&mut conn, b"before").await?;
            self.proxy.kill();
            let seen = self.lost(conn, Cell::ProxyKilled).await?;
            let told = told.await?;
            ensure!(told.starts_with("error"), "the server: {told}");
            Ok(seen)
        };
        bounded(seen).await
    }

    async fn lost(&self, mut conn: Conn, cell: Cell) -> Result<String> {
        match timeout(self.patience(cell), conn.read(&mut [0])).await {
            Err(_) => Ok("not told".to_owned()),
            Ok(Ok(_)) => match conn.closed().await {
                Ok(()) => Ok("seen as an end".to_owned()),
                Err(error) => Ok(format!("an end, then {}", reason(&error))),
            },
            Ok(Err(_)) => Ok(GOOD.to_owned()),
        }
    }
}

/// The server counts the bytes, and answers after the client's end.
async fn counted(mut conn: Conn) -> Result<()> {
    conn.write_all(&[7; 1000]).await?;
    conn.shutdown().await?;
    let mut answer = String::new();
    conn.read_to_string(&mut answer).await?;
    ensure!(answer == "1000 bytes", "{answer:?}");
    Ok(conn.close().await?)
}

/// Sends some bytes, and reads them back.
pub(super) async fn echoed(conn: &mut Conn, bytes: &[u8]) -> Result<()> {
    conn.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    conn.read_exact(&mut back).await?;
    ensure!(back == bytes, "{:?} came back", String::from_utf8_lossy(&back));
    Ok(())
}

/// The words for what is seen, which may be that nothing comes.
pub(super) async fn bounded(seen: impl Future<Output = Result<String>>) -> String {
    words(timeout(WATCHDOG, seen).await.unwrap_or_else(|_| Ok("it hangs".to_owned())))
}

/// The words for what was seen. An error is told without addresses and times.
fn words(seen: Result<String>) -> String {
    match seen {
        Ok(seen) => seen,
        Err(error) => {
            // All of it, for the case that the test fails.
            eprintln!("{error:?}");
            let ours = error.chain().find_map(|cause| {
                let io = cause.downcast_ref::<std::io::Error>().and_then(Error::from_io);
                cause.downcast_ref::<Error>().or(io)
            });
            match ours {
                Some(ours) => reason(ours),
                None => format!("{error:#}"),
            }
        }
    }
}

/// The reason of a reset, or the kind of the error.
fn reason(error: &Error) -> String {
    match error.reason() {
        Some(reason) => reason.to_string(),
        None => format!("{:?}", error.kind()),
    }
}
