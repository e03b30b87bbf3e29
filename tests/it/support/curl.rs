//! curl, a client that is independent of this library.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{TestResult, skipped};

/// Whether curl is installed and supports HTTP/2. Prints a message if not.
pub(crate) async fn curl_is_here() -> bool {
    let version = Command::new("curl").arg("-V").output().await;
    let here = version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("HTTP2"));
    if !here {
        skipped("no curl with HTTP/2");
    }
    here
}

/// The output of curl with these arguments and this input.
pub(crate) async fn curl(arguments: &str, url: String, input: &[u8]) -> TestResult<String> {
    let mut curl = Command::new("curl")
        .args(["-q", "-skN", "--noproxy", "*"])
        .args(arguments.split(' '))
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = curl.stdin.take().context("curl's input")?;
    let say = async move {
        // If curl is refused, it does not read all of its input.
        let _ = stdin.write_all(input).await;
    };
    let ((), output) = tokio::join!(say, curl.wait_with_output());
    let output = output?;
    ensure!(output.status.success(), "curl {arguments}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
