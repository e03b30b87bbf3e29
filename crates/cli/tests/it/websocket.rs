//! `listen` and clients that connect by a WebSocket: tungstenite's, and the tool's own.

use std::process::Stdio;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Server, TestResult, WATCHDOG, h2conn, noise, program};

type Socket = WebSocketStream<TcpStream>;

/// Connects to a server without TLS, and lets `talk` go on with the WebSocket.
fn with_socket<T, Fut>(server: &Server, talk: impl FnOnce(Socket) -> Fut) -> TestResult<T>
where
    Fut: Future<Output = TestResult<T>>,
{
    let address = server.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let talking = async {
            let io = TcpStream::connect(&address).await?;
            let (socket, _) = client_async(format!("ws://{address}/"), io).await?;
            talk(socket).await
        };
        tokio::time::timeout(WATCHDOG, talking).await?
    })
}

/// Sends these messages, and then the end. Returns all messages up to the server's close frame.
async fn heard(mut socket: Socket, said: &[Message]) -> TestResult<Vec<Message>> {
    let mut heard = Vec::new();
    for message in said {
        socket.send(message.clone()).await?;
        heard.push(socket.next().await.context("an answer")??);
    }
    let end = CloseFrame { code: CloseCode::Normal, reason: "the end".into() };
    socket.close(Some(end)).await?;
    while let Some(message) = socket.next().await.transpose()? {
        heard.push(message);
    }
    let Some(Message::Close(Some(frame))) = heard.pop() else { anyhow::bail!("{heard:?}") };
    ensure!(frame.code == CloseCode::Normal, "{frame:?}");
    Ok(heard)
}

#[test]
fn messages_are_echoed_as_bytes_and_with_an_option_as_lines() -> TestResult {
    let said = [Message::text("hellö")];
    let server = Server::start(&["--echo", "--cleartext"])?;
    let back = with_socket(&server, |socket| heard(socket, &said))?;
    ensure!(back == [Message::binary("hellö")], "{back:?}");
    ensure!(server.wait()?.code == Some(0));
    let server = Server::start(&["--echo", "--cleartext", "--keep-open", "--text-lines"])?;
    let texts = ["hellö", "", "more"].map(Message::text);
    let back = with_socket(&server, |socket| heard(socket, &texts))?;
    ensure!(back == texts, "{back:?}");
    // Beside it, the same port serves HTTP/2, and the tool's own WebSockets, byte by byte.
    let bytes = noise(2_000_000);
    for way in [&["--reach", "http2"][..], &["--reach", "websocket"], &["--reach", "auto"]] {
        let args = [&["connect"], way, &[&server.url]].concat();
        let client = h2conn(args).write_stdin(bytes.clone()).assert().success();
        ensure!(client.get_output().stdout == bytes, "{way:?}");
    }
    ensure!(server.interrupt()?.code == Some(0));
    Ok(())
}

