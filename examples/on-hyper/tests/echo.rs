//! The program as its users run it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn bytes_come_back_until_both_directions_have_ended() -> Result<()> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_on-hyper"))
        .arg("127.0.0.1:0")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(server.stderr.take().context("it is piped")?).lines();
    let first = said.next_line().await?.context("the server has ended")?;
    let url = first.strip_prefix("listening on ").with_context(|| first.clone())?;
    let (mut conn, response) = h2conn::connect(url).await?;
    ensure!(response.status() == 200, "{response:?}");
    conn.write_all(b"hello").await?;
    conn.shutdown().await?;
    let mut answer = String::new();
    conn.read_to_string(&mut answer).await?;
    ensure!(answer == "hello", "{answer:?}");
    conn.close().await?;
    server.kill().await?;
    Ok(())
}
