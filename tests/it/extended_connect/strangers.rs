//! Extended CONNECT with hyper, the bare `h2` crate and Node at the other end.

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{Method, Request, Response, StatusCode};
use h2conn::{ErrorKind, Reason};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use super::{MUCH, NAME, client, connect_to, listen_to_connect};
use crate::support::foreign::{Io, h2_pump, h2_read, h2_send, io_to, server};
use crate::support::{
    Over, Site, TestResult, accept, check_echo, echo, noise, ours, run, serve, skipped,
};

/// A stock hyper server that echoes all CONNECT streams.
async fn hyper_connect_echo(io: impl Io) -> TestResult {
    let service = service_fn(|mut request: Request<Incoming>| {
        let protocol = request.extensions().get::<hyper::ext::Protocol>();
        let known = protocol.is_some_and(|protocol| protocol.as_str() == NAME);
        let mut response = Response::new(Empty::<Bytes>::new());
        if known {
            tokio::spawn(async move {
                let upgraded = TokioIo::new(hyper::upgrade::on(&mut request).await?);
                let (mut reader, mut writer) = tokio::io::split(upgraded);
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await?;
                TestResult::Ok(())
            });
        } else {
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        }
        async { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(io), service)
        .await?;
    Ok(())
}

/// A server on the bare `h2` crate that echoes all CONNECT streams.
async fn h2_connect_echo(io: impl Io) -> TestResult {
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.enable_connect_protocol().handshake(io).await?;
    while let Some(arrival) = connection.accept().await {
        let (request, mut respond) = arrival?;
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        let protocol = protocol.context("the request's protocol")?.as_str().to_owned();
        ensure!(request.method() == Method::CONNECT && protocol == NAME, "{request:?}");
        ensure!(request.uri().path() == "/a/path", "{request:?}");
        ensure!(request.uri().scheme().is_some(), "{request:?}");
        tokio::spawn(async move {
            let send = respond.send_response(Response::new(()), false)?;
            h2_pump(request.into_body(), send).await
        });
    }
    Ok(())
}

async fn check_server(site: &Site) -> TestResult {
    let client = client(site)?;
    for (number, size) in [0, 1, 5, 16 << 10, MUCH].into_iter().enumerate() {
        let (conn, response) = client.connect(site.url("/a/path")).await?;
        ensure!(response.status() == StatusCode::OK, "{response:?}");
        check_echo(conn, &noise(size, number as u64)).await.with_context(|| size.to_string())?;
    }
    let mut conns = JoinSet::new();
    for number in 0..20 {
        let (client, url) = (client.clone(), site.url("/a/path"));
        conns.spawn(async move {
            let (conn, _) = client.connect(url).await?;
            check_echo(conn, &noise(5_000, number)).await
        });
    }
    while let Some(conn) = conns.join_next().await {
        conn??;
    }
    client.close().await?;
    Ok(())
}

#[test]
fn our_client_connects_to_a_stock_hyper_server() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = server(over, hyper_connect_echo).await?;
            check_server(&site).await.with_context(|| format!("{over:?}"))?;
            let other = site.client_builder().protocol("other").build()?;
            let error = other.connect(site.url("/")).await.expect_err("it is not known");
            ensure!(error.status() == Some(StatusCode::NOT_IMPLEMENTED), "{error:?}");
        }
        Ok(())
    })
}

#[test]
fn our_client_connects_to_a_server_on_the_bare_h2_crate() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = server(over, h2_connect_echo).await?;
            check_server(&site).await.with_context(|| format!("{over:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_client_on_the_bare_h2_crate_connects_to_our_listener() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_to_connect(over).await?;
            serve(listener, echo);
            let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
            let link = tokio::spawn(connection);
            for (number, size) in [0, 5, MUCH].into_iter().enumerate() {
                let request = connect_to(&site, Some(NAME))?;
                let mut send = send.clone().ready().await?;
                let (response, mut body) = send.send_request(request, false)?;
                let response = response.await?;
                ensure!(send.is_extended_connect_protocol_enabled());
                ensure!(response.status() == StatusCode::OK, "{response:?}");
                ensure!(response.headers().is_empty(), "{response:?}");
                let said = noise(size, number as u64);
                let all = Bytes::from(said.clone());
                let write = async {
                    h2_send(&mut body, all).await?;
                    body.send_data(Bytes::new(), true)?;
                    TestResult::Ok(())
                };
                let (written, heard) = tokio::join!(write, h2_read(response.into_body()));
                written?;
                ensure!(heard? == said, "{size} bytes over {over:?}");
            }
            drop(send);
            link.await??;
        }
        Ok(())
    })
}

#[test]
fn a_stock_hyper_client_connects_to_our_listener() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_to_connect(over).await?;
            serve(listener, echo);
            let io = TokioIo::new(io_to(&site).await?);
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let mut request = Request::builder()
                .method(Method::CONNECT)
                .uri(site.url("/"))
                .body(Empty::<Bytes>::new())?;
            request.extensions_mut().insert(hyper::ext::Protocol::from_static(NAME));
            let mut response = send.send_request(request).await?;
            ensure!(response.status() == StatusCode::OK, "{response:?}");
            let upgraded = TokioIo::new(hyper::upgrade::on(&mut response).await?);
            let (mut reader, mut writer) = tokio::io::split(upgraded);
            let said = noise(MUCH, 4);
            let write = async {
                writer.write_all(&said).await?;
                writer.shutdown().await
            };
            let mut heard = Vec::new();
            let (written, read) = tokio::join!(write, reader.read_to_end(&mut heard));
            written?;
            read?;
            ensure!(heard == said, "{} bytes over {over:?}", heard.len());
        }
        Ok(())
    })
}

/// Node, which plays one end. Dropping it kills it.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Returns `None`, and prints why, if there is no Node.
    fn start(arguments: &[&str]) -> TestResult<Option<Node>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/node/connect.mjs");
        let node = Command::new("node")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        match node {
            Ok(mut child) => {
                let output = BufReader::new(child.stdout.take().context("its output")?);
                Ok(Some(Node { child, output }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                skipped("no Node: there is no program `node`");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn line(&mut self) -> TestResult<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        ensure!(line.ends_with('\n'), "node has ended its output");
        Ok(line.trim_end().to_owned())
    }
}

#[test]
fn our_client_connects_to_a_node_server() -> TestResult {
    run(async {
        let Some(mut node) = Node::start(&["serve", NAME])? else { return Ok(()) };
        let site = Site::cleartext(node.line().await?.parse()?);
        check_server(&site).await?;
        let client = client(&site)?;
        let (mut conn, _) = client.connect(site.url("/reset")).await?;
        let error = conn.read(&mut [0; 1]).await.expect_err("it resets");
        ensure!(ours(&error).kind() == ErrorKind::Reset, "{error:?}");
        ensure!(ours(&error).reason() == Some(Reason::INTERNAL_ERROR), "{error:?}");
        Ok(())
    })
}

#[test]
fn a_node_client_connects_to_our_listener() -> TestResult {
    run(async {
        let (mut listener, site) = listen_to_connect(Over::Cleartext).await?;
        let Some(mut node) = Node::start(&["connect", NAME, &site.url("/")])? else {
            return Ok(());
        };
        echo(accept(&mut listener).await?).await?;
        ensure!(node.line().await? == "200, and all came back");
        ensure!(node.child.wait().await?.success());
        Ok(())
    })
}
