//! The server as a process, and its clients.

use std::process::Stdio;
use std::time::Duration;

use h2conn::http::{Method, StatusCode};
use h2conn::tls::ClientTls;
use h2conn::{Client, Conn};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

type TestResult<T = ()> = anyhow::Result<T>;

/// The server, its standard error, and its URL.
async fn start() -> TestResult<(Child, BufReader<ChildStderr>, String)> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_serve"))
        .arg("127.0.0.1:0")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(server.stderr.take().ok_or(anyhow::anyhow!("it is piped"))?);
    let mut line = String::new();
    said.read_line(&mut line).await?;
    let url = line.trim().strip_prefix("listening on ").ok_or(anyhow::anyhow!("{line}"))?;
    Ok((server, said, url.to_owned()))
}

async fn heard(mut conn: Conn) -> TestResult<String> {
    conn.shutdown().await?;
    let mut text = String::new();
    conn.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn the_api_the_live_route_and_the_metrics_share_a_port() -> TestResult {
    let (mut server, mut said, url) = start().await?;
    let tls = ClientTls::new().dangerous_accept_any_certificate();
    let client = Client::builder().tls(tls).build()?;
    let get = |path: &str| client.request(format!("{url}{path}")).method(Method::GET);
    let (conn, response) = get("/api/version").connect().await?;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(heard(conn).await?, format!("{{\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION")));

    let live = client.request(format!("{url}/live"));
    let refused = live.connect().await.err().and_then(|error| error.status());
    assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
    let live = client.request(format!("{url}/live")).header("authorization", "Bearer s3cret");
    let (mut conn, _) = live.connect().await?;
    conn.write_all(b"[1, 2]\n").await?;
    let mut answer = [0; 16];
    conn.read_exact(&mut answer).await?;
    assert_eq!(std::str::from_utf8(&answer)?, "{\"heard\":[1,2]}\n");
    let (metrics, _) = get("/metrics").connect().await?;
    let metrics = heard(metrics).await?;
    assert!(
        metrics.contains("links 1\nopen ") && metrics.contains("accepted_total 4\n"),
        "{metrics}"
    );

    // Ctrl-C: the connection is told, and ends.
    let pid = server.id().ok_or(anyhow::anyhow!("it runs"))?;
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().await?.success());
    assert_eq!(heard(conn).await?, "");
    client.close().await?;
    let mut last = String::new();
    tokio::time::timeout(Duration::from_secs(60), said.read_to_string(&mut last)).await??;
    assert_eq!(last, "all clients have their answers\n");
    assert!(server.wait().await?.success());
    Ok(())
}
