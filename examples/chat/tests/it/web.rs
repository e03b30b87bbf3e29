//! The page in Chromium, Go's gob, our own client and curl, all in one room.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use chat::room::Limits;
use futures_util::StreamExt;
use h2conn::codec::Json;
use h2conn::http::Method;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::codec::FramedRead;

use self::browser::browser_scripts;
use self::curl::{curl, curl_is_here};
use self::tools::{go_peer, skipped};
use crate::support::{Guest, Site, TestResult, within};

#[path = "../../../../tests/it/support/browser.rs"]
mod browser;
#[path = "../../../../tests/it/support/curl.rs"]
mod curl;
#[path = "../../../../tests/it/support/tools.rs"]
mod tools;

/// Longer than the limit of `chat.mjs`, which leaves no browser and no files behind.
const WATCHDOG: u64 = 900;

/// The texts that `chat.mjs` posts.
const WIDE: &str = "Grüße 漢字 👩‍👩‍👧 שלום";
const SCRIPT: &str = r#"<img src=x onerror="alert(1)"><script>alert(2)</script>"#;
const LAST: &str = "last of three";

#[tokio::test]
async fn a_page_over_http_2_and_go_and_we_hear_each_other() -> TestResult {
    within(WATCHDOG, meet("--http2")).await
}

#[tokio::test]
async fn a_page_over_http_1_and_go_and_we_hear_each_other() -> TestResult {
    within(WATCHDOG, meet("--http1")).await
}

async fn meet(flag: &str) -> TestResult {
    let Some(scripts) = browser_scripts().await? else { return Ok(()) };
    let Some(go) = spawn_blocking(go_peer).await?? else { return Ok(()) };
    let site = Site::new(Limits::default())?;
    let relay = Relay::new(&site).await?;
    let mut ada = site.join("ada").await?;
    let mut gopher = Gopher::join(go, &site)?;
    ada.read_until(|post| post.came == "gopher").await?;
    let mut page = Page::open(&scripts, flag, &relay.url)?;
    page.meanwhile(ada.read_until(|post| post.came == "page")).await?;
    gopher.say("hello from Go").await?;
    let mut heard = page.meanwhile(hear(&mut ada, 4)).await?;
    let printed = gopher.leave().await?;
    let lines: String = heard.iter().map(|(user, text)| format!("{user}: {text}\n")).collect();
    ensure!(printed.ends_with(&format!("{lines}ok\n")), "{printed} and not {lines}");
    ada.read_until(|post| post.went == "gopher").await?;
    let mut bob = site.join("bob").await?;
    bob.post("hello from Rust").await?;
    heard.extend(hear(&mut ada, 1).await?);

    let seen = page.tells().await?;
    ensure!(seen.state == "Here as page", "{seen:?}");
    ensure!(seen.here == ["ada", "bob", "page"], "{seen:?}");
    ensure!(seen.own == [WIDE, SCRIPT, LAST], "{seen:?}");
    ensure!(seen.posts == heard, "{seen:?} and not {heard:?}");

    // When the page is back, the server still has its first connection, and its name is taken.
    relay.cut.notify_waiters();
    ensure!(page.tells().await?.refused == "user already exists");
    ada.post("while the page was away").await?;
    relay.let_go.notify_waiters();
    ada.read_until(|post| post.went == "page").await?;
    page.meanwhile(ada.read_until(|post| post.came == "page")).await?;
    site.stop().await?;
    let again = page.tells().await?;
    ensure!(again.state == "The server is stopping.", "{again:?}");
    ensure!(again.here == ["ada", "bob", "page"], "{again:?}");
    // Repeated posts are not shown again.
    let missed = [owned(("ada", "while the page was away"))];
    ensure!(again.posts == [&seen.posts[..], &missed].concat(), "{again:?}, after {seen:?}");
    page.end().await
}

fn owned((user, message): (&str, &str)) -> (String, String) {
    (user.to_owned(), message.to_owned())
}

/// The next posts, except those of the system.
async fn hear(guest: &mut Guest, count: usize) -> TestResult<Vec<(String, String)>> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let post = guest.read_until(|post| post.user != "System").await?;
        heard.push((post.user, post.message));
    }
    Ok(heard)
}

/// The chat client of `interop/go`.
struct Gopher(Child);

