//! `connect` to servers of WebSockets, and `--reach`. The servers are tungstenite's.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::Listener;
use h2conn::http::StatusCode;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::support::{Peer, TestResult, WATCHDOG, connected, h2conn, noise, wait};

type Socket = WebSocketStream<TcpStream>;

/// A server that hands its first WebSocket to `serve`. It ends clients that begin with HTTP/2, as servers do that do not know
/// it.
pub(crate) struct Site<T> {
    pub(crate) port: u16,
    serving: JoinHandle<TestResult<T>>,
}

impl<T: Send + 'static> Site<T> {
    pub(crate) fn new<F, Fut>(serve: F) -> TestResult<Site<T>>
    where
        F: FnOnce(Socket) -> Fut + Send + 'static,
        Fut: Future<Output = TestResult<T>>,
    {
        let (said, listening) = mpsc::channel();
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                said.send(listener.local_addr()?.port())?;
                let serving = async {
                    let socket = accept_async(next_of_http1(&listener).await?).await?;
                    serve(socket).await
                };
                tokio::time::timeout(WATCHDOG, serving).await?
            })
        });
        let port = listening.recv_timeout(WATCHDOG).context("the server does not listen")?;
        Ok(Site { port, serving })
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn join(self) -> TestResult<T> {
        self.serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    }
}

async fn next_of_http1(listener: &TcpListener) -> TestResult<TcpStream> {
    loop {
        let (io, _) = listener.accept().await?;
        let mut first = [0; 3];
        while io.peek(&mut first).await? < 3 {
            tokio::task::yield_now().await;
        }
        if first != *b"PRI" {
            return Ok(io);
        }
    }
}

/// Sends each message back as it is, up to the close frame.
pub(crate) async fn echo(mut socket: Socket) -> TestResult<Vec<Message>> {
    let mut heard = Vec::new();
    while let Some(message) = socket.next().await.transpose()? {
        if message.is_text() || message.is_binary() {
            socket.send(message.clone()).await?;
        }
        heard.push(message);
    }
    Ok(heard)
}

#[test]
fn lines_are_text_messages_in_both_directions() -> TestResult {
    let site = Site::new(echo)?;
    h2conn(["connect", &site.url("ws")])
        .write_stdin("hello\nwörld\n\nthe last")
        .assert()
        .success()
        .stdout("hello\nwörld\n\nthe last\n")
        .stderr("");
    let heard = site.join()?;
    let texts: Vec<_> = heard.iter().filter(|message| message.is_text()).cloned().collect();
    ensure!(texts == ["hello", "wörld", "", "the last"].map(Message::text), "{heard:?}");
    let Some(Message::Close(Some(frame))) = heard.last() else { anyhow::bail!("{heard:?}") };
    ensure!(u16::from(frame.code) == 1000, "{frame:?}");
    Ok(())
}

#[test]
fn a_conversation_goes_line_by_line() -> TestResult {
    let site = Site::new(echo)?;
    let mut client = connected(&[&site.url("ws")])?;
    let mut input = client.stdin.take().context("a pipe")?;
    let mut output = BufReader::new(client.stdout.take().context("a pipe")?);
    for number in 0..10 {
        writeln!(input, "line {number}")?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == format!("line {number}\n"), "{line:?}");
    }
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    ensure!(rest.is_empty() && wait(&mut client)?.success());
    site.join()?;
    Ok(())
}

#[test]
fn bytes_are_binary_messages() -> TestResult {
    let bytes = noise(3_000_000);
    let site = Site::new(echo)?;
    let output = h2conn(["connect", "--binary", &site.url("WS")])
        .write_stdin(bytes.clone())
        .assert()
        .success();
    ensure!(output.get_output().stdout == bytes, "they are not the same");
    let heard = site.join()?;
    let (data, end) = heard.split_at(heard.iter().take_while(|heard| heard.is_binary()).count());
    ensure!(!data.is_empty(), "{heard:?}");
    // A ping asks whether everything has arrived.
    ensure!(matches!(end, [Message::Ping(_), Message::Close(_)]), "{end:?}");
    Ok(())
}

#[test]
fn binary_messages_are_printed_beside_text() -> TestResult {
    let site = Site::new(|mut socket: Socket| async move {
        socket.send(Message::binary(&b"bytes, "[..])).await?;
        socket.send(Message::text("a line")).await?;
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(())
    })?;
    let client = h2conn(["connect", &site.url("ws")]).write_stdin("").assert();
    client.success().stdout("bytes, a line\n");
    site.join()
}

