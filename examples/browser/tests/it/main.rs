//! The example in Chromium, which `interop/browser` drives: WebSockets over HTTP/2 and
//! over HTTP/1.1, as a browser uses them, with bytes and with JSON.

#[path = "../../../../tests/it/support/browser.rs"]
mod browser;
#[path = "../../../../tests/it/support/tools.rs"]
#[expect(dead_code, reason = "what other tests use of it")]
mod tools;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use browser::browser_scripts;

/// Longer than the limit of the scripts, which leave no browser and no files behind.
const WATCHDOG: Duration = Duration::from_secs(900);

/// The 10 MB and the line, which has 15 bytes and a line feed.
const BULK: &str = "10000016 bytes went back";
const NOTHING: &str = "0 bytes went back";

#[tokio::test]
async fn a_browser_has_its_conn_over_http_2() -> Result<()> {
    let Some(ends) = browse("--http2", "h2").await? else { return Ok(()) };
    // Over HTTP/2, Chromium leaves with RST_STREAM(CANCEL), and usually without a close frame.
    let badly = |end: &&String| end.starts_with("a connection ended badly: ");
    let others = ends.iter().filter(|end| *end == NOTHING || badly(end)).count();
    ensure!(others == 3 && ends.iter().any(|end| end == BULK), "{ends:#?}");
    Ok(())
}

#[tokio::test]
async fn a_browser_has_its_conn_over_http_1() -> Result<()> {
    let Some(mut ends) = browse("--http1", "http/1.1").await? else { return Ok(()) };
    ends.sort();
    ensure!(ends == [NOTHING, NOTHING, NOTHING, BULK], "{ends:#?}");
    Ok(())
}

#[tokio::test]
async fn a_page_talks_in_json_and_shows_its_token_over_http_2() -> Result<()> {
    talk("--http2", "h2").await
}

#[tokio::test]
async fn a_page_talks_in_json_and_shows_its_token_over_http_1() -> Result<()> {
    talk("--http1", "http/1.1").await
}

async fn talk(flag: &str, protocol: &str) -> Result<()> {
    let Some((seen, _)) = drive("json.mjs", flag, 0).await? else { return Ok(()) };
    // Without the token, with a wrong one, and with the token alone.
    let refused = json!([false, 1006]);
    let expected = json!({
        "page": protocol, "webSocket": protocol, "messages": 2, "long": 1,
        "outcomes": [refused, refused, refused],
    });
    ensure!(seen == expected, "{seen}");
    Ok(())
}

/// The lines of the example about its four connections, or `None` if there is no browser.
async fn browse(flag: &str, protocol: &str) -> Result<Option<Vec<String>>> {
    let Some((mut seen, ends)) = drive("echo.mjs", flag, 4).await? else { return Ok(None) };
    let milliseconds = seen["milliseconds"].take();
    ensure!(milliseconds.is_u64(), "{milliseconds}");
    let expected = json!({
        "page": protocol, "webSocket": protocol, "bytes": 10_000_000, "identical": true,
        "milliseconds": null, "close": 1000, "refused": 403,
    });
    ensure!(seen == expected, "{seen}");
    Ok(Some(ends))
}

/// The observations of a script, and this many lines of the example; `None` if there is no browser.
async fn drive(script: &str, flag: &str, lines: usize) -> Result<Option<(Value, Vec<String>)>> {
    let Some(scripts) = browser_scripts().await? else { return Ok(None) };
    timeout(WATCHDOG, async {
        let program = env!("CARGO_BIN_EXE_browser");
        let mut server =
            Command::new(program).arg("0").stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut said = BufReader::new(server.stderr.take().context("it is piped")?).lines();
        let first = said.next_line().await?.context("the example has ended")?;
        let url = first.strip_prefix("listening on ").with_context(|| first.clone())?;
        let output = Command::new("node")
            .arg(scripts.join(script))
            .args([flag, url])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout)?;
        eprintln!("{seen}");
        let mut ends = Vec::new();
        while ends.len() < lines {
            ends.push(said.next_line().await?.context("the example has ended")?);
        }
        server.kill().await?;
        Ok(Some((seen, ends)))
    })
    .await
    .context("the browser hangs")?
}
