//! Requests for a WebSocket, and their answers.

use std::convert::Infallible;
use std::io::ErrorKind::UnexpectedEof;

use anyhow::{Context, ensure};
use h2conn::http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use h2conn::{Acceptor, ErrorKind, WebSockets};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::support::foreign::server;
use crate::support::framework::{hyper_server, stock};
use crate::support::websocket::{BOTH, request, send, told};
use crate::support::{Over, Site, TestResult, echo, run};

const KEY: &str = "sec-websocket-key";
const VERSION: &str = "sec-websocket-version";

async fn accepting(websockets: WebSockets) -> TestResult<Site> {
    let acceptor = Acceptor::builder().websockets(websockets).build()?;
    hyper_server(Over::Cleartext, acceptor, echo).await
}

/// Sends a request with one field changed, or left out. Returns the status and the text.
async fn answer(
    site: &Site,
    by: Version,
    name: &'static str,
    value: Option<&str>,
) -> TestResult<String> {
    let mut request = request(site, by, "/")?;
    request.headers_mut().remove(name);
    if let Some(value) = value {
        request.headers_mut().insert(name, value.parse()?);
    }
    told(send(site, by, request).await?).await
}

#[test]
fn a_request_that_is_not_as_it_should_be_is_told_what_is_missing() -> TestResult {
    run(async {
        let site = accepting(WebSockets::new()).await?;
        for by in BOTH {
            for version in [None, Some("8"), Some("14"), Some("")] {
                let told = answer(&site, by, VERSION, version).await?;
                let status = if by == Version::HTTP_2 { 400 } else { 426 };
                let text = "a WebSocket needs sec-websocket-version: 13";
                ensure!(told == format!("{status} {text}\n"), "{told}");
            }
        }
        let bad = ["short", "", "!!!!!!!!!!!!!!!!!!!!!!==", "AAAAAAAAAAAAAAAAAAAAAAAA"];
        for key in bad.map(Some).into_iter().chain([None]) {
            let told = answer(&site, Version::HTTP_11, KEY, key).await?;
            let text = "a WebSocket needs one field sec-websocket-key, of 16 bytes in base64";
            ensure!(told == format!("400 {text}\n"), "{told}");
        }
        let told = answer(&site, Version::HTTP_11, "host", None).await?;
        ensure!(told == "400 a WebSocket needs one field host\n", "{told}");
        for name in ["host", KEY, VERSION] {
            let mut twice = request(&site, Version::HTTP_11, "/")?;
            let value = twice.headers()[name].clone();
            twice.headers_mut().append(name, value);
            let response = send(&site, Version::HTTP_11, twice).await?;
            ensure!(response.status().is_client_error(), "{name}: {}", response.status());
        }
        // HTTP/1.1 requests that ask for no WebSocket.
        for (name, value) in [("upgrade", None), ("upgrade", Some("h2c")), ("connection", None)] {
            let told = answer(&site, Version::HTTP_11, name, value).await?;
            ensure!(told.starts_with("400 this URL is for connections"), "{told}");
        }
        Ok(())
    })
}

#[test]
fn a_request_in_a_version_without_websockets_is_told_which_it_needs() -> TestResult {
    run(async {
        let site = accepting(WebSockets::new()).await?;
        let mut old = request(&site, Version::HTTP_11, "/")?;
        *old.version_mut() = Version::HTTP_10;
        let told_old = told(send(&site, Version::HTTP_11, old).await?).await?;
        let expected =
            "505 a WebSocket needs HTTP/1.1 or HTTP/2, and this request came by HTTP/1.0";
        ensure!(told_old.starts_with(expected), "{told_old}");
        ensure!(told_old.contains("proxy_http_version 1.1"), "{told_old}");
        let mut h2c = request(&site, Version::HTTP_11, "/")?;
        *h2c.method_mut() = Method::POST;
        h2c.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
        let told_h2c = told(send(&site, Version::HTTP_11, h2c).await?).await?;
        ensure!(told_h2c.starts_with("505 a full-duplex connection needs HTTP/2"), "{told_h2c}");
        ensure!(told_h2c.contains("in place of --http2"), "{told_h2c}");
        Ok(())
    })
}

