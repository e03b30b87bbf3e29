//! The client with servers: the one of this crate, and some hostile ones.

mod foreign;
mod proxy;
mod user;

use std::future::pending;
use std::process::Output;
#[cfg(unix)]
use std::process::Stdio;
use std::time::Duration;

#[cfg(unix)]
use anyhow::Context;
use chat::client::session::{Event, Login, Session, Timing};
use chat::room::Limits;
use chat::server::Server;
use h2conn::tls::{ClientTls, Identity};
#[cfg(unix)]
use tokio::io::{AsyncBufReadExt, BufReader};
#[cfg(unix)]
use tokio::process::Command;

use crate::support::{Site, TestResult, within};
use foreign::Manners;
use proxy::{Mode, Proxy};
use user::{User, run};

const WATCHDOG: u64 = 300;

#[tokio::test]
async fn a_name_in_use_is_refused_with_the_reason() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = User::new(&site.url, "ada");
        ada.hears("ada logged in").await;
        let mut other = User::new(&site.url, "Ada");
        let Some(Event::Failed(why)) = other.session.event().await else { panic!("it got in") };
        assert!(why.contains("user already exists"), "{why}");
        assert!(other.session.event().await.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_stops_is_expected_back_and_gets_what_was_typed() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut ada = User::new(&site.url, "ada");
        ada.says("before").await;
        let addr = site.url.replace("https://localhost", "127.0.0.1").replace('/', "");
        site.stop().await?;
        let why = ada.is_lost().await;
        assert_eq!(why, "the server is going away");
        assert!(ada.talk.say("between"));
        // No server listens there.
        ada.is_lost().await;
        let identity = Identity::self_signed(["localhost"])?;
        let successor = Server::bind(&addr, identity, Limits::default())?;
        tokio::spawn(successor.run(pending()));
        ada.hears("between").await;
        assert_eq!(ada.talk.unsaid(), 0);
        assert_eq!(ada.count("the server is stopping"), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_the_server_repeats_is_neither_shown_nor_said_twice() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let proxy = Proxy::start(&site.url).await?;
        let mut ada = User::new(&proxy.url, "ada");
        let mut bob = User::new(&site.url, "bob");
        ada.says("one").await;
        bob.says("two").await;
        ada.hears("two").await;
        // The room gets the line, but she does not get it back.
        proxy.set(Mode::UpOnly);
        ada.talk.say("three");
        bob.hears("three").await;
        proxy.set(Mode::Cut);
        ada.is_lost().await;
        bob.says("four").await;
        proxy.renew();
        ada.says("five").await;
        bob.hears("five").await;
        for user in [&ada, &bob] {
            for line in ["one", "two", "three", "four", "five"] {
                assert_eq!(user.count(line), 1, "{line} in {:?}", user.heard);
            }
        }
        assert_eq!(ada.talk.unsaid(), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_silent_link_is_given_up_and_the_name_tried_until_it_is_free() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let proxy = Proxy::start(&site.url).await?;
        let mut ada = User::with_patience(&proxy.url, "ada", Duration::from_secs(2));
        ada.says("one").await;
        proxy.set(Mode::Silent);
        let old = proxy.renew();
        ada.talk.say("two");
        let why = ada.is_lost().await;
        assert!(why.contains("silent"), "{why}");
        // The server does not know yet that the old connection is gone.
        let why = ada.is_lost().await;
        assert!(why.contains("user already exists"), "{why}");
        old.send_replace(Mode::Cut);
        ada.hears("two").await;
        ada.says("three").await;
        for line in ["one", "two", "three"] {
            assert_eq!(ada.count(line), 1, "{line} in {:?}", ada.heard);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_who_is_sent_away_comes_back_when_the_user_says_so() -> TestResult {
    within(WATCHDOG, async {
        let url = foreign::server(Manners::Dismiss).await?;
        let mut ada = User::new(&url, "ada");
        for times in 1..3 {
            while !matches!(ada.next().await, Some(Event::Dismissed)) {}
            assert_eq!(ada.count("you were dismissed: no reason"), times);
            ada.session.again();
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn lines_go_in_and_come_back() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let mut bob = User::new(&site.url, "bob");
        bob.hears("bob logged in").await;
        let long = "x".repeat(2_500);
        let Output { status, stdout, stderr } =
            run(&site.url, "ada", &format!("hello\n\n日本語 \u{1b}[2J\n{long}")).await?;
        assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
        let stdout = String::from_utf8(stdout)?;
        let lines: Vec<_> = stdout.lines().map(|line| line.split_at(6).1).collect();
        let (part_1, part_2) = long.split_at(2_000);
        let expected = [
            "* here: bob",
            "* ada logged in",
            "<ada> hello",
            "<ada> 日本語  [2J",
            &format!("<ada> {part_1}"),
            &format!("<ada> {part_2}"),
        ];
        assert_eq!(lines, expected);
        bob.hears("ada logged out").await;

        let refused = run(&site.url, "bob", "hello").await?;
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(refused.stdout, b"");
        let stderr = String::from_utf8(refused.stderr)?;
        assert!(stderr.contains("user already exists") && stderr.contains("--name"), "{stderr}");
        // For users: no backtrace, though the environment asks for one.
        assert!(stderr.starts_with("chat: ") && stderr.lines().count() == 1, "{stderr}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_a_hint_in_terms_of_the_program() -> TestResult {
    within(WATCHDOG, async {
        let site = Site::new(Limits::default())?;
        let another = Identity::self_signed(["localhost"])?.certificate_pem();
        let tls = ClientTls::new().only_root_certificates(another);
        let login = Login { url: site.url.clone(), name: "ada".to_owned(), tls };
        let mut session = Session::start(login, Timing::default());
        let Some(Event::Failed(why)) = session.event().await else { panic!("it got in") };
        assert!(why.contains("--cacert FILE trusts"), "{why}");
        Ok(())
    })
    .await
}

#[cfg(unix)]
#[tokio::test]
async fn the_host_hints_at_a_command_that_joins() -> TestResult {
    within(WATCHDOG, async {
        // Not as under `cargo run`, so that the program names itself.
        let mut host = Command::new(env!("CARGO_BIN_EXE_chat"))
            .args(["--name", "host"])
            .env_remove("CARGO")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = BufReader::new(host.stderr.take().context("it is piped")?).lines();
        let hint = said.next_line().await?.context("no hint")?;
        // The hint comes before the host itself is in the room.
        let mut room = BufReader::new(host.stdout.take().context("it is piped")?).lines();
        let first = room.next_line().await?.context("nothing of the room")?;
        assert!(first.contains("* nobody else is here"), "{first}");
        let join = hint.strip_prefix("others can join with: ").context(hint.clone())?;
        let join = join.strip_suffix(", or in a browser").context(hint.clone())?;
        let line = format!("echo hello | {}", join.replace("NAME", "guest"));
        let joined = Command::new("sh").args(["-c", &line]).output().await?;
        let printed = String::from_utf8(joined.stdout)?;
        assert!(printed.contains("* here: host") && printed.contains("<guest> hello"), "{printed}");
        drop(host.stdin.take());
        assert!(host.wait().await?.success());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn lines_that_do_not_come_back_are_an_error() -> TestResult {
    within(WATCHDOG, async {
        let url = foreign::server(Manners::Dismiss).await?;
        let Output { status, stderr, .. } = run(&url, "ada", "one\ntwo\n").await?;
        assert_eq!(status.code(), Some(1));
        let stderr = String::from_utf8(stderr)?;
        assert!(stderr.contains("the connection is lost"), "{stderr}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hostile_server_has_no_power_over_the_terminal() -> TestResult {
    within(WATCHDOG, async {
        for manners in [Manners::Harm, Manners::HarmAtOnce] {
            let url = foreign::server(manners).await?;
            let Output { stdout, stderr, .. } = run(&url, "ada", "").await?;
            let text = String::from_utf8([stdout, stderr].concat())?;
            let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(odd), "{text:?}");
            assert!(text.contains("owned"), "{text:?}");
        }
        Ok(())
    })
    .await
}
