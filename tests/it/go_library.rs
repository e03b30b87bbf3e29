//! The behaviour that the tests of the Go library, `posener/h2conn`, check.

use std::io;
use std::sync::Arc;

use anyhow::{Context, ensure};
use h2conn::http::{Method, Response, StatusCode, header};
use h2conn::tls::ClientTls;
use h2conn::{Client, Conn, ErrorKind, Listener};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf,
    WriteHalf, split,
};

use crate::support::framework::Host;
use crate::support::{Over, TestResult, chain, echo, io_kind, listen, listen_with, run, serve};

const LINES: usize = 100;
const WRITERS: usize = 4;

#[test]
fn many_lines_go_both_ways_at_once_over_one_conn() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            let (client, server) = host.pair(over).await?;
            let shouting = tokio::spawn(shout_back(server));

            let client = Arc::new(client);
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..WRITERS {
                let client = Arc::clone(&client);
                writers.spawn(async move {
                    let mut conn = &*client;
                    for line in 0..LINES {
                        conn.write_all(format!("writer {writer} line {line}\n").as_bytes()).await?;
                    }
                    io::Result::Ok(())
                });
            }
            let all_written = async {
                while let Some(written) = writers.join_next().await {
                    written??;
                }
                (&*client).shutdown().await?;
                TestResult::Ok(())
            };
            let (written, heard) = tokio::join!(all_written, lines(&client));
            written?;
            let heard = heard?;

            // Each sender's lines arrive whole and in order. Lines of different senders may mix in
            // any way.
            ensure!(heard.len() == 2 * WRITERS * LINES, "{host:?} {over:?}: {} lines", heard.len());
            for writer in 0..WRITERS {
                for who in ["WRITER", "server"] {
                    let start = format!("{who} {writer} ");
                    let of_this_one = heard.iter().filter(|line| line.starts_with(&start));
                    let word = if who == "WRITER" { "LINE" } else { "line" };
                    let sent = (0..LINES).map(|line| format!("{start}{word} {line}"));
                    ensure!(of_this_one.cloned().eq(sent), "{host:?} {over:?}: lines of {start}");
                }
            }
            shouting.await??;
        }
        Ok(())
    })
}

/// Answers each line in capitals, and sends lines of its own in the meantime.
async fn shout_back(conn: Conn) -> TestResult {
    let conn = Arc::new(conn);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let conn = Arc::clone(&conn);
        writers.spawn(async move {
            for line in 0..LINES {
                let line = format!("server {writer} line {line}\n");
                (&*conn).write_all(line.as_bytes()).await?;
            }
            io::Result::Ok(())
        });
    }
    let mut lines = BufReader::new(&*conn).lines();
    while let Some(line) = lines.next_line().await? {
        (&*conn).write_all((line.to_uppercase() + "\n").as_bytes()).await?;
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    conn.close().await?;
    Ok(())
}

async fn lines(conn: &Conn) -> io::Result<Vec<String>> {
    let mut reader = BufReader::new(conn).lines();
    let mut heard = Vec::new();
    while let Some(line) = reader.next_line().await? {
        heard.push(line);
    }
    Ok(heard)
}

/// The ways to end a connection in order.
#[derive(Clone, Copy, Debug)]
enum End {
    Shutdown,
    Close,
    Drop,
}

/// `near` writes something and ends; `far` reads it, and then the end.
async fn ends_after_it_has_spoken(mut near: Conn, mut far: Conn, end: End) -> TestResult {
    near.write_all(b"the last word").await?;
    let ended = async move {
        match end {
            End::Shutdown => {
                near.shutdown().await?;
                ensure!(near.read(&mut [0; 1]).await? == 0, "the other side ends too");
            }
            End::Close => near.close().await?,
            End::Drop => drop(near),
        }
        TestResult::Ok(())
    };
    let heard = async move {
        let mut heard = String::new();
        far.read_to_string(&mut heard).await?;
        ensure!(heard == "the last word", "{heard:?}");
        // Later reads also return the end.
        ensure!(far.read(&mut [0; 1]).await? == 0, "a byte after the end");
        far.shutdown().await?;
        TestResult::Ok(())
    };
    let (ended, heard) = tokio::join!(ended, heard);
    ended.with_context(|| format!("{end:?}"))?;
    heard.with_context(|| format!("hearing of {end:?}"))
}