#[test]
fn a_refusal_names_the_version_and_the_method_that_are_wanted() -> TestResult {
    run(async {
        let site = accepting(WebSockets::new()).await?;
        let mut wrong = request(&site, Version::HTTP_11, "/")?;
        wrong.headers_mut().insert(VERSION, HeaderValue::from_static("8"));
        let response = send(&site, Version::HTTP_11, wrong).await?;
        ensure!(response.headers().get(VERSION).context("the version")? == "13");
        ensure!(response.headers().get(header::UPGRADE).context("to what")? == "websocket");

        let mut wrong = request(&site, Version::HTTP_11, "/")?;
        *wrong.method_mut() = Method::POST;
        let response = send(&site, Version::HTTP_11, wrong).await?;
        ensure!(response.status() == StatusCode::METHOD_NOT_ALLOWED);
        ensure!(response.headers().get(header::ALLOW).context("the method")? == "GET");

        let mut other = request(&site, Version::HTTP_2, "/")?;
        other.extensions_mut().insert(Protocol::from_static("connect-udp"));
        let response = send(&site, Version::HTTP_2, other).await?;
        ensure!(response.status() == StatusCode::METHOD_NOT_ALLOWED);
        ensure!(response.headers().contains_key(header::ALLOW));
        Ok(())
    })
}

#[test]
fn only_pages_of_the_same_origin_or_of_a_list_may_connect() -> TestResult {
    run(async {
        let origin = "origin";
        let same = accepting(WebSockets::new()).await?;
        let here = format!("http://{}", same.addr);
        // The form in which clients other than browsers send it.
        let native = format!("ws://{}", same.addr);
        let listed = Acceptor::builder().origins(["https://a.example"]).build()?;
        let listed = hyper_server(Over::Cleartext, listed, echo).await?;
        let any = Acceptor::builder().dangerous_any_origin().build()?;
        let any = hyper_server(Over::Cleartext, any, echo).await?;
        for by in BOTH {
            let ok = if by == Version::HTTP_2 { "200 " } else { "101 " };
            for (site, named, expected) in [
                (&same, None, ok),
                (&same, Some(here.as_str()), ok),
                (&same, Some(native.as_str()), ok),
                (&same, Some("wss://evil.example"), "403 "),
                (&same, Some("https://evil.example"), "403 "),
                (&same, Some("null"), "403 "),
                (&listed, None, ok),
                (&listed, Some("https://a.example"), ok),
                (&listed, Some("http://a.example"), "403 "),
                (&any, Some("https://evil.example"), ok),
            ] {
                let mut request = request(site, by, "/")?;
                if let Some(named) = named {
                    request.headers_mut().insert(origin, named.parse()?);
                }
                let response = send(site, by, request).await?;
                let status = format!("{} ", response.status().as_str());
                ensure!(status == expected, "{by:?}, {named:?}: {status}");
            }
            let told = answer(&same, by, origin, Some("https://evil.example")).await?;
            let text =
                "pages of the origin \"https://evil.example\" may not connect here; expected";
            ensure!(told.starts_with(&format!("403 {text}")), "{told}");
        }
        Ok(())
    })
}

