//! Requests from pages in browsers. Pages of other origins cannot open a connection, whatever the
//! form of the request. WebSockets over HTTP/1.1 and their lists of origins are in
//! `websocket/requests.rs`.

mod order;

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;
use h2conn::{Acceptor, Client, ErrorKind, Listener};

use crate::support::framework::{Host, hyper_server};
use crate::support::{
    Over, Site, TestResult, check_echo, echo, echo_server, listen_with, run, serve,
};

const EVIL: &str = "https://evil.example";

/// Connects with these fields. Returns the status, and the text of a refusal.
async fn ask(site: &Site, fields: &[(&str, &str)]) -> TestResult<(u16, String)> {
    ask_by(site, fields, None).await
}

async fn ask_by(
    site: &Site,
    fields: &[(&str, &str)],
    protocol: Option<&str>,
) -> TestResult<(u16, String)> {
    let mut client = Client::builder().header("cookie", "session=1");
    if let Some(protocol) = protocol {
        client = client.protocol(protocol);
    }
    for (name, value) in fields {
        client = client.header(*name, *value);
    }
    match client.build()?.connect(site.url("/")).await {
        Ok((conn, response)) => {
            check_echo(conn, b"hello").await?;
            Ok((response.status().as_u16(), String::new()))
        }
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Rejected, "{error}");
            let text = String::from_utf8_lossy(error.body().context("a text")?).into_owned();
            Ok((error.status().context("a status")?.as_u16(), text))
        }
    }
}

async fn check(site: &Site) -> TestResult {
    let here = format!("http://{}", site.addr);
    let port = site.addr.port();
    let elsewhere = format!("http://localhost:{port}");
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    for (fields, expected) in [
        (&[][..], 200),
        (&[("origin", here.as_str())], 200),
        (&[("origin", here.as_str()), ("sec-fetch-site", "same-origin")], 200),
        (&[("sec-fetch-site", "none")], 200),
        (&[("origin", EVIL)], 403),
        (&[("origin", EVIL), ("content-type", "text/plain")], 403),
        (&[("origin", EVIL), ("sec-fetch-site", "same-origin")], 403),
        (&[("origin", elsewhere.as_str())], 403),
        (&[("origin", other_port.as_str())], 403),
        (&[("origin", "null")], 403),
        (&[("origin", here.as_str()), ("origin", EVIL)], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
    ] {
        let (status, text) = ask(site, fields).await?;
        ensure!(status == expected, "{fields:?}: {status} {text:?}");
    }
    let (_, text) = ask(site, &[("origin", EVIL)]).await?;
    let expected = format!(
        "pages of the origin {EVIL:?} may not connect here; expected that of {:?}, which the request was sent to. The \
         server's program can list more (`origins`)\n",
        site.addr.to_string()
    );
    ensure!(text == expected, "{text}");
    Ok(())
}

#[test]
fn a_page_of_another_origin_opens_nothing_at_a_listener() -> TestResult {
    run(async { check(&echo_server(Over::Cleartext).await?).await })
}

#[test]
fn a_page_of_another_origin_opens_nothing_inside_another_server() -> TestResult {
    run(async {
        for host in Host::OF_ACCEPT {
            let site = host.echo(Over::Cleartext).await?;
            check(&site).await.with_context(|| format!("{host:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_page_of_another_origin_opens_nothing_by_extended_connect() -> TestResult {
    run(async {
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().protocols(["raw"])).await?;
        serve(listener, echo);
        let (status, _) = ask_by(&site, &[], Some("raw")).await?;
        ensure!(status == StatusCode::OK);
        let (status, text) = ask_by(&site, &[("origin", EVIL)], Some("raw")).await?;
        ensure!(status == StatusCode::FORBIDDEN && text.contains(EVIL), "{status} {text}");
        Ok(())
    })
}

#[test]
fn pages_of_the_origins_that_are_listed_connect_and_no_others() -> TestResult {
    run(async {
        let listed = ["https://a.example", "null"];
        let acceptor = Acceptor::builder().origins(listed).build()?;
        let hosted = hyper_server(Over::Cleartext, acceptor, echo).await?;
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().origins(listed)).await?;
        serve(listener, echo);
        for site in [hosted, site] {
            let here = format!("http://{}", site.addr);
            for (origin, expected) in [
                ("https://a.example", 200),
                ("https://A.example:443", 200),
                ("null", 200),
                ("http://a.example", 403),
                (EVIL, 403),
                (here.as_str(), 403),
            ] {
                let fields = [("origin", origin), ("sec-fetch-site", "cross-site")];
                let (status, text) = ask(&site, &fields).await?;
                ensure!(status == expected, "{origin}: {status} {text}");
            }
            let (status, _) = ask(&site, &[]).await?;
            ensure!(status == StatusCode::OK, "a program");
        }
        Ok(())
    })
}

#[test]
fn pages_of_any_origin_connect_where_the_program_says_so() -> TestResult {
    run(async {
        let acceptor = Acceptor::builder().dangerous_any_origin().build()?;
        let hosted = hyper_server(Over::Cleartext, acceptor, echo).await?;
        let (listener, site) =
            listen_with(Over::Cleartext, Listener::builder().dangerous_any_origin()).await?;
        serve(listener, echo);
        for site in [hosted, site] {
            for fields in [[("origin", EVIL)], [("sec-fetch-site", "cross-site")]] {
                let (status, text) = ask(&site, &fields).await?;
                ensure!(status == StatusCode::OK, "{fields:?}: {text}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_origin_that_no_browser_sends_is_refused_in_a_list() -> TestResult {
    run(async {
        let error =
            Acceptor::builder().origins(["a.example"]).build().err().context("no scheme")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error}");
        ensure!(error.to_string().contains("\"a.example\""), "{error}");
        let listener = Listener::builder().origins(["https://a/"]).bind("127.0.0.1:0").await;
        let error = listener.err().context("a path")?;
        ensure!(error.kind() == ErrorKind::InvalidInput, "{error}");
        ensure!(error.to_string().contains("\"https://a/\""), "{error}");
        Ok(())
    })
}
