//! Our client at the WebSockets of axum itself, over TLS. The tool's tests have servers in other languages
//! (`crates/cli/tests/it/foreign.rs`).

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::Query;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use beside_axum_server::Certificate;
use h2conn::tls::ClientTls;
use h2conn::{Client, Conn, ErrorKind, Reach, WebSockets};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// A test that takes longer hangs.
const WATCHDOG: Duration = Duration::from_secs(600);

const MOST: usize = 128 << 20;

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        // Pings and the close frame are answered by the library.
        let is_content = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_content && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Sends a message back once its ping is answered.
async fn pinged(mut socket: WebSocket) {
    let Some(Ok(message)) = socket.recv().await else { return };
    let _ = socket.send(Message::Ping("are you there?".into())).await;
    while let Some(Ok(answer)) = socket.recv().await {
        if matches!(answer, Message::Pong(_)) {
            let _ = socket.send(message).await;
            break;
        }
    }
    let _ = socket.send(Message::Close(None)).await;
    while let Some(Ok(_)) = socket.recv().await {}
}

/// Answers a message with a close frame of the asked status.
async fn closes(mut socket: WebSocket, code: u16) {
    let _ = socket.recv().await;
    let frame = CloseFrame { code, reason: "the test says so".into() };
    let _ = socket.send(Message::Close(Some(frame))).await;
    while let Some(Ok(_)) = socket.recv().await {}
}

/// axum under a stock axum-server. Returns the beginning of its URLs.
async fn serve(certificate: &Certificate) -> Result<String> {
    let upgrade = |upgrade: WebSocketUpgrade| upgrade.max_message_size(MOST).max_frame_size(MOST);
    let app = Router::new()
        .route("/echo", any(async move |ws| upgrade(ws).on_upgrade(echo)))
        .route("/pinged", any(async move |ws| upgrade(ws).on_upgrade(pinged)))
        .route(
            "/close",
            any(async move |Query(query): Query<HashMap<String, u16>>, ws: WebSocketUpgrade| {
                let status = query.get("status").copied().unwrap_or(1000);
                ws.protocols(["chat"]).on_upgrade(move |socket| closes(socket, status))
            }),
        );
    let socket = TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let port = socket.local_addr()?.port();
    let server = axum_server::from_tcp_rustls(socket, certificate.stock_config().await?)?;
    tokio::spawn(server.serve(app.into_make_service()));
    Ok(format!("https://localhost:{port}"))
}

fn client(certificate: &Certificate, websockets: WebSockets) -> Result<Client> {
    let tls = ClientTls::new().only_root_certificates(&certificate.pem);
    let client = Client::builder().tls(tls).reach(Reach::WebSocket).websockets(websockets);
    Ok(client.build()?)
}

/// Lines are text messages, and the pings of both ends are answered.
async fn lines(client: &Client, site: &str) -> Result<()> {
    let (conn, _) = client.connect(format!("{site}/echo")).await?;
    let (read, mut write) = conn.into_split();
    let mut read = BufReader::new(read);
    let long = "long ".repeat(2_000_000);
    for line in ["a line", "", "wörld ☃", &long, "the last"] {
        write.write_all(format!("{line}\n").as_bytes()).await?;
        let mut back = String::new();
        read.read_line(&mut back).await?;
        ensure!(back.trim_end_matches('\n') == line, "{} bytes came back", back.len());
    }
    let conn = read.into_inner().reunite(write)?;
    for _ in 0..3 {
        conn.ping().await?;
    }
    conn.close().await?;

    let (mut conn, _) = client.connect(format!("{site}/pinged")).await?;
    conn.write_all(b"are you there?\n").await?;
    let mut back = String::new();
    conn.read_to_string(&mut back).await?;
    ensure!(back == "are you there?\n", "{back:?}");
    Ok(conn.close().await?)
}

/// So many bytes go there and back at once.
async fn bytes(conn: Conn, many: usize) -> Result<()> {
    let piece: Vec<u8> =
        (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut read, mut write) = conn.into_split();
    let said = piece.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..many / said.len() {
            write.write_all(&said).await?;
        }
        std::io::Result::Ok(write)
    });
    let mut back = vec![0; piece.len()];
    for number in 0..many / piece.len() {
        read.read_exact(&mut back).await?;
        ensure!(back == piece, "megabyte {number} is not the same");
    }
    Ok(read.reunite(writing.await??)?.close().await?)
}

/// The status of the close frame is an end of file, or an error that has it and its text.
async fn statuses(client: &Client, site: &str) -> Result<()> {
    for status in [1000, 1001, 1008, 1011, 3000, 4321] {
        let (mut conn, response) = client.connect(format!("{site}/close?status={status}")).await?;
        let chosen = response.headers().get("sec-websocket-protocol");
        ensure!(chosen.is_some_and(|chosen| chosen == "chat"), "{chosen:?}");
        conn.write_all(b"a line\n").await?;
        let read = conn.read(&mut [0; 16]).await;
        if status <= 1001 {
            ensure!(matches!(read, Ok(0)), "{status}: {read:?}");
            continue;
        }
        let error = read.err().with_context(|| format!("an error for {status}"))?;
        let said = error.to_string();
        ensure!(said.contains(&status.to_string()), "{status}: {said}");
        ensure!(said.contains("the test says so"), "{status}: {said}");
        let ours = h2conn::Error::from_io(&error).context("an error of h2conn")?;
        ensure!(ours.kind() == ErrorKind::Reset, "{status}: {:?}", ours.kind());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_talks_to_the_websockets_of_axum() -> Result<()> {
    let certificate = Certificate::new()?;
    let checking = async {
        let site = serve(&certificate).await?;
        let settings = WebSockets::new().subprotocols(["chat"]).max_message_size(MOST);
        let by_lines = client(&certificate, settings.clone().text_lines())?;
        lines(&by_lines, &site).await?;
        by_lines.close().await?;

        let client = client(&certificate, settings)?;
        let many = if std::env::var_os("H2CONN_LONG").is_some() { 512 << 20 } else { 20 << 20 };
        let (conn, _) = client.connect(format!("{site}/echo")).await?;
        bytes(conn, many).await?;
        statuses(&client, &site).await?;
        Ok(client.close().await?)
    };
    tokio::time::timeout(WATCHDOG, checking).await.context("it hangs")?
}
