//! `Reach::Auto`: HTTP/2 where it passes, a WebSocket where it does not.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{Method, Request, Response, StatusCode, Version};
use h2conn::{Acceptor, Client, Conn, ErrorKind, LinkPolicy, Reach, Transport};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::foreign::{Io, server, tls_server};
use crate::support::framework::Host;
use crate::support::{
    Over, Site, TestResult, check_echo, echo, echo_server, noise, run, tcp_server,
};

pub(super) type Answer = Response<BoxBody<Bytes, h2conn::Error>>;
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// Longer than any answer takes.
pub(super) const LONG: Duration = Duration::from_secs(300);

/// Nearly no time.
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// The answer of a box to a request by HTTP/2. `None` never answers. An answer with a reason among its extensions is a
/// reset.
pub(super) type Behaviour = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

pub(super) fn status(status: u16) -> Option<Answer> {
    let body = Empty::new().map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    Some(response)
}

/// A box of which the WebSockets over HTTP/1.1 are echoed, and which does something else to requests by HTTP/2.
pub(super) struct Strange {
    pub(super) site: Site,
    counts: Counts,
}

/// The requests that have come so far.
#[derive(Clone, Default)]
struct Counts {
    /// Those by HTTP/2, without those for a WebSocket.
    streams: Arc<AtomicUsize>,
    /// Those for a WebSocket over HTTP/2.
    connects: Arc<AtomicUsize>,
    /// Those for a WebSocket over HTTP/1.1.
    websockets: Arc<AtomicUsize>,
}

/// The behaviour of a box, by each way.
#[derive(Clone)]
struct Ways {
    takes_websockets: bool,
    by_http2: Behaviour,
    /// A box that announces WebSockets over HTTP/2.
    by_connect: Option<Behaviour>,
}

impl Strange {
    async fn new(over: Over, takes_websockets: bool, behaviour: Behaviour) -> TestResult<Strange> {
        Strange::start(over, Ways { takes_websockets, by_http2: behaviour, by_connect: None }).await
    }

    /// A box that announces WebSockets over HTTP/2, and does this to them. It refuses other requests by HTTP/2, or never
    /// answers them.
    pub(super) async fn announcing(
        over: Over,
        takes_websockets: bool,
        refuses: bool,
        behaviour: Behaviour,
    ) -> TestResult<Strange> {
        let by_http2: Behaviour =
            Arc::new(move |_| Box::pin(ready(if refuses { status(405) } else { None })));
        Strange::start(over, Ways { takes_websockets, by_http2, by_connect: Some(behaviour) }).await
    }

    async fn start(over: Over, ways: Ways) -> TestResult<Strange> {
        let counts = Counts::default();
        let counted = counts.clone();
        let site = server(over, move |io| serve(io, ways.clone(), counted.clone())).await?;
        Ok(Strange { site, counts })
    }

    /// A client that falls back after this delay. On a loaded machine an answer may take a second.
    pub(super) fn client(&self, delay: Duration) -> h2conn::Result<Client> {
        self.site.client_builder().reach(Reach::Auto).fallback_delay(delay).build()
    }

    fn counts(&self) -> (usize, usize) {
        let Counts { streams, connects: _, websockets } = &self.counts;
        (streams.load(SeqCst), websockets.load(SeqCst))
    }

    /// Those over HTTP/2 for a WebSocket too, in the middle.
    pub(super) fn all_counts(&self) -> [usize; 3] {
        let Counts { streams, connects, websockets } = &self.counts;
        [streams, connects, websockets].map(|count| count.load(SeqCst))
    }
}

