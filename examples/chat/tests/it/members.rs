//! Members over real connections, well-behaved and otherwise.

use anyhow::{Context, ensure};
use chat::member;
use chat::post::{MAX_MESSAGE_SIZE, Post};
use chat::room::{Limits, Room};
use futures_util::{SinkExt, StreamExt};
use h2conn::Reason;
use h2conn::codec::Json;
use h2conn::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Guest, Site, TestResult, within};

const WATCHDOG: u64 = 300;

#[tokio::test]
async fn members_hear_each_other_in_gob_and_in_json() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = site.join("ada").await?;
        let (conn, _) = site.client().build()?.connect(format!("{}json", site.url)).await?;
        let mut bob = conn.framed(Json::<String>::new());
        bob.send("Bob".to_owned()).await?;
        ensure!(bob.next().await.context("an answer")?? == "ok");
        let mut bob = bob.map_codec(|_| Json::<Post>::new());
        let greeting = bob.next().await.context("a greeting")??;
        ensure!(greeting.here == ["ada", "Bob"], "{greeting:?}");

        bob.send(Post::new("not Bob", "grüße 👋")).await?;
        let heard = ada.read_until(|post| post.user == "Bob").await?;
        ensure!(heard.message == "grüße 👋" && !heard.earlier, "{heard:?}");
        ada.post("hi").await?;
        while bob.next().await.context("the end")??.user != "ada" {}
        let conn = bob.into_inner();
        conn.close().await?;
        let gone = ada.read_until(|post| !post.went.is_empty()).await?;
        ensure!((&*gone.went, &*gone.message) == ("Bob", "Bob logged out"));
        ada.conn().close().await?;
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_until_its_bearer_has_left() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let ada = site.join("ada").await?;
        let mut bob = site.join("bob").await?;
        let refused = Guest::login(site.connect().await?, "ada").await?;
        ensure!(refused.err().as_deref() == Some("user already exists"));
        ada.conn().reset(Reason::CANCEL);
        bob.read_until(|post| post.went == "ada").await?;
        site.join("ada").await?;
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn a_member_that_does_not_read_is_dismissed_and_slows_nobody() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits { queue: 16, history: 4 })?;
        let mut ada = site.join("ada").await?;
        // The server sends as much as fits into its buffers and this window.
        let client = site.client().initial_window_size(65_536).build()?;
        let mute = Guest::login(client.connect(&site.url).await?.0, "mute").await?;
        let mut mute = mute.map_err(anyhow::Error::msg)?;
        let message = "m".repeat(15_000);
        let gone = loop {
            ada.post(&message).await?;
            let post = ada.read_until(|post| post.user == "ada" || post.went == "mute").await?;
            if post.went == "mute" {
                break post;
            }
        };
        ensure!(gone.message == "mute was dismissed: left 16 posts unread", "{gone:?}");
        // If it reads after all, it learns the reason.
        let mut last = None;
        while let Some(post) = mute.next().await? {
            last = Some(post.message);
        }
        ensure!(last.as_deref() == Some("you were dismissed: left 16 posts unread"), "{last:?}");
        site.stop().await
    })
    .await
}

