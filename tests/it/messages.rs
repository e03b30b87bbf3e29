//! The messages for a user whose connection cannot be made: the attempt, the observation, and
//! advice.

mod proxies;

use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{Response, StatusCode};
use h2conn::tls::ClientTls;
use h2conn::{Client, Error, ErrorKind};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::foreign::{hyper_echo, hyper_http1, tls_server};
use crate::support::{
    Over, Site, TestResult, chain, echo, echo_server, io_kind, listen, run, tcp_server,
};

/// Long enough for an answer from a busy machine, short enough for a test.
const SHORT: Duration = Duration::from_millis(300);

/// An attempt that failed.
struct Failure {
    url: String,
    error: Error,
}

impl Failure {
    async fn of(site: &Site) -> TestResult<Failure> {
        Failure::with(&site.client()?, site.url("/echo")).await
    }

    async fn with(client: &Client, url: String) -> TestResult<Failure> {
        match client.connect(&url).await {
            Ok(_) => anyhow::bail!("connected to {url}"),
            Err(error) => Ok(Failure { url, error }),
        }
    }

    /// Checks the kinds, and that the text names the attempted URL and all of `parts`.
    fn is(self, kind: ErrorKind, io: io::ErrorKind, parts: &[&str]) -> TestResult<Error> {
        let Failure { url, error } = self;
        ensure!(error.kind() == kind, "{error:?}");
        ensure!(io_kind(&error) == io, "{:?}: {error:?}", io_kind(&error));
        ensure!(error.is_timeout() == (kind == ErrorKind::TimedOut), "{error:?}");
        ensure!(!error.was_not_processed(), "{error:?}");
        ensure!((error.status().is_some()) == (kind == ErrorKind::Rejected), "{error:?}");
        let text = error.to_string();
        for part in [url.as_str()].iter().chain(parts) {
            ensure!(text.contains(part), "{part:?} is not in: {text}");
        }
        // The message is for this level only: lower levels are described once, by the source.
        if let Some(source) = error.source() {
            let below = source.to_string();
            ensure!(!text.contains(&below), "{below:?} stands in the text, too: {text}");
        }
        Ok(error)
    }
}

/// A port on which no server listens: it was free a moment ago.
async fn closed_port() -> TestResult<Failure> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let site = Site::cleartext(socket.local_addr()?);
    drop(socket);
    Failure::of(&site).await
}

async fn http1_only_tls_server() -> TestResult<Failure> {
    Failure::of(&tls_server(&["http/1.1"], hyper_http1).await?).await
}

/// The same, but this server chooses no protocol instead of refusing.
async fn tls_server_without_alpn() -> TestResult<Failure> {
    Failure::of(&tls_server(&[], hyper_http1).await?).await
}

/// Accepts any certificate: these servers fail before they present one.
fn anyone() -> ClientTls {
    ClientTls::new().dangerous_accept_any_certificate()
}

/// Connects to a cleartext server with an https URL.
async fn by_https(site: Site) -> TestResult<Failure> {
    let client = Client::builder().tls(anyone()).build()?;
    Failure::with(&client, site.url("/echo").replace("http:", "https:")).await
}

async fn our_cleartext_server_by_https() -> TestResult<Failure> {
    by_https(echo_server(Over::Cleartext).await?).await
}

async fn http2_cleartext_server_by_https() -> TestResult<Failure> {
    by_https(Site::cleartext(tcp_server(hyper_echo).await?)).await
}

async fn http1_cleartext_server_by_https() -> TestResult<Failure> {
    by_https(Site::cleartext(tcp_server(hyper_http1).await?)).await
}

async fn our_tls_server_by_http() -> TestResult<Failure> {
    Failure::of(&Site::cleartext(echo_server(Over::Tls).await?.addr)).await
}

/// The kernel accepts the connection, but no program ever answers.
async fn silent() -> TestResult<(TcpListener, Site)> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let site = Site::cleartext(socket.local_addr()?);
    Ok((socket, site))
}

async fn silent_cleartext_server() -> TestResult<Failure> {
    let (_socket, site) = silent().await?;
    let client = Client::builder().handshake_timeout(SHORT).build()?;
    Failure::with(&client, site.url("/echo")).await
}

async fn silent_tls_server() -> TestResult<Failure> {
    let (_socket, site) = silent().await?;
    let client = Client::builder().connect_timeout(SHORT).tls(anyone()).build()?;
    Failure::with(&client, site.url("/echo").replace("http:", "https:")).await
}

/// This server speaks HTTP/2, and never answers the request.
async fn server_that_does_not_answer() -> TestResult<Failure> {
    let (_listener, site) = listen(Over::Cleartext).await?;
    let client = Client::builder().response_timeout(SHORT).build()?;
    Failure::with(&client, site.url("/echo")).await
}

/// A 404 with headers and a body.
async fn not_found(body: Bytes) -> TestResult<Failure> {
    let (mut listener, site) = listen(Over::Tls).await?;
    let serving = tokio::spawn(async move {
        let incoming = listener.accept().await.context("the listener has ended")?;
        let response = Response::builder()
            .status(StatusCode::NOT_FOUND)
            .header("x-rooms", "hall, kitchen")
            .body(body)?;
        incoming.reject_with(response);
        // The server stays until the client has gone.
        ensure!(listener.accept().await.is_none());
        Ok(())
    });
    let failure = Failure::of(&site).await;
    serving.abort();
    failure
}