async fn serve(
    io: impl Io,
    Ways { takes_websockets, by_http2, by_connect }: Ways,
    Counts { streams, connects, websockets }: Counts,
) -> TestResult {
    let mut serving = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if by_connect.is_some() {
        serving.http2().enable_connect_protocol();
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let is_connect = request.method() == Method::CONNECT;
        let answering: Answering =
            if let Some(by_connect) = by_connect.as_ref().filter(|_| is_connect) {
                connects.fetch_add(1, SeqCst);
                by_connect(request)
            } else if request.version() == Version::HTTP_2 {
                streams.fetch_add(1, SeqCst);
                by_http2(request)
            } else {
                websockets.fetch_add(1, SeqCst);
                Box::pin(ready(match takes_websockets {
                    true => Some(accept(request)),
                    false => status(404),
                }))
            };
        async {
            match answering.await {
                Some(answer) => match answer.extensions().get::<h2::Reason>() {
                    Some(reason) => Err(h2::Error::from(*reason)),
                    None => Ok(answer),
                },
                None => pending().await,
            }
        }
    });
    let serving = serving.serve_connection_with_upgrades(TokioIo::new(io), service);
    serving.await.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Makes an echo of a request for a WebSocket.
pub(super) fn accept(request: Request<Incoming>) -> Answer {
    match Acceptor::default().accept(request) {
        Ok((conn, response)) => {
            tokio::spawn(echo(conn));
            response.map(BodyExt::boxed)
        }
        Err(error) => error.into_response().map(BodyExt::boxed),
    }
}

pub(super) async fn check(conn: Conn, transport: &Transport) -> TestResult {
    ensure!(conn.transport() == transport, "{}", conn.transport());
    check_echo(conn, &noise(100_000, 5)).await
}

#[test]
fn http2_is_taken_where_it_passes_and_the_request_is_sent_once() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            let (site, mut conns) = host.listen(over).await?;
            let client = site.client_builder().reach(Reach::Auto).fallback_delay(LONG).build()?;
            let (conn, response) = client.connect(site.url("/")).await?;
            ensure!(response.status() == 200 && *conn.transport() == Transport::Request);
            let conn = client.open(site.url("/")).await?;
            ensure!(*conn.transport() == Transport::Request);
            for _ in 0..2 {
                conns.recv().await.context("the server has ended")?;
            }
            ensure!(conns.try_recv().is_err(), "a third request");
        }
        Ok(())
    })
}

