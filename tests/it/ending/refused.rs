//! The ends of requests that become no connection.

use anyhow::{Context, Result, ensure};
use h2conn::{Client, ErrorKind, Listener, OnDrop};

use crate::support::checked;
use crate::support::raw::{self, DATA, END_STREAM, HEADERS, RST_STREAM, Raw};

#[tokio::test]
async fn a_request_that_nobody_answers_is_refused_and_may_be_tried_again() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let client = Client::new()?;
        let conn = client.open(&url).await?;
        drop(listener.accept().await.context("a request")?);
        let error = conn.response().await.err().context("it was dropped")?;
        ensure!(error.kind() == ErrorKind::Refused && error.is_retryable(), "{error}");
        // `connect` tries again by itself.
        let connecting = tokio::spawn(async move { client.connect(&url).await });
        drop(listener.accept().await.context("the first try")?);
        listener.accept().await.context("the second try")?.accept()?;
        connecting.await??;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() -> Result<()> {
    checked(30, async {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await?;
        let io = tokio::net::TcpStream::connect(listener.local_addr().to_string()).await?;
        tokio::spawn(async move { while listener.accept().await.is_some() {} });
        let mut raw = Raw::client(io).await?;
        // `HEAD http://raw/`, the method as a literal without a name of its own.
        let request = b"\x02\x04HEAD\x86\x84\x41\x03raw";
        raw.send(HEADERS, raw::END_HEADERS | END_STREAM, 1, request).await?;
        let answer = raw.wait_for(HEADERS, 1).await?;
        ensure!(answer.is_end(), "{answer:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_refusal_ends_with_a_reset_that_is_no_error() -> Result<()> {
    for on_drop in [OnDrop::Finish, OnDrop::Reset] {
        checked(30, a_refusal(on_drop)).await.with_context(|| format!("{on_drop:?}"))?;
    }
    Ok(())
}

/// The frames of one, by a listener whose dropped connections end so.
async fn a_refusal(on_drop: OnDrop) -> Result<()> {
    let mut listener = Listener::builder().on_drop(on_drop).bind("127.0.0.1:0").await?;
    let io = tokio::net::TcpStream::connect(listener.local_addr().to_string()).await?;
    let mut raw = Raw::client(io).await?;
    raw.send(HEADERS, raw::END_HEADERS, 1, raw::REQUEST).await?;
    listener.accept().await.context("a request")?.reject(http::StatusCode::FORBIDDEN);
    let mut body: Vec<u8> = Vec::new();
    loop {
        let frame = raw.wait_for(DATA, 1).await?;
        body.extend(&frame.payload);
        if frame.is_end() {
            break;
        }
    }
    ensure!(body == b"403 Forbidden\n");
    ensure!(raw.wait_for(RST_STREAM, 1).await?.payload == [0, 0, 0, 0]);
    Ok(())
}
