//! The server's side of the probes: the end of a request's path says what the server does.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use h2conn::http::header::HeaderValue;
use h2conn::http::{Response, StatusCode};
use h2conn::{Conn, Incoming, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{CODE, MARK};
use crate::pump;

/// The reports that are kept for their clients.
const REPORTS: usize = 1000;

/// How long a client may wait for a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes that are counted of one request.
const MOST: u64 = 1 << 30;

/// The reports on connections at this end, by the tokens of their clients.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    reports: Mutex<VecDeque<(String, String)>>,
    news: Notify,
}

impl Desk {
    /// Does what the path says. Returns a word for the log.
    ///
    /// # Errors
    ///
    /// The connection's own, which a probe may have meant.
    pub(crate) async fn serve(&self, incoming: Incoming) -> Result<&'static str> {
        let path = incoming.uri().path().to_owned();
        let (what, token) = asked_for(&path);
        let mut response = Response::new(());
        response.headers_mut().insert(MARK, HeaderValue::from_static("1"));
        if what == "unknown" {
            let mut refusal =
                response.map(|()| "no such probe: this is `h2conn listen --doctor`\n");
            *refusal.status_mut() = StatusCode::NOT_FOUND;
            incoming.reject_with(refusal);
            return Ok(what);
        }
        let conn = incoming.accept_with(response)?;
        let told = self.act(what, token, conn).await;
        if let Some(token) = token.filter(|_| what != "report") {
            let text = told.as_ref().map_or_else(|error| format!("error: {error:#}"), Clone::clone);
            let mut reports = self.lock();
            reports.truncate(REPORTS - 1);
            reports.push_front((token.to_owned(), text));
            drop(reports);
            self.news.notify_waiters();
        }
        told.map(|_| what)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, String)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the words for the client that asks for a report.
    async fn act(&self, what: &str, token: Option<&str>, mut conn: Conn) -> Result<String> {
        match what {
            "count" => {
                let bytes = read_to_end(&mut conn).await?;
                conn.write_all(format!("{bytes} bytes").as_bytes()).await?;
                conn.close().await?;
                Ok("answered".to_owned())
            }
            "ends-first" => {
                conn.write_all(b"all of it").await?;
                conn.shutdown().await?;
                Ok(format!("{} bytes", read_to_end(&mut conn).await?))
            }
            "resets" => {
                conn.write_all(b"a part").await?;
                // The client has the part when it says so.
                conn.read_exact(&mut [0]).await?;
                conn.reset(Reason::from_code(CODE));
                Ok("reset".to_owned())
            }
            "hears" => {
                conn.write_all(b"a").await?;
                let bytes = read_to_end(&mut conn).await.context("the client's side")?;
                Ok(format!("an end after {bytes} bytes"))
            }
            "report" => {
                let text = self.report(token.unwrap_or_default()).await;
                conn.write_all(text.as_bytes()).await?;
                conn.close().await?;
                Ok("told".to_owned())
            }
            _ => {
                pump::echo(&conn).await?;
                conn.close().await?;
                Ok("echoed".to_owned())
            }
        }
    }

    /// Waits for the report of a connection.
    async fn report(&self, token: &str) -> String {
        let find = || {
            let reports = self.lock();
            reports.iter().find(|(of, _)| of == token).map(|(_, text)| text.clone())
        };
        let waiting = async {
            loop {
                let news = self.news.notified();
                if let Some(text) = find() {
                    return text;
                }
                news.await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| "nothing".to_owned())
    }
}

/// The probe that a path asks for, and the client's token.
fn asked_for(path: &str) -> (&'static str, Option<&str>) {
    const WITH_TOKEN: [&str; 3] = ["ends-first", "hears", "report"];
    const WITHOUT: [&str; 3] = ["echo", "count", "resets"];
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_token = last.len() == 32 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(what) = WITH_TOKEN.into_iter().find(|what| *what == before && is_token) {
        return (what, Some(last));
    }
    match WITHOUT.into_iter().find(|what| *what == last) {
        Some(what) => (what, None),
        None if last.is_empty() => ("echo", None),
        None => ("unknown", None),
    }
}

async fn read_to_end(conn: &mut Conn) -> std::io::Result<u64> {
    let mut all = conn.take(MOST);
    tokio::io::copy(&mut all, &mut tokio::io::sink()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_path_says_which_probe_it_is() {
        assert_eq!(asked_for("/"), ("echo", None));
        assert_eq!(asked_for("/a/b/"), ("echo", None));
        assert_eq!(asked_for("/echo"), ("echo", None));
        assert_eq!(asked_for("/a/count"), ("count", None));
        let token = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(asked_for(&format!("/a/hears/{token}")), ("hears", Some(token)));
        assert_eq!(asked_for(&format!("/hears/{token}0")), ("unknown", None));
        assert_eq!(asked_for("/hears/no-token-of-thirty-two-digits-no"), ("unknown", None));
        assert_eq!(asked_for("/a/report/"), ("echo", None));
        assert_eq!(asked_for("/favicon.ico"), ("unknown", None));
    }
}
