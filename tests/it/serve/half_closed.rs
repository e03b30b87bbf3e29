//! Clients that speak HTTP/1 and end their side, or leave, before they are answered.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::StreamExt;
use h2conn::{Listener, ListenerBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::foreign::{Io, io_to, tls_to};
use crate::support::{Over, Site, TestResult, listen_with, noise, run};

/// Time enough that no test ends for lack of it.
const HOUR: Duration = Duration::from_secs(3600);

/// The time for an answer is a sixth of this.
const SHORT: Duration = Duration::from_millis(60);

async fn served(over: Over, builder: ListenerBuilder, app: Router) -> TestResult<Site> {
    let (listener, site) = listen_with(over, builder).await?;
    tokio::spawn(async move { h2conn::serve(listener, app).await });
    Ok(site)
}

async fn ask(site: &Site, request: &str) -> TestResult<Box<dyn Io>> {
    let mut io: Box<dyn Io> = match site.certificate {
        None => io_to(site).await?,
        Some(_) => Box::new(tls_to(site, &["http/1.1"]).await?),
    };
    io.write_all(request.as_bytes()).await?;
    Ok(io)
}

#[test]
fn a_client_that_has_ended_its_side_is_answered() -> TestResult {
    run(async {
        // The answer begins with a byte that is sent after the client's end, so it comes later to
        // the server, too.
        let gate = TcpListener::bind("127.0.0.1:0").await?;
        let addr = gate.local_addr()?;
        let app = Router::new().route(
            "/",
            any(move |body: Bytes| async move {
                let mut gate = TcpStream::connect(addr).await.expect("the test waits");
                let _ = gate.read(&mut [0]).await;
                body
            }),
        );
        for over in Over::BOTH {
            let builder = Listener::builder().linger_timeout(HOUR);
            let site = served(over, builder, app.clone()).await?;
            for (request, end) in [
                ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", ""),
                ("GET / HTTP/1.0\r\n\r\n", ""),
                ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nping", "ping"),
            ] {
                let mut io = ask(&site, request).await?;
                let (mut opens, _) = gate.accept().await?;
                io.shutdown().await?;
                opens.write_all(&[1]).await?;
                let mut answer = String::new();
                io.read_to_string(&mut answer).await?;
                let is_good = answer.contains(" 200 OK\r\n") && answer.ends_with(end);
                ensure!(is_good, "{over:?} {request}: {answer}");
            }
            // Requests that were sent together are all answered.
            let two = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na\
                       POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nb";
            let mut io = ask(&site, two).await?;
            io.shutdown().await?;
            for _ in 0..2 {
                gate.accept().await?.0.write_all(&[1]).await?;
            }
            let mut answer = String::new();
            io.read_to_string(&mut answer).await?;
            ensure!(answer.matches(" 200 OK\r\n").count() == 2, "{over:?}: {answer}");
        }
        Ok(())
    })
}

#[test]
fn a_slow_client_that_has_ended_its_side_gets_a_long_answer() -> TestResult {
    run(async {
        let much = noise(32 << 20, 1);
        let sent = Bytes::from(much.clone());
        let app = Router::new().route("/", get(|| async move { sent }));
        let builder = Listener::builder().linger_timeout(SHORT);
        let site = served(Over::Cleartext, builder, app).await?;
        let mut io = ask(&site, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        io.shutdown().await?;
        // Much longer than an answer may pause. The server waits for room all the time.
        tokio::time::sleep(5 * SHORT).await;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await?;
        ensure!(answer.ends_with(&much), "{} bytes", answer.len());
        Ok(())
    })
}

/// Tells of its drop.
struct Here(mpsc::UnboundedSender<()>);

impl Drop for Here {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A handler that never answers, and one that never ends its answer. Both tell when they begin, and
/// when they are dropped.
fn waiting() -> (Router, mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>) {
    let (began, begun) = mpsc::unbounded_channel();
    let (ended, over) = mpsc::unbounded_channel();
    let here = Arc::new(Mutex::new((began, ended)));
    let begin = move || {
        let (began, ended) = &*here.lock().expect("no panic");
        began.send(()).expect("the test listens");
        Here(ended.clone())
    };
    let begins = begin.clone();
    let app = Router::new()
        .route(
            "/poll",
            any(move || {
                let here = begin();
                async move {
                    pending::<()>().await;
                    drop(here);
                }
            }),
        )
        .route(
            "/events",
            any(move || {
                let here = begins();
                let first = futures_util::stream::iter([Ok::<_, Infallible>("event")]);
                let rest = futures_util::stream::pending().map(move |event| {
                    let _here = &here;
                    event
                });
                async { Body::from_stream(first.chain(rest)) }
            }),
        );
    (app, begun, over)
}

#[test]
fn a_client_that_fails_ends_the_handlers_work_at_once() -> TestResult {
    run(async {
        for path in ["/poll", "/events"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            let builder = Listener::builder().linger_timeout(HOUR);
            let (app, mut begun, mut over) = waiting();
            let site = served(Over::Cleartext, builder.clone(), app.clone()).await?;
            let mut io = TcpStream::connect(site.addr).await?;
            io.write_all(request.as_bytes()).await?;
            begun.recv().await.context("it has begun")?;
            io.set_zero_linger()?;
            drop(io);
            over.recv().await.context("dropped")?;
            // TLS that ends without its last word has failed, too.
            let site = served(Over::Tls, builder, app).await?;
            let io = ask(&site, &request).await?;
            begun.recv().await.context("it has begun")?;
            drop(io);
            over.recv().await.context("dropped")?;
        }
        Ok(())
    })
}

#[test]
fn a_client_that_leaves_in_order_ends_the_handlers_work_soon() -> TestResult {
    run(async {
        for over_what in Over::BOTH {
            let (app, mut begun, mut over) = waiting();
            let builder = Listener::builder().linger_timeout(SHORT);
            let site = served(over_what, builder, app).await?;
            for path in ["/poll", "/events"] {
                let request =
                    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
                let mut io = ask(&site, &request).await?;
                begun.recv().await.context("it has begun")?;
                io.shutdown().await?;
                over.recv().await.context("dropped")?;
                // There is an end, whatever has come before it.
                let mut heard = Vec::new();
                let _ = io.read_to_end(&mut heard).await;
                ensure!(!heard.ends_with(b"0\r\n\r\n"), "{}", heard.escape_ascii());
            }
        }
        Ok(())
    })
}

/// A WebSocket needs both sides.
#[test]
fn a_client_that_ends_its_side_has_no_time_for_an_upgrade() -> TestResult {
    run(async {
        let (app, mut begun, mut over) = waiting();
        let builder = Listener::builder().linger_timeout(HOUR);
        let site = served(Over::Cleartext, builder, app).await?;
        let request =
            "GET /poll HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let mut io = ask(&site, request).await?;
        begun.recv().await.context("it has begun")?;
        io.shutdown().await?;
        over.recv().await.context("dropped")
    })
}