#[test]
fn standard_input_and_output_are_the_other_end() -> TestResult {
    let mut command = program();
    command.args(["listen", "127.0.0.1:0", "--cleartext", "--text-lines", "-v"]);
    let mut server = Server::run(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut stdin = server.stdin().context("a pipe")?;
    let heard = with_socket(&server, |mut socket| async move {
        use std::io::Write as _;
        socket.send(Message::text("a question")).await?;
        stdin.write_all(b"an answer\n")?;
        let heard = socket.next().await.context("an answer")??;
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(heard)
    })?;
    ensure!(heard == Message::text("an answer"));
    let ended = server.wait()?;
    ensure!(ended.code == Some(0) && ended.stdout == b"a question\n", "{ended:?}");
    Ok(())
}

#[test]
fn a_message_over_the_limit_ends_the_websocket_with_a_word_on_the_option() -> TestResult {
    let server = Server::start(&["--echo", "--cleartext", "--max-message", "1000"])?;
    let frame = with_socket(&server, |mut socket| async move {
        socket.send(Message::binary(noise(1001))).await?;
        match socket.next().await.context("an end")?? {
            Message::Close(frame) => frame.context("a status"),
            other => anyhow::bail!("{other:?}"),
        }
    })?;
    ensure!(u16::from(frame.code) == 1009, "{frame:?}");
    let ended = server.wait()?;
    ensure!(ended.code == Some(5) && ended.stderr.contains("--max-message"), "{ended:?}");
    Ok(())
}

#[test]
fn the_command_of_a_websocket_sees_its_request() -> TestResult {
    let print = "read line; echo \"$line $H2CONN_METHOD $H2CONN_PATH\"";
    let server = Server::start(&["--cleartext", "--exec", print])?;
    h2conn(["connect", "--reach", "websocket", &format!("{}a/b", server.url)])
        .write_stdin("hello\n")
        .assert()
        .success()
        .stdout("hello GET /a/b\n");
    ensure!(server.wait()?.code == Some(0));
    Ok(())
}

#[test]
fn a_command_that_fails_ends_the_websocket_of_a_client_that_still_sends() -> TestResult {
    let fails = "head -c 5; exit 3";
    let server = Server::start(&["--keep-open", "-m", "10", "--cleartext", "--exec", fails])?;
    // More than lies in buffers on the way.
    let bytes = noise(20_000_000);
    for _ in 0..10 {
        for reach in ["websocket", "auto"] {
            let client = h2conn(["connect", "--reach", reach, &server.url])
                .write_stdin(bytes.clone())
                .assert()
                .code(5)
                .stderr(contains("INTERNAL_ERROR"));
            ensure!(client.get_output().stdout == bytes[..5]);
        }
    }
    ensure!(server.interrupt()?.code == Some(0));
    Ok(())
}

/// The status that a page of this origin gets, which was loaded from this host.
fn status_of_a_page(server: &Server, host: &str, origin: &str) -> TestResult<String> {
    use std::io::{Read as _, Write as _};
    let address = server.url.trim_start_matches("http://").trim_end_matches('/');
    let mut io = std::net::TcpStream::connect(address)?;
    write!(
        io,
        "GET / HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut status = [0; 12];
    io.read_exact(&mut status)?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

#[test]
fn pages_of_other_sites_are_refused_and_so_are_foreign_names_for_this_machine() -> TestResult {
    let pages = ["--origin", "https://chat.example", "--origin", "http://evil.example:1"];
    let args = [&["--echo", "--cleartext", "--keep-open"], &pages[..2]].concat();
    let listed = Server::start(&args)?;
    for (origin, status) in [("https://chat.example", "101"), ("http://evil.example:1", "403")] {
        let seen = status_of_a_page(&listed, "chat.example", origin)?;
        ensure!(seen == format!("HTTP/1.1 {status}"), "{origin}: {seen}");
    }
    drop(listed);
    let server = Server::start(&["--echo", "--cleartext", "--keep-open"])?;
    let port = server.url.trim_end_matches('/').rsplit(':').next().context("a port")?.to_owned();
    let (here, name) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
    let rebound = format!("evil.example:{port}");
    for (host, origin, status) in [
        (&here, "https://evil.example", "403"),
        (&rebound, &*format!("http://{rebound}"), "403"),
        (&here, &*format!("http://{here}"), "101"),
        (&name, &*format!("http://{name}"), "101"),
    ] {
        let seen = status_of_a_page(&server, host, origin)?;
        ensure!(seen == format!("HTTP/1.1 {status}"), "{host}, {origin}: {seen}");
    }
    let ended = server.interrupt()?;
    ensure!(ended.stderr.contains("not by the name \"evil.example\""), "{ended:?}");
    ensure!(ended.stderr.contains("--origin URL"), "{ended:?}");
    Ok(())
}

#[test]
fn one_place_is_one_place_whatever_the_client_speaks() -> TestResult {
    let mut command = program();
    command.args(["listen", "127.0.0.1:0", "--cleartext", "--keep-open"]);
    let server = Server::run(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let url = server.url.clone();
    with_socket(&server, |mut socket| async move {
        socket.send(Message::text("here")).await?;
        for reach in ["http2", "websocket"] {
            h2conn(["connect", "--reach", reach, &url])
                .assert()
                .code(4)
                .stderr(contains("503").and(contains("one connection at a time")));
        }
        socket.close(None).await?;
        Ok(())
    })?;
    drop(server);
    Ok(())
}
