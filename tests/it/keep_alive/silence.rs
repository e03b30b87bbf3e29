//! Connections that end after the time of a proxy's timeout.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Client, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pings::{scripted, times};
use super::{DAY, SECOND};
use crate::support::raw::{DATA, RST_STREAM, frame};
use crate::support::{TestResult, checked, ours};

/// The texts of the errors of a read and of a write on a connection that has had a byte each way, and then nothing for
/// `silence`. Then the server resets it, or ends the transport.
async fn after(silence: Duration, reset: Option<Reason>) -> TestResult<[String; 2]> {
    let (client, mut conn, mut raw) = scripted(Client::builder()).await?;
    conn.write_all(b"x").await?;
    raw.wait_for(DATA, 1).await?;
    raw.send(DATA, 0, 1, b"y").await?;
    conn.read_exact(&mut [0]).await?;
    // PINGs of keep-alive are answered meanwhile. They are no sign of life of a stream.
    times(&mut raw, silence).await?;
    match reset {
        Some(reason) => raw.send(RST_STREAM, 0, 1, &reason.code().to_be_bytes()).await?,
        None => drop(raw),
    }
    let text = |error: io::Error| ours(&error).to_string();
    let read = conn.read(&mut [0]).await.err().context("it was lost")?;
    let write = conn.write(b"x").await.err().context("it was lost")?;
    drop(client);
    Ok([text(read), text(write)])
}

#[tokio::test(start_paused = true)]
async fn a_loss_after_the_time_of_a_common_timeout_says_so() -> TestResult {
    checked(DAY, async {
        let at = Duration::from_millis;
        for (silence, reset) in [
            (at(60_020), Some(Reason::CANCEL)),
            (at(300_000), Some(Reason::NO_ERROR)),
            (at(15_900), Some(Reason::INTERNAL_ERROR)),
            (at(350_500), None),
        ] {
            for text in after(silence, reset).await? {
                let said =
                    format!("; this came after {:.1} s without a byte", silence.as_secs_f64());
                ensure!(text.contains(&said) && text.contains("timeout of a proxy"), "{text}");
            }
        }
        // The server has worked for a minute, and breaks off right behind its first bytes.
        let (_client, mut conn, mut raw) = scripted(Client::builder()).await?;
        times(&mut raw, 60 * SECOND).await?;
        let mut frames = frame(DATA, 0, 1, b"half of i");
        frames.extend(frame(RST_STREAM, 0, 1, &Reason::INTERNAL_ERROR.code().to_be_bytes()));
        raw.io.write_all(&frames).await?;
        let error = conn.read_to_end(&mut Vec::new()).await.err().context("it was reset")?;
        ensure!(!ours(&error).to_string().contains(" s "), "{error}");
        for (silence, reset) in [
            (20 * SECOND, Some(Reason::CANCEL)),
            (59 * SECOND, None),
            (62 * SECOND, None),
            // Other codes have causes of their own.
            (60 * SECOND, Some(Reason::PROTOCOL_ERROR)),
        ] {
            for text in after(silence, reset).await? {
                ensure!(!text.contains(" s "), "{silence:?}: {text}");
            }
        }
        Ok(())
    })
    .await
}