impl Gopher {
    fn join(program: &Path, site: &Site) -> TestResult<Gopher> {
        let child = Command::new(program)
            .args(["-roots", &site.certificate, "chat", &site.url, "gopher"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Gopher(child))
    }

    async fn say(&mut self, line: &str) -> TestResult {
        let input = self.0.stdin.as_mut().context("its input")?;
        Ok(input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Returns everything that the client has printed.
    async fn leave(mut self) -> TestResult<String> {
        drop(self.0.stdin.take());
        let mut printed = String::new();
        let mut output = self.0.stdout.take().context("its output")?;
        output.read_to_string(&mut printed).await?;
        ensure!(self.0.wait().await?.success(), "{printed}");
        Ok(printed)
    }
}

/// The output of `chat.mjs`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    state: String,
    here: Vec<String>,
    posts: Vec<(String, String)>,
    own: Vec<String>,
    refused: String,
}

/// The page, which `chat.mjs` drives.
struct Page {
    node: Child,
    output: FramedRead<ChildStdout, Json<Seen>>,
}

impl Page {
    fn open(scripts: &Path, flag: &str, url: &str) -> TestResult<Page> {
        let mut node = Command::new("node")
            .arg(scripts.join("chat.mjs"))
            .args([flag, "--taken", "ADA", "--stay"])
            .args(["--hear", "hello from Go", "--hear", "hello from Rust", url, "page"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = node.stdout.take().context("its output")?;
        Ok(Page { node, output: FramedRead::new(output, Json::new()) })
    }

    async fn tells(&mut self) -> TestResult<Seen> {
        Ok(self.output.next().await.context("chat.mjs failed, see above")??)
    }

    /// Waits for an event that needs the page to run.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = TestResult<T>>) -> TestResult<T> {
        tokio::select! {
            result = what => result,
            _ = self.node.wait() => bail!("chat.mjs failed, see above"),
        }
    }

    async fn end(mut self) -> TestResult {
        ensure!(self.node.wait().await?.success(), "chat.mjs failed, see above");
        Ok(())
    }
}

/// A relay between the page and the server.
struct Relay {
    url: String,
    /// Ends the page's connections, as far as the page can see.
    cut: Arc<Notify>,
    /// Lets the server see the end as well.
    let_go: Arc<Notify>,
    _relaying: JoinSet<TestResult>,
}

impl Relay {
    async fn new(site: &Site) -> TestResult<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/", listener.local_addr()?.port());
        let server = site.url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let (cut, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let on = (Arc::clone(&cut), Arc::clone(&let_go));
        let mut relaying = JoinSet::new();
        relaying.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (mut here, _) = listener.accept().await?;
                let mut there = TcpStream::connect(&server).await?;
                let (cut, let_go) = (Arc::clone(&on.0), Arc::clone(&on.1));
                links.spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut here, &mut there) => {}
                        () = cut.notified() => {
                            drop(here);
                            let_go.notified().await;
                        }
                    }
                });
            }
        });
        Ok(Relay { url, cut, let_go, _relaying: relaying })
    }
}

#[tokio::test]
async fn the_page_is_a_few_files_that_may_use_nothing_else() -> TestResult {
    within(WATCHDOG, async {
        if !curl_is_here().await {
            return Ok(());
        }
        let site = Site::new(Limits::default())?;
        for (file, media) in [
            ("", "text/html"),
            ("chat.css", "text/css"),
            ("room.css", "text/css"),
            ("chat.js", "text/javascript"),
            ("posts.js", "text/javascript"),
            ("room.js", "text/javascript"),
            ("wire.js", "text/javascript"),
        ] {
            let url = format!("{}{file}", site.url);
            let page = curl("-i --http2", url.clone(), b"").await?;
            let (head, text) = page.split_once("\r\n\r\n").context("a head")?;
            ensure!(head.starts_with("HTTP/2 200"), "{file}: {head}");
            let policy = "content-security-policy: default-src 'none'; script-src 'self'; ";
            for field in [&format!("content-type: {media}; charset=utf-8"), policy] {
                ensure!(head.lines().any(|line| line.starts_with(field)), "{file}: {head}");
            }
            for inline in ["innerHTML", "style=", "<style", "onclick=", "eval("] {
                ensure!(!text.contains(inline), "{file} has {inline}");
            }
            let refused = curl("-i --http2 -X DELETE", url, b"").await?;
            ensure!(refused.starts_with("HTTP/2 405"), "{file}: {refused}");
        }
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn curl_posts_in_json() -> TestResult {
    within(WATCHDOG, async {
        if !curl_is_here().await {
            return Ok(());
        }
        let site = Site::new(Limits::default())?;
        let mut ada = site.join("ada").await?;
        let said = b"\"curl\"{\"message\":\"hello from curl\"}";
        let printed = curl("--http2 -T .", format!("{}json", site.url), said).await?;
        ensure!(hear(&mut ada, 1).await? == [owned(("curl", "hello from curl"))]);
        let own = r#"{"user":"curl","message":"hello from curl","time":""#;
        ensure!(printed.starts_with("\"ok\"\n{") && printed.contains(own), "{printed}");
        site.stop().await
    })
    .await
}

#[tokio::test]
async fn a_get_with_a_body_is_a_member_and_not_for_the_page() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = site.join("ada").await?;
        // The client of Go's chat connects like this.
        let client = site.client().method(Method::GET).build()?;
        let (conn, _) = client.connect(&site.url).await?;
        let mut gopher = Guest::login(conn, "gopher").await?.map_err(anyhow::Error::msg)?;
        gopher.post("hello").await?;
        ensure!(hear(&mut ada, 1).await? == [owned(("gopher", "hello"))]);
        site.stop().await
    })
    .await
}