#[test]
fn a_status_that_refuses_the_form_leads_to_a_websocket() -> TestResult {
    run(async {
        for code in [400, 405, 408, 411, 413, 421, 426, 431, 501, 502, 503, 504, 505] {
            let strange =
                Strange::new(Over::Tls, true, Arc::new(move |_| Box::pin(ready(status(code)))))
                    .await?;
            let client = strange.client(LONG)?;
            let (conn, response) = client.connect(strange.site.url("/")).await?;
            ensure!(response.status() == 101, "{code}: {}", response.status());
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 1), "{code}: {:?}", strange.counts());
            // It is remembered.
            let conn = client.open(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 2), "{code}: {:?}", strange.counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn other_answers_are_errors_at_once() -> TestResult {
    run(async {
        for code in [301, 401, 403, 404, 429, 500] {
            let strange = Strange::new(
                Over::Cleartext,
                true,
                Arc::new(move |_| Box::pin(ready(status(code)))),
            )
            .await?;
            let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
            let error = error.map(drop).expect_err("it is refused");
            ensure!(error.status().is_some_and(|status| status == code), "{error}");
            ensure!(strange.counts() == (1, 0), "{code}: {:?}", strange.counts());
        }
        Ok(())
    })
}

#[test]
fn a_box_that_buffers_or_never_answers_leads_to_a_websocket() -> TestResult {
    run(async {
        let buffers: Behaviour = Arc::new(|request| {
            Box::pin(async {
                let _ = request.into_body().collect().await;
                status(200)
            })
        });
        let is_silent: Behaviour = Arc::new(|_| Box::pin(ready(None)));
        for behaviour in [buffers, is_silent] {
            let strange = Strange::new(Over::Tls, true, behaviour).await?;
            let client = strange.client(SHORT)?;
            let (conn, _) = client.connect(strange.site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
            ensure!(strange.counts() == (1, 1), "{:?}", strange.counts());
            client.close().await?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_is_only_slow_and_takes_no_websockets_is_waited_for() -> TestResult {
    run(async {
        let slow: Behaviour = Arc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                status(200)
            })
        });
        let strange = Strange::new(Over::Cleartext, false, slow).await?;
        let (conn, response) = strange.client(SHORT)?.connect(strange.site.url("/")).await?;
        ensure!(response.status() == 200 && *conn.transport() == Transport::Request);
        ensure!(strange.counts() == (1, 1), "{:?}", strange.counts());
        Ok(())
    })
}

#[test]
fn if_neither_works_the_error_has_both_reasons() -> TestResult {
    run(async {
        let strange =
            Strange::new(Over::Cleartext, false, Arc::new(move |_| Box::pin(ready(status(502)))))
                .await?;
        let error = strange.client(LONG)?.connect(strange.site.url("/")).await;
        let error = error.map(drop).expect_err("it is refused");
        ensure!(error.status().is_some_and(|status| status == 502), "{error}");
        let text = error.to_string();
        for part in ["502 Bad Gateway", "and by a WebSocket", "404 Not Found"] {
            ensure!(text.contains(part), "{text}");
        }
        Ok(())
    })
}

/// A client that goes to the address that the test has set, whatever the URL says. Each connection has a link of its own.
fn guided(delay: Duration, goal: &Arc<Mutex<SocketAddr>>) -> h2conn::Result<Client> {
    let goal = Arc::clone(goal);
    Client::builder()
        .reach(Reach::Auto)
        .fallback_delay(delay)
        .link_policy(LinkPolicy::Exclusive)
        .connector(move |_| TcpStream::connect(*goal.lock().expect("nothing panics with it")))
        .build()
}

fn go(goal: &Mutex<SocketAddr>, to: SocketAddr) {
    *goal.lock().expect("nothing panics with it") = to;
}

#[test]
fn a_way_that_no_longer_works_is_forgotten() -> TestResult {
    run(async {
        let refuses: Behaviour = Arc::new(move |_| Box::pin(ready(status(505))));
        let strange = Strange::new(Over::Cleartext, true, refuses).await?;
        let goal = Arc::new(Mutex::new(strange.site.addr));
        let client = guided(LONG, &goal)?;
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::WebSocketHttp1).await?;
        // The way changes to one without HTTP/1.1, and back.
        let plain = echo_server(Over::Cleartext).await?;
        go(&goal, plain.addr);
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::Request).await?;
        go(&goal, strange.site.addr);
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::WebSocketHttp1).await
    })
}

#[test]
fn where_http2_has_passed_passing_troubles_are_no_reason_for_a_websocket() -> TestResult {
    run(async {
        let plain = echo_server(Over::Cleartext).await?;
        let busy: Behaviour = Arc::new(move |_| Box::pin(ready(status(503))));
        let strange = Strange::new(Over::Cleartext, true, busy).await?;
        let goal = Arc::new(Mutex::new(plain.addr));
        let client = guided(SHORT, &goal)?;
        let (conn, _) = client.connect("http://somewhere/").await?;
        check(conn, &Transport::Request).await?;
        go(&goal, strange.site.addr);
        let error = client.connect("http://somewhere/").await.map(drop).expect_err("it is busy");
        ensure!(error.status().is_some_and(|status| status == 503), "{error}");
        ensure!(strange.counts() == (1, 0), "{:?}", strange.counts());
        Ok(())
    })
}

#[test]
fn many_that_connect_at_once_through_a_silent_box_all_find_the_way() -> TestResult {
    run(async {
        let is_silent: Behaviour = Arc::new(|_| Box::pin(ready(None)));
        let strange = Strange::new(Over::Tls, true, is_silent).await?;
        let client = strange.client(SHORT)?;
        let connecting = (0..20).map(|_| client.connect(strange.site.url("/")));
        for connected in futures_util::future::join_all(connecting).await {
            check(connected?.0, &Transport::WebSocketHttp1).await?;
        }
        Ok(())
    })
}