#[test]
fn the_first_subprotocol_of_the_server_that_the_client_offers_is_chosen() -> TestResult {
    run(async {
        let site = accepting(WebSockets::new().subprotocols(["v2", "v1"])).await?;
        for by in BOTH {
            for (offered, chosen) in [
                (Some("v1, v2"), Some("v2")),
                (Some("v3,v1"), Some("v1")),
                (Some("V2"), None),
                (None, None),
            ] {
                let mut request = request(&site, by, "/")?;
                if let Some(offered) = offered {
                    request.headers_mut().insert("sec-websocket-protocol", offered.parse()?);
                }
                let response = send(&site, by, request).await?;
                let seen = response.headers().get("sec-websocket-protocol");
                let seen = seen.map(|value| value.to_str()).transpose()?;
                ensure!(seen == chosen, "{offered:?}: {seen:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn websockets_can_be_refused_altogether() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().no_websockets().build()?;
        let site = hyper_server(Over::Cleartext, acceptor, echo).await?;
        for by in BOTH {
            let told = told(send(&site, by, request(&site, by, "/")?).await?).await?;
            ensure!(told.starts_with("501 this server takes no WebSockets"), "{by:?}: {told}");
            // How it is without the feature, `accept::check` tests.
            ensure!(told.contains("has switched them off"), "{by:?}: {told}");
            ensure!(told.contains("POST over HTTP/2"), "{by:?}: {told}");
        }
        Ok(())
    })
}

#[test]
fn a_conn_whose_transport_the_server_keeps_says_so() -> TestResult {
    run(async {
        for by in BOTH {
            let (sender, mut conns) = mpsc::unbounded_channel();
            let site = server(Over::Cleartext, move |io| {
                let sender = sender.clone();
                let forgetful = service_fn(move |request: Request<Incoming>| {
                    let accepted = h2conn::accept(request).map(|(conn, _)| sender.send(conn));
                    let response = Response::new(format!("{:?}", accepted.is_ok()));
                    async { Ok::<_, Infallible>(response) }
                });
                async move {
                    let served =
                        stock().serve_connection_with_upgrades(TokioIo::new(io), forgetful).await;
                    served.map_err(|error| anyhow::anyhow!("{error}"))
                }
            })
            .await?;
            let told = told(send(&site, by, request(&site, by, "/")?).await?).await;
            let mut conn = conns.recv().await.context("a WebSocket was asked for")?;
            // Over HTTP/2 any 200 opens the stream, and the server then ends it.
            ensure!(by == Version::HTTP_2 || told? == "200 true");
            let error = conn.read(&mut [0]).await.expect_err("there is no transport");
            ensure!(error.kind() == UnexpectedEof, "{by:?}: {error}");
            let error = conn.closed().await.expect_err("there is no transport");
            ensure!(error.kind() == ErrorKind::Truncated, "{by:?}: {error}");
        }
        Ok(())
    })
}

#[test]
fn a_server_that_serves_no_upgrades_is_named() -> TestResult {
    run(async {
        let (sender, mut conns) = mpsc::unbounded_channel();
        let site =
            server(Over::Cleartext, move |io| {
                let sender = sender.clone();
                let accepts = service_fn(move |request: Request<Incoming>| {
                    let (conn, response) = h2conn::accept(request).expect("it is a WebSocket");
                    let _ = sender.send(conn);
                    async { Ok::<_, Infallible>(response) }
                });
                async move {
                    Ok(http1::Builder::new().serve_connection(TokioIo::new(io), accepts).await?)
                }
            })
            .await?;
        let asked = request(&site, Version::HTTP_11, "/")?;
        let response = send(&site, Version::HTTP_11, asked).await?;
        let conn = conns.recv().await.context("a WebSocket was asked for")?;
        let error = conn.closed().await.expect_err("there is no transport");
        ensure!(error.kind() == ErrorKind::Truncated, "{error}");
        ensure!(error.to_string().contains("hyper: with_upgrades"), "{error}");
        drop(response);
        Ok(())
    })
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let told = |websockets: WebSockets| {
        let error = Acceptor::builder().websockets(websockets).build().expect_err("it is wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    assert!(told(WebSockets::new().max_message_size(0)).contains("max_message_size"));
    assert!(told(WebSockets::new().subprotocols(["a b"])).contains("\"a b\""));
}