async fn bad_url() -> TestResult<Failure> {
    Failure::with(&Client::new()?, "localhost:8000/echo".to_owned()).await
}

async fn unknown_host() -> TestResult<Failure> {
    Failure::with(&Client::new()?, "http://no-such-host.invalid:8000/echo".to_owned()).await
}

#[test]
fn a_closed_port() -> TestResult {
    run(async {
        let parts = ["127.0.0.1:", "nothing listens there", "check that the server runs"];
        let error = closed_port().await?;
        let error = error.is(ErrorKind::Connect, io::ErrorKind::ConnectionRefused, &parts)?;
        let source = error.source().context("the system's error is kept")?;
        let source = source.downcast_ref::<io::Error>().context("an I/O error")?;
        ensure!(source.kind() == io::ErrorKind::ConnectionRefused, "{source:?}");
        Ok(())
    })
}

#[test]
fn a_tls_server_that_has_only_http1() -> TestResult {
    run(async {
        let parts = ["does not offer HTTP/2", "ALPN"];
        let failure = http1_only_tls_server().await?;
        let error = failure.is(ErrorKind::Unsupported, io::ErrorKind::Unsupported, &parts)?;
        ensure!(error.source().is_some(), "the alert is kept");
        let failure = tls_server_without_alpn().await?;
        failure.is(ErrorKind::Unsupported, io::ErrorKind::Unsupported, &parts)?;
        Ok(())
    })
}

#[test]
fn a_cleartext_server_by_https() -> TestResult {
    run(async {
        for failure in [
            our_cleartext_server_by_https().await?,
            http2_cleartext_server_by_https().await?,
            http1_cleartext_server_by_https().await?,
        ] {
            let parts = ["does not speak TLS", "http://"];
            let error = failure.is(ErrorKind::Tls, io::ErrorKind::InvalidData, &parts)?;
            ensure!(error.source().is_some(), "what rustls says is kept");
        }
        Ok(())
    })
}

#[test]
fn a_tls_server_by_http() -> TestResult {
    run(async {
        let parts = ["the server speaks TLS", "use https://"];
        let failure = our_tls_server_by_http().await?;
        failure.is(ErrorKind::Unsupported, io::ErrorKind::Unsupported, &parts)?;
        Ok(())
    })
}

#[test]
fn a_cleartext_server_that_never_says_a_word() -> TestResult {
    run(async {
        let begun = Instant::now();
        let parts = ["0.3 s", "sent nothing at all", "check that an HTTP/2 server listens there"];
        let failure = silent_cleartext_server().await?;
        failure.is(ErrorKind::TimedOut, io::ErrorKind::TimedOut, &parts)?;
        ensure!(begun.elapsed() >= SHORT, "not before its time");
        Ok(())
    })
}

#[test]
fn a_tls_server_that_never_says_a_word() -> TestResult {
    run(async {
        let begun = Instant::now();
        let parts = ["0.3 s", "127.0.0.1:", "check"];
        let failure = silent_tls_server().await?;
        failure.is(ErrorKind::TimedOut, io::ErrorKind::TimedOut, &parts)?;
        ensure!(begun.elapsed() >= SHORT, "not before its time");
        Ok(())
    })
}

#[test]
fn a_server_that_never_answers_the_request() -> TestResult {
    run(async {
        let begun = Instant::now();
        let parts = ["0.3 s", "no response", "proxy that buffers"];
        let failure = server_that_does_not_answer().await?;
        failure.is(ErrorKind::TimedOut, io::ErrorKind::TimedOut, &parts)?;
        ensure!(begun.elapsed() >= SHORT, "not before its time");
        Ok(())
    })
}

/// The stream of an attempt that was given up is reset, so that the server does not answer in vain.
#[test]
fn a_request_whose_answer_is_not_awaited_any_more_is_cancelled() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let client = site.client_builder().response_timeout(SHORT).build()?;
        let error = client.connect(site.url("/")).await.expect_err("nobody answers");
        ensure!(error.is_timeout(), "{error:?}");
        // This is a round trip on the same link. Its request was read after the reset.
        let next = client.open(site.url("/next")).await?;
        next.ping().await?;
        let incoming = listener.accept().await.context("the next request")?;
        ensure!(incoming.uri().path() == "/next", "the first was taken back: {incoming:?}");
        let served = tokio::spawn(echo(incoming.accept()?));
        crate::support::check_echo(next, b"the link is well").await?;
        served.await??;
        Ok(())
    })
}

