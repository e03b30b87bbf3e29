//! Too many sockets: file descriptors that run out, and clients that send nothing.

use std::fmt::{Debug, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use h2conn::Listener;
use h2conn::tokio_util::codec::{FramedRead, LinesCodec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::span;

use super::{round_trip, until};
use crate::support::process::{self, output, said};
use crate::support::{Over, Site, TestResult, check_echo, echo, listen_with, run, serve};

/// Prints the library's log of its listeners, one line each.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("h2conn")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                let _ = write!(self.0, " {}={value:?}", field.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        println!("\n@log {}{}", event.metadata().level(), text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Not a real test, but the server of the test below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_few_files() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    tracing::subscriber::set_global_default(Log)?;
    // By default a listener takes at most as many as half of the descriptors.
    let builder = Listener::builder().max_links(10_000).handshake_timeout(Duration::from_secs(60));
    let (listener, site) = listen_with(Over::Cleartext, builder).await?;
    let handle = listener.handle();
    serve(listener, echo);
    println!("\n@port {}", site.addr.port());
    let mut questions = FramedRead::new(tokio::io::stdin(), LinesCodec::new());
    while questions.next().await.is_some() {
        println!("\n@errors {}", handle.stats().accept_errors);
    }
    Ok(())
}

#[test]
fn a_listener_without_file_descriptors_waits_for_them_and_says_so_once() -> TestResult {
    const SERVER: &str = "limits::sockets::a_server_with_few_files";
    run(async {
        let mut server = process::spawn_with_files(64, SERVER, "server")?;
        let mut lines = output(&mut server)?;
        let mut questions = server.stdin.take().context("its input is piped")?;
        let port: u16 = said(&mut lines, "port").await?.parse()?;
        let site = Site::cleartext(([127, 0, 0, 1], port).into());
        let client = site.client()?;
        let conn = client.connect(site.url("/")).await?.0;
        round_trip(&conn).await?;

        let began = Instant::now();
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(TcpStream::connect(site.addr).await?);
        }
        let warning = said(&mut lines, "log").await?;
        ensure!(warning.starts_with("WARN") && warning.contains("cannot accept"), "{warning}");
        // Existing clients go on, and can open new Conns.
        for _ in 0..20 {
            round_trip(&conn).await?;
            check_echo(client.connect(site.url("/")).await?.0, b"another").await?;
        }
        // Another client waits until there are descriptors again. Some clients come and go in the
        // meantime, so that `accept` alternately works and fails.
        let other = site.clone();
        let waits = tokio::spawn(async move { other.connect().await });
        for socket in sockets.drain(..10) {
            drop(socket);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(!waits.is_finished(), "30 sockets wait before it");
        drop(sockets);
        check_echo(waits.await??, b"at last").await?;
        questions.write_all(b"?\n").await?;
        let again = said(&mut lines, "log").await?;
        ensure!(again.starts_with("INFO") && again.contains("accepting again"), "{again}");
        let failed = again.split_once("failures=").context("it says how often it failed")?.1;
        let failed: u128 = failed.parse().context(failed.to_owned())?;
        let most = began.elapsed().as_millis() / 100 + 1;
        ensure!((1..=most).contains(&failed), "{failed} failures, {most} pauses at the most");
        questions.write_all(b"?\n").await?;
        let errors: u128 = said(&mut lines, "errors").await?.parse()?;
        ensure!(errors == failed, "{errors}, {failed}");
        drop(questions);
        while let Some(line) = lines.next_line().await? {
            ensure!(!line.starts_with("@log"), "once is enough: {line}");
        }
        ensure!(server.wait().await?.success());
        Ok(())
    })
}

#[test]
fn hundreds_of_sockets_that_say_nothing_hold_nobody_up_and_are_gone_in_time() -> TestResult {
    run(async {
        let limit = Duration::from_secs(10);
        for over in Over::BOTH {
            let builder = Listener::builder().handshake_timeout(limit);
            let (listener, site) = listen_with(over, builder).await?;
            let handle = listener.handle();
            serve(listener, echo);
            let mut silent = Vec::new();
            // Both ends are in this process. Other tests may share it, and it may be limited to
            // 1,024 files.
            for _ in 0..300 {
                silent.push(TcpStream::connect(site.addr).await?);
            }
            until(&handle, |stats| stats.handshaking == 300).await;
            check_echo(site.connect().await?, b"past them all").await?;
            ensure!(handle.stats().handshaking == 300, "the echo waited for them to be gone");
            for socket in &mut silent {
                // This is the end of the socket, or its reset.
                let _ = socket.read(&mut [0; 64]).await;
            }
            until(&handle, |stats| stats.handshaking == 0).await;
        }
        Ok(())
    })
}
