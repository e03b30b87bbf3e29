//! Many streams that are reset: by the peer, or by this side because the peer provokes it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::Pair;
use h2conn::{Conn, Reason};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::arena::on_listener;
use super::peer::{
    CANCEL, ENHANCE_YOUR_CALM, REFUSED_STREAM, ask, client, open, pieces, play, stream,
};
use crate::support::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, REQUEST, RST_STREAM, WINDOW_UPDATE, frame,
};
use crate::support::{LINGER, TestResult, checked, long};

fn rst(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_the_link() -> TestResult {
    on_listener("rapid reset (CVE-2023-44487)", async |addr: SocketAddr| {
        // The attacker reconnects each time. A link tolerates at least 20,000 resets.
        let links = if long() { 50 } else { 5 };
        let mut last = String::new();
        for _ in 0..links {
            let reset = |number| [open(stream(number), "/"), rst(stream(number))].concat();
            let heard = play(client(addr).await?, pieces(300_000, reset)).await;
            heard.ensure_ended(ENHANCE_YOUR_CALM)?;
            last = heard.to_string();
        }
        Ok(format!("{links} links, each ended after 20,000 and more: {last}"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_after_the_answer_ends_the_handlers() -> TestResult {
    let errors = on_listener("reset after accept", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        for number in 1..=5_000 {
            raw.io.write_all(&open(stream(number), "/read")).await?;
            if number % 1_000 == 0 {
                // The last of these requests is answered, and its handler reads.
                raw.wait_for(HEADERS, stream(number)).await?;
                let resets = (number - 999..=number).flat_map(|number| rst(stream(number)));
                raw.io.write_all(&resets.collect::<Vec<_>>()).await?;
                ask(&mut raw, 1).await?;
            }
        }
        Ok("5,000 streams, another Conn of the link is served after each thousand".to_owned())
    })
    .await?;
    ensure!(errors.len() == 1, "{errors:?}");
    ensure!(errors[0].starts_with("5000 × /read") && errors[0].contains("CANCEL"), "{errors:?}");
    Ok(())
}

/// The frames that are sent on a stream that was opened.
type Provoke = fn(u32) -> Vec<u8>;

/// Provokes a server's resets in one way, on more streams than the server tolerates.
async fn made_you_reset(way: &str, reason: u32, provoke: impl Fn(u32) -> Vec<u8>) -> TestResult {
    on_listener(&format!("made you reset (CVE-2025-8671): {way}"), async |addr: SocketAddr| {
        let heard =
            play(client(addr).await?, pieces(60_000, |number| provoke(stream(number)))).await;
        heard.ensure_calmed("stream errors")?;
        let resets = heard.resets.get(&reason).copied().unwrap_or_default();
        ensure!((15_000..40_000).contains(&resets), "{heard}");
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_an_overflowing_window_ends_the_link() -> TestResult {
    made_you_reset("a window that overflows", super::peer::FLOW_CONTROL_ERROR, |stream| {
        let update = frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [open(stream, "/"), update].concat()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_a_broken_request_ends_the_link() -> TestResult {
    // `content-length: 1`, and an end at once.
    let broken = [REQUEST, b"\x0f\x0d\x011"].concat();
    made_you_reset(
        "a content-length that is not kept",
        super::peer::PROTOCOL_ERROR,
        move |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &broken),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_streams_past_the_limit_ends_the_link() -> TestResult {
    made_you_reset("streams past the limit", REFUSED_STREAM, |stream| open(stream, "/sleep")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_odd_frames_ends_the_link() -> TestResult {
    let ways: [(&str, Provoke); 4] = [
        ("a PRIORITY of the wrong length", |stream| frame(PRIORITY, 0, stream, &[0; 4])),
        ("a WINDOW_UPDATE of 0", |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("DATA after END_STREAM", |stream| frame(DATA, END_STREAM, stream, b"x").repeat(2)),
        ("a second head", |stream| open(stream, "/")),
    ];
    for (way, odd) in ways {
        on_listener(&format!("made you reset (CVE-2025-8671): {way}"), async |addr: SocketAddr| {
            let piece = |number| [open(stream(number), "/"), odd(stream(number))].concat();
            let heard = play(client(addr).await?, pieces(60_000, piece)).await;
            ensure!(!heard.survived && heard.goaway.is_some(), "{heard}");
            Ok(heard.to_string())
        })
        .await?;
    }
    Ok(())
}

/// Sends messages while the Conn is reset, and after that.
async fn chatter(conn: Conn) {
    for _ in 0..8 {
        if (&conn).write_all(b"a message").await.is_err() || conn.sent().await.is_err() {
            return;
        }
    }
    let _ = conn.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_is_not_what_ten_thousand_aborted_conns_look_like() -> TestResult {
    checked(120, async {
        for by_client in [true, false] {
            let (client_io, server_io) = duplex(64 << 10);
            let mut pair =
                Pair::builder().linger_timeout(LINGER).over(client_io, server_io).await?;
            let (witness, other) = pair.open().await?;
            for _ in 0..5 {
                let (mut aborted, mut talking) = (Vec::new(), JoinSet::new());
                for _ in 0..2_000 {
                    let (client, server) = pair.open().await?;
                    let (one, other) = if by_client { (client, server) } else { (server, client) };
                    talking.spawn(chatter(other));
                    aborted.push(one);
                }
                for (number, conn) in aborted.into_iter().enumerate() {
                    match number % 3 {
                        0 => conn.reset(Reason::INTERNAL_ERROR),
                        1 => conn.reset(Reason::CANCEL),
                        _ => drop(conn),
                    }
                }
                while let Some(done) = talking.join_next().await {
                    done?;
                }
            }
            witness.ping().await.context("the link lives")?;
            other.ping().await.context("the link lives")?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_counts_no_reset_that_users_ask_for() -> TestResult {
    checked(120, async {
        let mut pair = Pair::new().await?;
        let (witness, _other) = pair.open().await?;
        // More resets than a peer may provoke, which are 20,000 and 200 a second. The rate is lower
        // than that at which a peer may send them, which is 20,000 and 2,000 a second.
        let mut pace = interval(Duration::from_millis(250));
        for number in 0..26_000 {
            let (client, server) = pair.open().await?;
            server.reset(Reason::from_code(ENHANCE_YOUR_CALM));
            if number % 1_000 == 0 {
                pace.tick().await;
                witness.ping().await?;
            }
            drop(client);
        }
        Ok(())
    })
    .await
}