#[test]
fn the_server_reads_end_of_file_after_the_client_has_closed() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            for end in [End::Shutdown, End::Close, End::Drop] {
                let (client, server) = host.pair(over).await?;
                ends_after_it_has_spoken(client, server, end).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn the_client_reads_end_of_file_after_the_server_has_closed() -> TestResult {
    run(async {
        for (host, over) in Host::everywhere() {
            for end in [End::Shutdown, End::Close, End::Drop] {
                let (client, server) = host.pair(over).await?;
                ends_after_it_has_spoken(server, client, end).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_certificate_that_the_client_does_not_trust_is_permission_denied() -> TestResult {
    run(async {
        let (listener, site) = listen(Over::Tls).await?;
        serve(listener, echo);
        let other = crate::support::identity()?.certificate_pem();
        let client =
            Client::builder().tls(ClientTls::new().only_root_certificates(other)).build()?;
        let url = site.url("/");
        let error = client.connect(&url).await.expect_err("the certificate is not trusted");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::PermissionDenied, "{error:?}");
        let text = chain(&error);
        for part in [url.as_str(), "certificate", "root certificate", "caused by"] {
            ensure!(text.contains(part), "{part:?} is not in: {text}");
        }

        // The same with `h2conn::connect`, which trusts the certificates of the platform.
        let error = h2conn::connect(&url).await.expect_err("nobody has signed it");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");

        // A client that accepts any certificate gets its connection.
        let anyone = ClientTls::new().dangerous_accept_any_certificate();
        let careless = Client::builder().tls(anyone).build()?;
        careless.connect(&url).await?;
        Ok(())
    })
}

#[test]
fn a_certificate_for_another_name_is_permission_denied() -> TestResult {
    run(async {
        let identity = h2conn::tls::Identity::self_signed(["example.com"])?;
        let trusted = ClientTls::new().only_root_certificates(identity.certificate_pem());
        let listener = Listener::builder().tls(identity).bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", crate::support::port_of(&listener));
        serve(listener, echo);
        let client = Client::builder().tls(trusted.clone()).build()?;
        let error = client.connect(&url).await.expect_err("the name is another");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::PermissionDenied, "{error:?}");
        ensure!(error.to_string().contains("example.com"), "{error}");

        let client = Client::builder().tls(trusted.server_name("example.com")).build()?;
        client.connect(&url).await?;
        Ok(())
    })
}

#[test]
fn a_method_that_the_server_does_not_take_is_answered_405() -> TestResult {
    run(async {
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().methods([Method::POST])).await?;
        serve(listener, echo);
        let client = site.client_builder().method(Method::PUT).build()?;
        let error = client.connect(site.url("/room")).await.expect_err("PUT is not allowed");
        ensure!(error.kind() == ErrorKind::Rejected, "{error:?}");
        ensure!(error.status() == Some(StatusCode::METHOD_NOT_ALLOWED), "{error:?}");
        let headers = error.headers().context("a rejection has headers")?;
        ensure!(headers.get(header::ALLOW).is_some_and(|allow| allow == "POST"), "{headers:?}");
        let body = error.body().context("a rejection has a body")?;
        ensure!(
            body.starts_with(b"PUT cannot open a connection here"),
            "{:?}",
            String::from_utf8_lossy(body)
        );
        let text = error.to_string();
        for part in ["PUT http://", "/room", "405", "use one of: POST"] {
            ensure!(text.contains(part), "{part:?} is not in: {text}");
        }

        site.client()?.connect(site.url("/room")).await.context("POST is allowed")?;
        Ok(())
    })
}

#[test]
fn a_client_cannot_be_built_with_a_method_that_carries_no_body() -> TestResult {
    for method in [Method::CONNECT, Method::HEAD, Method::TRACE] {
        let error = Client::builder().method(method.clone()).build().expect_err("no body");
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
        ensure!(error.to_string().contains(method.as_str()), "{error}");
    }
    Ok(())
}

#[test]
fn header_fields_and_the_status_arrive() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (mut listener, site) = listen(over).await?;
            let client = site
                .client_builder()
                .header("x-room", "kitchen")
                .header("x-room", "garden")
                .header("user-agent", "a test")
                .build()?;
            let serving = async {
                let incoming = listener.accept().await.context("the listener has ended")?;
                let rooms: Vec<_> = incoming.headers().get_all("x-room").iter().collect();
                ensure!(rooms == ["kitchen", "garden"], "{:?}", incoming.headers());
                ensure!(incoming.headers()[header::USER_AGENT] == "a test");
                ensure!(incoming.method() == Method::POST);
                ensure!(incoming.uri().path() == "/a/b" && incoming.uri().query() == Some("c=d"));
                ensure!(incoming.uri().authority().is_some_and(|a| *a == *site.addr.to_string()));
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::CREATED;
                response.headers_mut().insert("x-seat", "7".try_into()?);
                Ok(incoming.accept_with(response)?)
            };
            let url = site.url("/a/b?c=d");
            let (server, connected) = tokio::join!(serving, client.connect(&url));
            let (server, (conn, response)) = (server?, connected?);
            ensure!(response.status() == StatusCode::CREATED, "{response:?}");
            ensure!(response.headers()["x-seat"] == "7", "{response:?}");
            // Both ends have both heads from here on.
            ensure!(server.headers().get_all("x-room").iter().count() == 2);
            ensure!(server.response().await?.status() == StatusCode::CREATED);
            ensure!(conn.headers().get_all("x-room").iter().count() == 2);
            ensure!(conn.response().await?.headers()["x-seat"] == "7");
        }
        Ok(())
    })
}

