//! Frames that arrive after the end of a stream.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;

use super::arena::on_listener;
use super::peer::{CANCEL, NO_ERROR, ask, client, open, pieces, play, stream};
use crate::support::TestResult;
use crate::support::raw::{DATA, END_STREAM, HEADERS, RST_STREAM, frame};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rst_after_end_stream_leaves_what_was_read_and_the_link() -> TestResult {
    let errors = on_listener("RST_STREAM after END_STREAM", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        for number in 1..=2_000 {
            let code = if number % 2 == 0 { NO_ERROR } else { CANCEL };
            raw.io.write_all(&open(stream(number), "/all")).await?;
            raw.send(DATA, END_STREAM, stream(number), b"all").await?;
            raw.send(RST_STREAM, 0, stream(number), &code.to_be_bytes()).await?;
            if number % 100 == 0 {
                ask(&mut raw, 1).await?;
            }
        }
        Ok("2,000 streams, another Conn of the link is served".to_owned())
    })
    .await?;
    ensure!(errors.is_empty(), "{errors:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_after_rst_leaks_no_window_of_the_link() -> TestResult {
    on_listener("DATA after the server's RST_STREAM", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        // 64 KiB each: 31 MiB in all, while the link's window is 16 MiB. A leak of window would
        // stop the link.
        for number in 1..=500 {
            raw.io.write_all(&open(stream(number), "/reset")).await?;
            raw.wait_for(RST_STREAM, stream(number)).await?;
            for _ in 0..4 {
                raw.send(DATA, 0, stream(number), &[0; 16 << 10]).await?;
            }
            ask(&mut raw, 1).await?;
        }
        Ok("31 MiB to 500 streams that were over; another Conn of the link is served".to_owned())
    })
    .await?;
    on_listener("DATA after the peer's own RST_STREAM", async |addr: SocketAddr| {
        let heard = play(
            client(addr).await?,
            pieces(2_000, |number| {
                let stream = stream(number);
                let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
                [open(stream, "/"), reset, frame(DATA, 0, stream, &[0; 1 << 10])].concat()
            }),
        )
        .await;
        ensure!(heard.survived || heard.goaway.is_some(), "{heard}");
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_half_done_goes_with_its_transport() -> TestResult {
    on_listener("transports that end in the middle", async |addr: SocketAddr| {
        for number in 0..200 {
            let mut raw = client(addr).await?;
            let opening: Vec<u8> = (0..20).flat_map(|n| open(stream(n), "/")).collect();
            raw.io.write_all(&opening).await?;
            raw.wait_for(HEADERS, stream(19)).await?;
            // Half a frame, or none.
            raw.io.write_all(&[0, 0, 9, 0, 0, 0, 0, 0, 1, 1][..number % 11]).await?;
        }
        Ok("200 links with 20 Conns each".to_owned())
    })
    .await?;
    Ok(())
}
