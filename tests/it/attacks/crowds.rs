//! Several links of an attacker at once, while a newcomer asks for new Conns.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::arena::on_small_listener;
use super::peer::{
    CANCEL, ENHANCE_YOUR_CALM, Heard, bomb, client, open, pieces, play, play_to, stream,
};
use crate::support::TestResult;
use crate::support::raw::{END_HEADERS, END_STREAM, HEADERS, REQUEST, RST_STREAM, frame};

/// Attacks over so many links at the same time, and returns what each has heard.
async fn at_once<Fut>(
    addr: SocketAddr,
    links: usize,
    attack: impl Fn(SocketAddr) -> Fut,
) -> TestResult<Vec<Heard>>
where
    Fut: Future<Output = TestResult<Heard>> + Send + 'static,
{
    let mut attacks: JoinSet<_> = (0..links).map(|_| attack(addr)).collect();
    let mut heard = Vec::new();
    while let Some(attack) = attacks.join_next().await {
        heard.push(attack??);
    }
    Ok(heard)
}

/// Each link has survived, or was told to calm down.
fn ensure_in_order(heard: &[Heard]) -> TestResult<String> {
    let (mut lived, mut refused) = (0, 0);
    for one in heard {
        let is_calmed = one.goaway.as_ref().is_some_and(|(code, _)| *code == ENHANCE_YOUR_CALM);
        ensure!(one.survived || is_calmed, "{one}");
        lived += usize::from(one.survived);
        refused += one.reset();
    }
    Ok(format!("{lived} of {} links live, {refused} resets", heard.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs_over_several_links_leave_room_for_a_newcomer() -> TestResult {
    on_small_listener("header bombs over five links, twice", async |addr: SocketAddr| {
        let mut last = String::new();
        for _ in 0..2 {
            let heard = at_once(addr, 5, |addr| async move {
                let mut raw = client(addr).await?;
                let (first, again) = bomb();
                raw.io.write_all(&frame(HEADERS, END_HEADERS, 1, &first)).await?;
                let more = move |n| frame(HEADERS, END_HEADERS, stream(n + 1), &again);
                Ok(play(raw, pieces(300, more)).await)
            })
            .await?;
            let resets: usize = heard.iter().map(Heard::reset).sum();
            ensure!(resets > 0, "there is room for all");
            last = ensure_in_order(&heard)?;
        }
        Ok(last)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_end_over_several_links_do_not_hold_up_a_newcomer() -> TestResult {
    on_small_listener("backlog flood over three links", async |addr: SocketAddr| {
        let heard = at_once(addr, 3, |addr| async move {
            let ask = |n| frame(HEADERS, END_HEADERS | END_STREAM, stream(n), REQUEST);
            Ok(play_to(client(addr).await?, 3_000, pieces(3_000, ask)).await)
        })
        .await?;
        let answered: usize = heard.iter().map(|heard| heard.heads).sum();
        // A link can be ended before the first request on it is handled.
        let lives = heard.iter().any(|heard| heard.survived);
        ensure!(answered > 0 || !lives, "none was answered");
        Ok(format!("{answered} answered, {}", ensure_in_order(&heard)?))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_abandoned_over_several_links_do_not_hold_up_a_newcomer() -> TestResult {
    let errors = on_small_listener("requests taken back, four links", async |addr: SocketAddr| {
        let heard = at_once(addr, 4, |addr| async move {
            let take_back = |n| {
                let cancel = CANCEL.to_be_bytes();
                [open(stream(n), "/sleep"), frame(RST_STREAM, 0, stream(n), &cancel)].concat()
            };
            Ok(play(client(addr).await?, pieces(2_000, take_back)).await)
        })
        .await?;
        ensure_in_order(&heard)
    })
    .await?;
    ensure!(errors.iter().all(|error| error.contains("/sleep")), "{errors:?}");
    on_small_listener("links that go while their requests wait", async |addr: SocketAddr| {
        for _ in 0..10 {
            let mut links = Vec::new();
            for _ in 0..4 {
                let mut raw = client(addr).await?;
                let requests: Vec<u8> = (0..200).flat_map(|n| open(stream(n), "/sleep")).collect();
                raw.io.write_all(&requests).await?;
                links.push(raw);
            }
        }
        Ok("8,000 requests of 40 links".to_owned())
    })
    .await?;
    Ok(())
}