#[test]
fn a_header_field_that_cannot_be_sent_is_named() -> TestResult {
    for (name, value) in [
        ("connection", "close"),
        ("host", "x"),
        ("a b", "x"),
        ("x", "a\nb"),
        ("content-length", "1"),
    ] {
        let error = Client::builder().header(name, value).build().expect_err(name);
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
        ensure!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    Ok(())
}

#[test]
fn only_2xx_accepts() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let serving = async {
            let incoming = listener.accept().await.context("the listener has ended")?;
            let response = Response::builder().status(404).body(())?;
            let error = incoming.accept_with(response).expect_err("404 is no 2xx");
            ensure!(error.kind() == ErrorKind::InvalidInput, "{error:?}");
            ensure!(error.to_string().contains("404"), "{error}");
            Ok(())
        };
        let (served, connected) = tokio::join!(serving, site.connect());
        served?;
        let error = connected.expect_err("it was not accepted");
        ensure!(error.status() == Some(StatusCode::INTERNAL_SERVER_ERROR), "{error:?}");
        Ok(())
    })
}

/// The halves of tokio's own `split` are normal streams.
#[test]
fn tokios_own_split_works_as_well() -> TestResult {
    fn is_a_stream<T: AsyncRead + AsyncWrite + Send + Unpin>(io: T) -> (ReadHalf<T>, WriteHalf<T>) {
        split(io)
    }
    run(async {
        for host in Host::ALL {
            let (client, server) = host.pair(Over::Cleartext).await?;
            let echoing = tokio::spawn(echo(server));
            let (mut reader, mut writer) = is_a_stream(client);
            writer.write_all(b"hello").await?;
            writer.shutdown().await?;
            let mut heard = String::new();
            reader.read_to_string(&mut heard).await?;
            ensure!(heard == "hello", "{host:?}: {heard:?}");
            echoing.await??;
        }
        Ok(())
    })
}
