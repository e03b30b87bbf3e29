//! Requests that differ from the others of their client: method, header fields, and those of each attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use h2conn::{Client, ErrorKind, Incoming, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::support::checked;
use crate::support::raw::{self, Raw};

/// A listener and the URL of a path there.
async fn server() -> Result<(Listener, String)> {
    let listener = Listener::builder().bind("127.0.0.1:0").await?;
    let url = format!("http://{}/room?key=7", listener.local_addr());
    Ok((listener, url))
}

/// The next request.
async fn next(listener: &mut Listener) -> Result<Incoming> {
    listener.accept().await.context("the listener has ended")
}

fn values<'a>(incoming: &'a Incoming, name: &str) -> Vec<&'a str> {
    let values = incoming.headers().get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).collect()
}

#[tokio::test]
async fn a_request_has_its_own_method_and_fields_beside_those_of_its_client() -> Result<()> {
    checked(30, async {
        let (mut listener, url) = server().await?;
        let client = Client::builder().header("x-a", "client").header("x-b", "client");
        let client = client.method(Method::PUT).build()?;
        let request = client.request(&url).header("x-a", "one").header("x-a", "two");
        for method in [None, Some(Method::PATCH)] {
            let request = match &method {
                Some(method) => request.clone().method(method.clone()),
                None => request.clone(),
            };
            let (connected, incoming) = tokio::join!(request.open(), next(&mut listener));
            let (incoming, _conn) = (incoming?, connected?);
            ensure!(*incoming.method() == method.unwrap_or(Method::PUT));
            ensure!(incoming.uri().path_and_query().is_some_and(|path| *path == "/room?key=7"));
            ensure!(values(&incoming, "x-a") == ["one", "two"], "{:?}", incoming.headers());
            ensure!(values(&incoming, "x-b") == ["client"], "{:?}", incoming.headers());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_of_the_http_crate_gives_url_method_and_fields() -> Result<()> {
    checked(30, async {
        let (mut listener, url) = server().await?;
        let client = Client::builder().header("x-a", "client").build()?;
        let request = Request::put(&url).header("x-a", "one").header("x-a", "two").body(())?;
        let serving = async { next(&mut listener).await?.accept().map_err(anyhow::Error::from) };
        let (connected, accepted) =
            tokio::join!(client.request_from(request).header("x-b", "b").connect(), serving);
        let ((_conn, response), accepted) = (connected?, accepted?);
        ensure!(response.status() == 200 && *accepted.method() == Method::PUT);
        let fields: Vec<_> = accepted.headers().get_all("x-a").into_iter().collect();
        ensure!(fields == ["one", "two"] && accepted.headers()["x-b"] == "b", "{fields:?}");
        // Without a host there is nowhere to go.
        let error = client.request_from(Request::post("/room").body(())?).open().await;
        let error = error.err().context("it has no host")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_callback_makes_the_fields_of_each_attempt() -> Result<()> {
    checked(30, async {
        let (mut listener, url) = server().await?;
        let count = Arc::new(AtomicU32::new(0));
        let token = move |headers: &mut HeaderMap| {
            let count = count.fetch_add(1, Ordering::Relaxed);
            headers.insert(header::AUTHORIZATION, HeaderValue::from(count));
        };
        let client = Client::builder().headers_with(token).build()?;
        let request =
            client.request(&url).header("authorization", "stale").headers_with(|headers| {
                let seen = headers[header::AUTHORIZATION].clone();
                headers.insert("x-seen", seen);
            });
        let connecting = tokio::spawn(request.connect());
        // The first attempt is refused unseen, and the client sends another by itself.
        for count in ["0", "1"] {
            let incoming = next(&mut listener).await?;
            ensure!(values(&incoming, "authorization") == [count], "{:?}", incoming.headers());
            ensure!(values(&incoming, "x-seen") == [count], "{:?}", incoming.headers());
            if count == "1" {
                incoming.accept()?;
            }
        }
        connecting.await??;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_without_content_ends_with_its_head_and_can_be_read() -> Result<()> {
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let asking = async {
            let (mut conn, _) = client.request("http://raw/").without_content().connect().await?;
            let refused = conn.write(b"x").await.err().context("it takes nothing")?;
            ensure!(refused.kind() == std::io::ErrorKind::BrokenPipe, "{refused:?}");
            let mut answer = String::new();
            conn.read_to_string(&mut answer).await?;
            ensure!(answer == "answer", "{answer:?}");
            conn.close().await?;
            anyhow::Ok(client.close().await?)
        };
        let serving = async {
            let mut raw = Raw::server(server_io).await?;
            ensure!(raw.wait_for(raw::HEADERS, 1).await?.is_end());
            raw.send(raw::HEADERS, raw::END_HEADERS, 1, raw::OK).await?;
            raw.send(raw::DATA, raw::END_STREAM, 1, b"answer").await?;
            while let Some(frame) = raw.next().await? {
                ensure!(frame.stream == 0, "{frame:?} follows on the stream");
            }
            Ok(())
        };
        tokio::try_join!(asking, serving)?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_whole_answer_to_a_request_without_content_is_a_good_end_if_the_server_hangs_up()
-> Result<()> {
    checked(30, async {
        let (client_io, server_io) = duplex(1 << 20);
        let client = Client::builder().build_over(client_io).await?;
        let mut raw = Raw::server(server_io).await?;
        let conn = client.request("http://raw/").without_content().open().await?;
        raw.wait_for(raw::HEADERS, 1).await?;
        let mut frames = raw::frame(raw::HEADERS, raw::END_HEADERS, 1, raw::OK);
        frames.extend(raw::frame(raw::DATA, raw::END_STREAM, 1, b"answer"));
        raw.io.write_all(&frames).await?;
        drop(raw);
        let mut answer = String::new();
        (&conn).read_to_string(&mut answer).await?;
        ensure!(answer == "answer", "{answer:?}");
        conn.close().await?;
        Ok(client.close().await?)
    })
    .await
}

#[tokio::test]
async fn a_request_without_content_says_so_where_its_method_has_some_and_is_sent_again()
-> Result<()> {
    checked(30, async {
        let (mut listener, url) = server().await?;
        let client = Client::new()?;
        for (method, length) in [(Method::POST, &["0"][..]), (Method::GET, &[])] {
            let request = client.request(&url).method(method.clone()).without_content();
            let asking = async {
                let (conn, _) = request.connect().await?;
                anyhow::Ok(conn.close().await?)
            };
            let serving = async {
                // The first attempt is refused unseen.
                drop(next(&mut listener).await?);
                let incoming = next(&mut listener).await?;
                ensure!(values(&incoming, "content-length") == length, "{incoming:?}");
                let mut conn = incoming.accept()?;
                ensure!(conn.read(&mut [0]).await? == 0, "{method}");
                anyhow::Ok(conn.close().await?)
            };
            tokio::try_join!(asking, serving)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named_before_or_instead_of_a_stream() -> Result<()> {
    checked(30, async {
        let (_listener, url) = server().await?;
        let client = Client::new()?;
        let post = || client.request(&url);
        let fields = |name: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert(name, HeaderValue::from_static("1"));
            }
        };
        for (request, named) in [
            (client.request("localhost"), "scheme"),
            (post().method(Method::HEAD), "HEAD"),
            (post().header("connection", "close"), "connection"),
            (post().header("a b", "x"), "a b"),
            (post().header("x", "\n"), "value"),
            (post().headers_with(fields("transfer-encoding")), "transfer-encoding"),
            (
                client.request_from(Request::post(&url).header("host", "elsewhere").body(())?),
                "host",
            ),
        ] {
            let error = request.open().await.err().with_context(|| format!("{named} was taken"))?;
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains(named), "{error}");
        }
        let extended = Client::builder().protocol("chat").build()?;
        // The method of extended CONNECT may be named. This server does not offer it.
        let connect = Request::connect("x:1").uri(&url).body(())?;
        let error =
            extended.request_from(connect).connect().await.err().context("it is not offered")?;
        ensure!(error.kind() == ErrorKind::Unsupported, "{error:?}");
        let error = extended.request(&url).without_content().open().await;
        let error = error.err().context("a tunnel has content")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
        ensure!(error.to_string().contains("CONNECT opens a tunnel"), "{error}");
        let error = extended.request(&url).method(Method::PUT).open().await;
        let error = error.err().context("PUT is no CONNECT")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
        ensure!(error.to_string().contains("PUT"), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_client_that_was_closed_ends_the_attempts() -> Result<()> {
    checked(30, async {
        let (_listener, url) = server().await?;
        let client = Client::new()?;
        client.close().await?;
        let error = client.connect(&url).await.err().context("it was closed")?;
        ensure!(error.kind() == ErrorKind::Aborted && error.is_permanent(), "{error:?}");
        ensure!(h2conn::Backoff::new().after(&error).is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_has_its_own_time_for_the_response() -> Result<()> {
    checked(30, async {
        let (_listener, url) = server().await?;
        let client = Client::builder().response_timeout(Duration::from_secs(3600)).build()?;
        let request = client.request(&url).response_timeout(Duration::from_millis(1));
        let error = request.connect().await.err().context("nobody answers")?;
        ensure!(error.is_timeout() && !error.is_permanent(), "{error:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_kept() -> Result<()> {
    checked(30, async {
        let (mut listener, url) = server().await?;
        let client = Client::new()?;
        let refusing = async {
            let busy = Response::builder().status(503).header(header::RETRY_AFTER, "90");
            next(&mut listener).await?.reject_with(busy.body("busy")?);
            anyhow::Ok(())
        };
        let (error, refused) = tokio::join!(client.connect(&url), refusing);
        refused?;
        let error = error.err().context("it was refused")?;
        ensure!(error.retry_after() == Some(Duration::from_secs(90)), "{error:?}");
        let pause = h2conn::Backoff::new().after(&error).context("503 passes")?;
        ensure!(pause == Duration::from_secs(90), "{pause:?}");
        Ok(())
    })
    .await
}

#[test]
fn what_may_be_secret_of_a_request_is_not_in_its_debug_form() -> Result<()> {
    let builder = Client::builder().header("authorization", "Bearer sesame");
    ensure!(!format!("{builder:?}").contains("sesame"), "{builder:?}");
    let client = builder.build()?;
    let url = "https://example.org/room?key=sesame";
    for request in [
        client.request(url).header("authorization", "Bearer sesame"),
        client.request_from(Request::get(url).header("cookie", "sesame").body(())?),
    ] {
        let shown = format!("{request:?}");
        ensure!(!shown.contains("sesame") && shown.contains("example.org"), "{shown}");
    }
    Ok(())
}