#[test]
fn a_status_that_is_no_end_is_named() -> TestResult {
    for (code, exit) in [(1000, 0), (1001, 0), (1008, 5), (1011, 5), (4001, 5)] {
        let site = Site::new(move |mut socket: Socket| async move {
            socket.send(Message::text("a line")).await?;
            let frame = CloseFrame { code: code.into(), reason: "because".into() };
            socket.close(Some(frame)).await?;
            while let Some(Ok(_)) = socket.next().await {}
            Ok(())
        })?;
        // Its input stays open, so that the server closes first.
        let mut client = connected(&[&site.url("ws")])?;
        let mut heard = String::new();
        client.stdout.take().context("a pipe")?.read_to_string(&mut heard)?;
        ensure!(heard == "a line\n");
        let input = client.stdin.take();
        let status = wait(&mut client)?;
        ensure!(status.code() == Some(exit), "{code}: {status}");
        drop(input);
        site.join()?;
    }
    Ok(())
}

#[test]
fn long_messages_pass_up_to_the_limit() -> TestResult {
    let line = "x".repeat(5 << 20);
    let site = Site::new(echo)?;
    let client = h2conn(["connect", &site.url("ws")]).write_stdin(format!("{line}\n")).assert();
    ensure!(client.success().get_output().stdout.len() == line.len() + 1);
    site.join()?;

    let site = Site::new(echo)?;
    h2conn(["connect", "--max-message", "1MB", &site.url("ws")])
        .write_stdin(line)
        .assert()
        .failure()
        .stderr(contains("--max-message").and(contains("longer")));
    site.join().map(drop)
}

#[test]
fn input_that_is_no_text_is_refused_with_the_way_out() -> TestResult {
    let site = Site::new(echo)?;
    h2conn(["connect", &site.url("ws")])
        .write_stdin(&b"\xff\xfe\n"[..])
        .assert()
        .failure()
        .stderr(contains("UTF-8").and(contains("--binary")));
    site.join().map(drop)
}

#[test]
fn auto_finds_the_way_that_there_is() -> TestResult {
    for reach in ["auto", "websocket"] {
        let site = Site::new(echo)?;
        h2conn(["connect", "-v", "--reach", reach, &site.url("http")])
            .write_stdin("two\nlines\n")
            .assert()
            .success()
            .stdout("two\nlines\n")
            .stderr(contains("101 Switching Protocols"));
        let heard = site.join()?;
        ensure!(heard.iter().all(|message| !message.is_text()), "{heard:?}");
    }
    Ok(())
}

/// It answers when the close frame would be there already.
#[test]
fn with_a_linger_time_the_answer_to_the_last_line_still_comes() -> TestResult {
    let site = Site::new(|mut socket: Socket| async move {
        let question = socket.next().await.context("a question")??;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        socket.send(Message::text(format!("{question}: an answer"))).await?;
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(())
    })?;
    let client =
        h2conn(["connect", "-q", "1h", &site.url("ws")]).write_stdin("a question\n").assert();
    client.success().stdout("a question: an answer\n");
    site.join()
}

/// Its close frame is never answered.
#[test]
fn after_the_linger_time_a_server_that_ignores_the_end_is_left() -> TestResult {
    let site = Site::new(|socket: Socket| async move {
        let mut rest = Vec::new();
        let _ = socket.into_inner().read_to_end(&mut rest).await;
        Ok(())
    })?;
    let client =
        h2conn(["connect", "-q", "100ms", &site.url("ws")]).write_stdin("a line\n").assert();
    client.success().stdout("");
    site.join()
}

#[test]
fn what_is_no_server_of_websockets_is_named() -> TestResult {
    // A listener that takes no WebSockets.
    let server = Peer::cleartext(|mut listener: Listener| async move {
        let by_http2 = listener.accept().await.context("a request")?;
        by_http2.reject(StatusCode::GONE);
        listener.drain(WATCHDOG).await;
        Ok(())
    })?;
    let url = server.url.replace("http://", "ws://");
    h2conn(["connect", &url])
        .write_stdin("x")
        .assert()
        .failure()
        .stderr(contains("501 Not Implemented").and(contains("GET http://127.0.0.1")));
    h2conn(["connect", &server.url]).assert().code(4).stderr(contains("410"));
    server.join()?;
    for (args, text) in [
        (
            &["connect", "--subprotocol", "chat", "localhost:1"][..],
            "--subprotocol is for WebSockets",
        ),
        (&["connect", "--max-message", "1MiB", "localhost:1"], "--max-message is for WebSockets"),
        (&["connect", "-X", "PUT", "ws://localhost:1/"], "-X PUT is not for WebSockets"),
    ] {
        h2conn(args).assert().code(1).stderr(contains(text));
    }
    h2conn(["connect", "--binary", "localhost:1"]).assert().code(1).stderr(contains("ws://"));
    h2conn(["recv", "ws://localhost/files/x"])
        .assert()
        .code(1)
        .stderr(contains("--reach websocket"));
    Ok(())
}
