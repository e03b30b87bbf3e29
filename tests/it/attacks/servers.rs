//! Hostile servers, and the reaction of a client.

use anyhow::ensure;
use tokio::net::TcpStream;

use super::arena::on_client;
use super::peer::{CANCEL, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, pieces, play};
use crate::support::TestResult;
use crate::support::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, PUSH_PROMISE, REQUEST,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame,
};

type Server = Raw<TcpStream>;

async fn answered(mut raw: Server) -> TestResult<Server> {
    raw.wait_for(HEADERS, 1).await?;
    raw.send(HEADERS, END_HEADERS, 1, OK).await?;
    Ok(raw)
}

/// Floods a client after its request is answered, until the client ends the link.
async fn flood(fault: &str, what: &str, frame: Vec<u8>) -> TestResult {
    let told = on_client(fault, "/", async |raw: Server| {
        let heard = play(answered(raw).await?, pieces(1_000_000, |_| frame.clone())).await;
        heard.ensure_calmed(what)?;
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told.contains(what), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_flood_by_a_server_ends_the_link() -> TestResult {
    flood("server: SETTINGS flood", "SETTINGS frames", frame(SETTINGS, 0, 0, &[])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_flood_by_a_server_ends_the_link() -> TestResult {
    flood("server: PING flood", "PING frames", frame(PING, 0, 0, &[0; 8])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_by_a_server_ends_the_link() -> TestResult {
    let told = on_client("server: RST_STREAM storm", "/", async |raw: Server| {
        let reset = frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
        let heard = play(answered(raw).await?, pieces(1_000_000, |_| reset.clone())).await;
        heard.ensure_calmed("RST_STREAM frames")?;
        Ok(heard.to_string())
    })
    .await?;
    // The first reset was for the connection.
    ensure!(told.contains("CANCEL"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_responses_flood_by_a_server_ends_the_link() -> TestResult {
    let told = on_client("server: flood of interim responses", "/", async |mut raw: Server| {
        raw.wait_for(HEADERS, 1).await?;
        // `:status: 103`, and a field of 1,000 bytes that one byte names from the second time on.
        let len = 1_000 - 0x7f;
        let mut head = b"\x08\x03103\x40\x06x-link".to_vec();
        head.extend([0x7f, len as u8 | 0x80, (len >> 7) as u8]);
        head.extend([b'a'; 1_000]);
        raw.send(HEADERS, END_HEADERS, 1, &head).await?;
        let again = frame(HEADERS, END_HEADERS, 1, b"\x08\x03103\xbe\xbe\xbe");
        let heard = play(raw, pieces(1_000_000, |_| again.clone())).await;
        heard.ensure_calmed("HEADERS frames")?;
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told.contains("HEADERS frames"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_by_a_server_ends_the_link() -> TestResult {
    let told = on_client("server: PUSH_PROMISE", "/", async |raw: Server| {
        let push = [&2_u32.to_be_bytes()[..], REQUEST].concat();
        let push = frame(PUSH_PROMISE, END_HEADERS, 1, &push);
        let heard = play(answered(raw).await?, pieces(1_000_000, |_| push.clone())).await;
        heard.ensure_ended(PROTOCOL_ERROR)?;
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told.contains("PROTOCOL_ERROR"), "{told}");
    Ok(())
}

/// A field of 5,000 bytes that is not indexed.
fn large_field() -> Vec<u8> {
    let len = 5_000 - 0x7f;
    let mut field = vec![0, 1, b'x', 0x7f, len as u8 | 0x80, (len >> 7) as u8];
    field.extend([b'a'; 5_000]);
    field
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_headers_of_a_response_are_refused() -> TestResult {
    let told = on_client("server: huge response head", "/", async |mut raw: Server| {
        raw.wait_for(HEADERS, 1).await?;
        raw.send(HEADERS, END_HEADERS, 1, &[OK.to_vec(), large_field().repeat(4)].concat()).await?;
        let reset = raw.wait_for(RST_STREAM, 1).await?;
        ensure!(reset.payload == PROTOCOL_ERROR.to_be_bytes(), "{reset:?}");
        Ok("RST_STREAM 0x1".to_owned())
    })
    .await?;
    ensure!(told.contains("PROTOCOL_ERROR"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_trailers_of_a_response_cost_nothing() -> TestResult {
    on_client("server: huge trailers", "/", async |raw: Server| {
        let mut raw = answered(raw).await?;
        raw.send(DATA, 0, 1, b"all").await?;
        raw.send(HEADERS, END_STREAM, 1, &large_field().repeat(3)).await?;
        let more = frame(CONTINUATION, 0, 1, &large_field().repeat(3));
        let heard = play(raw, pieces(100_000, |_| more.clone())).await;
        ensure!(heard.goaway.is_some(), "{heard}");
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_window_of_a_server_ends_with_the_writers_deadline() -> TestResult {
    let told = on_client("server: zero window", "/impatient", async |mut raw: Server| {
        raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await?;
        let mut raw = answered(raw).await?;
        raw.wait_for(RST_STREAM, 1).await?;
        Ok("the writer gives up".to_owned())
    })
    .await?;
    ensure!(told.contains("deadline"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_overflow_by_a_server_ends_the_link() -> TestResult {
    let told = on_client("server: window overflow", "/", async |raw: Server| {
        let mut raw = answered(raw).await?;
        raw.send(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).await?;
        let heard = play(raw, || None).await;
        heard.ensure_ended(FLOW_CONTROL_ERROR)?;
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told.contains("FLOW_CONTROL_ERROR"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_data_flood_by_a_server_is_read_like_any_other() -> TestResult {
    let told = on_client("server: tiny DATA flood", "/", async |raw: Server| {
        let heard = play(
            answered(raw).await?,
            pieces(500_000, |number| {
                frame(DATA, if number == 499_999 { END_STREAM } else { 0 }, 1, b"x")
            }),
        )
        .await;
        ensure!(heard.survived, "{heard}");
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told == "in order after 500000 bytes", "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_data_flood_by_a_server_ends_the_link() -> TestResult {
    let told = on_client("server: empty DATA flood", "/", async |raw: Server| {
        let empty = frame(DATA, 0, 1, &[]);
        let heard = play(answered(raw).await?, pieces(1_000_000, |_| empty.clone())).await;
        heard.ensure_ended(ENHANCE_YOUR_CALM)?;
        Ok(heard.to_string())
    })
    .await?;
    ensure!(told.contains("ENHANCE_YOUR_CALM"), "{told}");
    Ok(())
}