/// This uses a link without hyper, which delays a reset while the client's window is shut.
#[tokio::test(start_paused = true)]
async fn a_dismissed_member_that_never_reads_is_reset() -> TestResult {
    let room = Room::new(Limits { queue: 16, history: 0 });
    let (client, server) = h2conn::testing::pair().await?;
    let attending = {
        let room = room.clone();
        tokio::spawn(async move { member::in_gob(&room, &server).await })
    };
    let mute = Guest::login(client, "mute").await?.map_err(anyhow::Error::msg)?;
    let (ada, mut mail) = room.join("ada").map_err(anyhow::Error::msg)?;
    let reading = tokio::spawn(async move {
        while let Some(delivery) = mail.posts.recv().await {
            if delivery.post.went == "mute" {
                return true;
            }
        }
        false
    });
    let message = "m".repeat(64 * 1024);
    while !reading.is_finished() {
        ada.post(&message).await;
    }
    ensure!(reading.await?);
    let end = mute.conn().closed().await.err().context("no good end")?;
    ensure!(end.reason() == Some(Reason::ENHANCE_YOUR_CALM) && end.is_by_peer(), "{end:?}");
    let end = attending.await?.err().context("an error for the log")?;
    ensure!(format!("{end:#}") == "mute: sent away: you were dismissed: left 16 posts unread");
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_something_else_is_told_so() -> TestResult {
    let large = format!("{{\"message\": \"{}\"}}", "m".repeat(MAX_MESSAGE_SIZE));
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        for (path, sent, expected) in [
            ("json", "{}", "you sent what cannot be read"),
            ("json", "\"eve\" [1]", "you sent what cannot be read"),
            ("json", "\"eve\" {\"message\": }", "you sent what cannot be read"),
            ("json", &format!("\"eve\" {large}"), "larger than the limit of 16384 bytes"),
            ("json", "\"\"", "a name is needed"),
            ("", &"GET / HTTP/1.1\r\n".repeat(8), "you sent what cannot be read"),
        ] {
            let (mut conn, _) =
                site.client().build()?.connect(format!("{}{path}", site.url)).await?;
            conn.write_all(sent.as_bytes()).await?;
            let mut answer = Vec::new();
            conn.read_to_end(&mut answer).await.with_context(|| sent.to_owned())?;
            let answer = String::from_utf8_lossy(&answer);
            ensure!(answer.contains(expected), "{sent:.40}: {answer}");
        }
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn a_client_that_ends_too_early_is_told_what_is_missing() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        for (path, sent, expected) in [
            ("json", "", "you left without a name; the first value in JSON is your name"),
            ("json", "\"eve", "the first value in JSON is your name, such as"),
            ("json", "\"eve\" {\"message\": \"hi", "a post in JSON is an object such as"),
            ("", "", "the first value in gob is your name"),
        ] {
            let url = format!("{}{path}", site.url);
            let (mut conn, _) = site.client().build()?.connect(url).await?;
            conn.write_all(sent.as_bytes()).await?;
            conn.shutdown().await?;
            let mut answer = Vec::new();
            conn.read_to_end(&mut answer).await.with_context(|| sent.to_owned())?;
            let answer = String::from_utf8_lossy(&answer);
            ensure!(answer.contains(expected), "{sent}: {answer}");
        }
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn the_author_of_a_post_without_a_message_is_told_that_nobody_got_it() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = site.join("ada").await?;
        let (mut conn, _) = site.client().build()?.connect(format!("{}json", site.url)).await?;
        conn.write_all(b"\"eve\" {\"text\": \"hi\"} {\"message\": \"hello\"}").await?;
        conn.shutdown().await?;
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await?;
        ensure!(answer.contains("nobody got a post of yours without a message"), "{answer}");
        let came = ada.read_until(|post| post.came == "eve").await?;
        let (said, went) = (ada.next().await?, ada.next().await?);
        let heard = (said.context("a post")?.message, went.context("the end")?.went);
        ensure!(heard == ("hello".to_owned(), "eve".to_owned()), "{came:?} {heard:?}");
        site.stop().await
    })
    .await
}

/// Browsers let any site send requests that are no WebSocket, and name the site.
#[tokio::test]
async fn a_page_joins_by_web_socket_only() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        for path in ["", "json"] {
            let url = format!("{}{path}", site.url);
            let client = site.client().header("origin", "https://elsewhere.example").build()?;
            let error = client.connect(&url).await.err().context("no way in")?;
            ensure!(error.status() == Some(StatusCode::FORBIDDEN), "{path}: {error}");
            site.client().build()?.connect(&url).await?.0.reset(Reason::CANCEL);
        }
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn a_server_that_stops_says_so() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = site.join("ada").await?;
        let stopping = tokio::spawn(site.stop());
        let last = ada.next().await?.context("a last word")?;
        ensure!(last.message == "the server is stopping", "{last:?}");
        ensure!(ada.next().await?.is_none());
        ada.conn().close().await?;
        stopping.await?
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_name_has_to_go() -> TestResult {
    let room = Room::new(Limits::default());
    let (mut client, server) = h2conn::testing::pair().await?;
    let attending = tokio::spawn(async move { member::in_json(&room, &server).await });
    let mut said = String::new();
    client.read_to_string(&mut said).await?;
    ensure!(said == "\"there was no name within 10 s\"\n", "{said}");
    client.close().await?;
    let end = attending.await?.err().context("an error for the log")?;
    ensure!(end.to_string() == "refused: there was no name within 10 s", "{end:#}");
    Ok(())
}
