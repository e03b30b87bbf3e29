//! Header sections that are too large, compressed, or endless.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;

use super::arena::on_listener;
use super::peer::{ENHANCE_YOUR_CALM, PROTOCOL_ERROR, ask, client, open, pieces, play, stream};
use crate::support::TestResult;
use crate::support::raw::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, REQUEST, frame};

/// `:status: 431` in HPACK: first as a literal, and then as the newest entry of the table, or as the
/// one before that if the response to another request came between, which has a date.
const TOO_LARGE: [&[u8]; 3] = [&[0x48, 3, b'4', b'3', b'1'], &[0xbe], &[0xbf]];

/// A literal field without indexing, of this length, without Huffman coding.
fn field(name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x00, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.extend(string_length(len));
    bytes.extend(vec![b'a'; len]);
    bytes
}

/// RFC 7541 §5.1, with a prefix of seven bits, for lengths that do not fit into the prefix.
fn string_length(len: usize) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![0x7f], len - 0x7f);
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuation_flood_ends_the_link() -> TestResult {
    on_listener("CONTINUATION flood", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&frame(HEADERS, 0, 1, REQUEST)).await?;
        let more = frame(CONTINUATION, 0, 1, &field("x-more", 200));
        let heard = play(raw, pieces(1_000_000, |_| more.clone())).await;
        heard.ensure_ended(ENHANCE_YOUR_CALM)?;
        Ok(heard.to_string())
    })
    .await?;
    on_listener("CONTINUATION flood, empty frames", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&frame(HEADERS, 0, 1, REQUEST)).await?;
        let heard = play(raw, pieces(1_000_000, |_| frame(CONTINUATION, 0, 1, &[]))).await;
        heard.ensure_ended(ENHANCE_YOUR_CALM)?;
        Ok(heard.to_string())
    })
    .await?;
    on_listener("CONTINUATION flood, a few on each of many streams", async |addr: SocketAddr| {
        let heard = play(
            client(addr).await?,
            pieces(10_000, |number| {
                let end = frame(CONTINUATION, END_HEADERS, stream(number), REQUEST);
                [frame(HEADERS, END_STREAM, stream(number), &[]), end].concat()
            }),
        )
        .await;
        heard.ensure_calmed("CONTINUATION frames")?;
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hpack_bomb_is_answered_431_or_ends_the_link() -> TestResult {
    on_listener("HPACK bomb", async |addr: SocketAddr| {
        // One field of 4,000 bytes enters the table. After that one byte names it each time: a
        // kilobyte stands for 4 MiB of fields.
        let mut bomb = REQUEST.to_vec();
        bomb.extend([0x40, 6]);
        bomb.extend(b"x-bomb");
        bomb.extend(string_length(4_000));
        bomb.extend(vec![b'a'; 4_000]);
        bomb.extend([0xbe; 1_000]);
        let flags = END_HEADERS | END_STREAM;
        let heard = play(
            client(addr).await?,
            pieces(2_000, |number| frame(HEADERS, flags, stream(number), &bomb)),
        )
        .await;
        let ended = heard
            .goaway
            .as_ref()
            .is_some_and(|(reason, _)| [ENHANCE_YOUR_CALM, PROTOCOL_ERROR].contains(reason));
        let refused = heard.heads == 2_000 && TOO_LARGE.contains(&heard.head.as_slice());
        ensure!(ended || refused, "{heard}, {} heads, {:?}", heard.heads, heard.head);
        Ok(format!("{heard}; {} × 431", heard.heads))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_headers_are_answered_431_and_the_link_lives() -> TestResult {
    on_listener("huge headers", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        let huge = [REQUEST.to_vec(), field("x-huge", 20_000)].concat();
        for number in 1..=1_000 {
            raw.send(HEADERS, END_HEADERS | END_STREAM, stream(number), &huge).await?;
            let answer = raw.wait_for(HEADERS, stream(number)).await?;
            ensure!(TOO_LARGE.contains(&answer.payload.as_slice()), "{answer:?}");
        }
        ask(&mut raw, 1).await?;
        Ok("1,000 × 431, another Conn of the link is served".to_owned())
    })
    .await?;
    Ok(())
}
