//! Clients of a proxy, and the waits until it takes them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use h2conn::http::{Method, StatusCode};
use h2conn::tls::ClientTls;
use h2conn::{Client, ClientBuilder, ErrorKind};
use tokio::time::{sleep, timeout};

use super::boxes::Proxy;
use super::cells::echoed;
use super::kinds::{Form, MARK};
use crate::support::WATCHDOG;

/// A client that trusts the proxy.
pub(super) fn builder(proxy: &Proxy) -> ClientBuilder {
    let trusting = ClientTls::new().only_root_certificates(&proxy.certificate);
    // 300 handshakes of TLS at once take their time on a busy machine.
    Client::builder().tls(trusting).reach(proxy.form.reach()).connect_timeout(WATCHDOG)
}

pub(super) fn client(proxy: &Proxy) -> Result<Client> {
    Ok(builder(proxy).build()?)
}

/// Waits until a new client gets through to the server.
pub(super) async fn until_it_serves(proxy: &mut Proxy) -> Result<()> {
    until(proxy, async |client, url| {
        let mut conn = client.open(url).await?;
        echoed(&mut conn, b"ready").await?;
        Ok(conn.close().await?)
    })
    .await
}

/// Waits until a new client is answered by the changed configuration.
pub(super) async fn until_it_is_changed(proxy: &mut Proxy) -> Result<()> {
    match proxy.form {
        Form::Http2 | Form::Tcp => {
            until(proxy, async |client, url| {
                let mut conn = client.open(url).await?;
                echoed(&mut conn, b"ready").await?;
                let response = conn.response().await?;
                ensure!(response.headers().contains_key(MARK), "{:?}", response.headers());
                Ok(conn.close().await?)
            })
            .await
        }
        // Traefik adds no field to the answer to a WebSocket. All else is refused by the server.
        Form::WebSocket => {
            let trusting = ClientTls::new().only_root_certificates(&proxy.certificate);
            let by_http2 = Client::builder().tls(trusting).build()?;
            until(proxy, async |_, url| {
                let asking = by_http2.request(url).method(Method::GET).without_content();
                let refused = asking.connect().await.err().context("an answer of the server")?;
                let headers = refused.headers().context("an answer of the server")?;
                ensure!(headers.contains_key(MARK), "{headers:?}");
                Ok(())
            })
            .await
        }
    }
}

/// Waits until the server refuses a new client, which does not know the token.
pub(super) async fn until_it_answers(proxy: &mut Proxy) -> Result<()> {
    until(proxy, async |client, url| match client.connect(url).await {
        Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => Ok(()),
        _ => bail!("no answer of the server"),
    })
    .await
}

/// Waits until the proxy takes connections.
pub(super) async fn until_it_listens(proxy: &mut Proxy) -> Result<()> {
    let is_absent = |kind| matches!(kind, ErrorKind::Connect | ErrorKind::Tls);
    until(proxy, async |client, url| match client.open(url).await {
        Err(error) if is_absent(error.kind()) => Err(error.into()),
        // Whatever comes of it.
        _ => Ok(()),
    })
    .await
}

async fn until(
    proxy: &mut Proxy,
    ready: impl AsyncFn(&Client, String) -> Result<()>,
) -> Result<()> {
    let client = client(proxy)?;
    let url = format!("{}echo", proxy.url);
    let mut last = String::new();
    let serves = async {
        loop {
            match timeout(Duration::from_secs(5), ready(&client, url.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = format!("{error:#}"),
                Err(_) => last = "no answer in 5 s".to_owned(),
            }
            proxy.is_alive()?;
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(Duration::from_secs(60), serves).await {
        Ok(serves) => serves,
        Err(_) => bail!("{} serves nothing: {last}: {}", proxy.kind.name(), proxy.log()),
    }
}