#[test]
fn who_waits_for_an_answer_hears_of_a_close_that_came_before_it() -> TestResult {
    run(async {
        let (_listener, site) = listen(Over::Cleartext).await?;
        let conn = site.client()?.open(site.url("/")).await?;
        let (answer, closed) = tokio::join!(conn.response(), conn.close());
        let error = closed.expect_err("the server does not end its side");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        for answer in [answer, conn.response().await] {
            let error = answer.expect_err("nobody has answered");
            ensure!(error.kind() == ErrorKind::Aborted, "{error:?}");
            ensure!(error.to_string().contains("before the server answered"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_404() -> TestResult {
    run(async {
        let parts = ["404 Not Found", "no such room", "check the path"];
        let failure = not_found(Bytes::from_static(b"no such room\nask for another\n")).await?;
        let error = failure.is(ErrorKind::Rejected, io::ErrorKind::Other, &parts)?;
        ensure!(error.is_by_peer());
        ensure!(error.status() == Some(StatusCode::NOT_FOUND));
        ensure!(error.headers().context("headers")?["x-rooms"] == "hall, kitchen");
        ensure!(error.body().context("a body")? == "no such room\nask for another\n");
        ensure!(!error.to_string().contains("another"), "one line will do: {error}");
        Ok(())
    })
}

#[test]
fn a_404_without_a_body_and_one_with_a_long_one() -> TestResult {
    run(async {
        let (kind, io) = (ErrorKind::Rejected, io::ErrorKind::Other);
        let error = not_found(Bytes::new()).await?.is(kind, io, &["404 Not Found"])?;
        ensure!(error.body().context("a body")?.is_empty());

        let long = Bytes::from(crate::support::noise(300_000, 1));
        let error = not_found(long.clone()).await?.is(kind, io, &["404 Not Found"])?;
        let body = error.body().context("a body")?;
        ensure!(*body == long[..64 << 10], "{} bytes of it", body.len());
        Ok(())
    })
}

#[test]
fn a_bad_url() -> TestResult {
    run(async {
        let parts = ["is no URL to connect to", "scheme", "https://host:port/path"];
        bad_url().await?.is(ErrorKind::InvalidInput, io::ErrorKind::InvalidInput, &parts)?;
        for url in ["", "/echo", "ws://localhost/", "https://user@localhost/", "http://x:99999/"] {
            let failure = Failure::with(&Client::new()?, url.to_owned()).await?;
            let parts = ["https://host:port/path"];
            failure.is(ErrorKind::InvalidInput, io::ErrorKind::InvalidInput, &parts)?;
        }
        let failure = Failure::with(&Client::new()?, "https://a b/".to_owned()).await?;
        ensure!(failure.error.source().is_some(), "what the parser says is kept");
        Ok(())
    })
}

#[test]
fn an_unknown_host() -> TestResult {
    run(async {
        let Failure { url, error } = unknown_host().await?;
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(!error.was_not_processed() && !error.is_timeout(), "{error:?}");
        let text = error.to_string();
        for part in [url.as_str(), "\"no-such-host.invalid\"", "check its spelling"] {
            ensure!(text.contains(part), "{part:?} is not in: {text}");
        }
        let source = error.source().context("what the resolver says is kept")?;
        ensure!(source.downcast_ref::<io::Error>().is_some(), "{source:?}");
        Ok(())
    })
}

/// The same messages appear if the caller does not wait for the response.
#[test]
fn opening_tells_the_same_as_connecting() -> TestResult {
    run(async {
        let (_socket, site) = silent().await?;
        let client = Client::builder().handshake_timeout(SHORT).build()?;
        let mut conn = client.open(site.url("/echo")).await?;
        let error = conn.response().await.expect_err("nobody answers");
        ensure!(error.kind() == ErrorKind::TimedOut, "{error:?}");
        ensure!(error.to_string().contains(&site.url("/echo")), "{error}");
        let error = conn.read(&mut [0; 1]).await.expect_err("nobody answers");
        ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
        let error = crate::support::ours(&error);
        ensure!(error.to_string().contains(&site.url("/echo")), "{error}");
        Ok(())
    })
}

/// Prints every message for a human to read: `cargo test --test it the_messages -- --nocapture`.
#[test]
fn the_messages_for_a_look_at_them() -> TestResult {
    run(async {
        let body = Bytes::from_static(b"no such room\nask for another\n");
        for (what, failure) in [
            ("a closed port", closed_port().await?),
            ("an HTTP/1.1-only TLS server", http1_only_tls_server().await?),
            ("a TLS server without ALPN", tls_server_without_alpn().await?),
            ("a cleartext server (ours) by https", our_cleartext_server_by_https().await?),
            ("a cleartext server (HTTP/2) by https", http2_cleartext_server_by_https().await?),
            ("a cleartext server (HTTP/1.1) by https", http1_cleartext_server_by_https().await?),
            ("a TLS server by http", our_tls_server_by_http().await?),
            ("a silent server, cleartext", silent_cleartext_server().await?),
            ("a silent server, TLS", silent_tls_server().await?),
            ("a server that does not answer", server_that_does_not_answer().await?),
            ("a 404", not_found(body).await?),
            ("a bad URL", bad_url().await?),
            ("an unknown host", unknown_host().await?),
        ] {
            let (kind, io) = (failure.error.kind(), io_kind(&failure.error));
            println!("{what} [{kind:?}, {io:?}]\n  {}\n", chain(&failure.error));
        }
        Ok(())
    })
}