/// Takes WebSockets over HTTP/1.1.
async fn serve_by_http1(io: impl Io, by_http2: Behaviour) -> TestResult {
    let ways = Ways { takes_websockets: true, by_http2, by_connect: None };
    serve(io, ways, Counts::default()).await
}

/// Serves HTTP/1.1, and does something else to HTTP/2.
async fn only_http1(mut io: TcpStream, answer: &'static [u8]) -> TestResult {
    let mut first = [0; 3];
    while io.peek(&mut first).await? < 3 {
        tokio::task::yield_now().await;
    }
    if first == *b"PRI" {
        io.write_all(answer).await?;
        if answer.is_empty() {
            return Ok(());
        }
        // The client must be able to read it.
        io.shutdown().await?;
        io.read_to_end(&mut Vec::new()).await?;
        return Ok(());
    }
    let none: Behaviour = Arc::new(|_| Box::pin(ready(None)));
    serve_by_http1(io, none).await
}

#[test]
fn a_server_of_http1_alone_is_reached_by_a_websocket() -> TestResult {
    run(async {
        let bad = &b"HTTP/1.1 400 Bad Request\r\nserver: nginx\r\ncontent-length: 0\r\n\r\n"[..];
        let old = &b"HTTP/1.0 505 HTTP Version Not Supported\r\n\r\n"[..];
        for answer in [&b""[..], bad, old] {
            let addr = tcp_server(move |io| only_http1(io, answer)).await?;
            let site = Site::cleartext(addr);
            let client = site.client_builder().reach(Reach::Auto).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
        }
        // Over TLS, ALPN says it.
        for alpn in [&["http/1.1"][..], &[]] {
            let none: Behaviour = Arc::new(|_| Box::pin(ready(None)));
            let site = tls_server(alpn, move |io| serve_by_http1(io, Arc::clone(&none))).await?;
            let client = site.client_builder().reach(Reach::Auto).build()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            check(conn, &Transport::WebSocketHttp1).await?;
        }
        Ok(())
    })
}

#[test]
fn a_host_that_is_not_there_and_settings_that_exclude_each_other_are_errors() -> TestResult {
    run(async {
        let client = Client::builder().reach(Reach::Auto).build()?;
        let error = client.connect("http://127.0.0.1:1/").await.map(drop).expect_err("nobody");
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(!error.to_string().contains("WebSocket"), "{error}");
        for reach in [Reach::Auto, Reach::WebSocket] {
            let both = Client::builder().reach(reach).protocol("websocket").build();
            let error = both.expect_err("they exclude each other");
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            let (near, _far) = tokio::io::duplex(1 << 10);
            let over = Client::builder().reach(reach).build_over(near).await;
            let error = over.expect_err("it makes no transport");
            ensure!(error.to_string().contains("connector"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn an_answer_about_the_caller_is_given_at_once_whatever_http2_does() -> TestResult {
    run(async {
        let addr = tcp_server(|mut io: TcpStream| async move {
            let mut first = [0; 3];
            while io.peek(&mut first).await? < 3 {
                tokio::task::yield_now().await;
            }
            let mut head = Vec::new();
            if first == *b"PRI" {
                // It never answers.
                io.read_to_end(&mut head).await?;
                return Ok(());
            }
            while !head.ends_with(b"\r\n\r\n") {
                head.push(io.read_u8().await?);
            }
            io.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await?;
            Ok(())
        })
        .await?;
        let site = Site::cleartext(addr);
        let client = site
            .client_builder()
            .reach(Reach::Auto)
            .fallback_delay(SHORT)
            .response_timeout(LONG)
            .build()?;
        let error = client.connect(site.url("/")).await.map(drop).expect_err("no token");
        ensure!(error.status().is_some_and(|status| status == 401), "{error:?}");
        Ok(())
    })
}
