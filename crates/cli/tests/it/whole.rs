//! Requests without content: END_STREAM goes with their head, because some proxies do not pass on an answer to a request
//! that is open.

use std::io::{self, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use anyhow::{Context, ensure};
use h2conn::Client;
use tokio::io::AsyncReadExt;

use crate::support::{Server, TestResult, h2conn, program};

const TOKEN: &str = "a-token-for-tests";

/// The flag END_STREAM of a frame of HEADERS (RFC 9113 §6.2).
const END_STREAM: u8 = 1;

/// The flags of the first HEADERS that a client sends. Then the server is gone.
fn flags_of_head(listener: &TcpListener) -> io::Result<u8> {
    let (mut tcp, _) = listener.accept()?;
    tcp.read_exact(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()])?;
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head)?;
        let [a, b, c, kind, flags, ..] = head;
        let len = u32::from_be_bytes([0, a, b, c]);
        io::copy(&mut (&tcp).take(len.into()), &mut io::sink())?;
        if kind == 1 {
            return Ok(flags);
        }
    }
}

#[test]
fn the_heads_of_a_check_and_of_a_fetch_end_their_requests_and_others_do_not() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("here"), "a file")?;
    for (command, is_whole) in [("forward", true), ("recv", true), ("send", false)] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let server = thread::spawn(move || flags_of_head(&listener));
        let (there, out, here) = (format!("{url}files/there"), path("out"), path("here"));
        let args = match command {
            "forward" => ["forward", "-D", "0", &url],
            "recv" => ["recv", "--force", &there, &out],
            _ => ["send", "--connect-timeout=60", &here, &there],
        };
        h2conn(args).env("H2CONN_TOKEN", TOKEN).assert().failure();
        let flags = server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        ensure!((flags & END_STREAM != 0) == is_whole, "{command}: {flags:#x}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_takes_a_check_and_a_fetch_whose_content_stays_open() -> TestResult {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("file"), "content")?;
    let mut serve = program();
    serve.args(["serve", "127.0.0.1:0", "--cleartext", "--files"]).arg(folder.path());
    let server = Server::run(serve.env("H2CONN_TOKEN", TOKEN).stdin(Stdio::null()))?;
    let client = Client::builder().header("authorization", format!("Bearer {TOKEN}")).build()?;
    let nothing = "0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for is_whole in [false, true] {
        for (path, says) in [("check", ""), ("files/file", "content")] {
            let url = format!("{}{path}", server.url);
            let request = client.request(url).header("h2conn-recv", nothing);
            let request = if is_whole { request.without_content() } else { request };
            let (mut conn, _) = request.connect().await.with_context(|| path.to_owned())?;
            let mut said = String::new();
            conn.read_to_string(&mut said).await?;
            ensure!(said.contains(says), "{path}: {said}");
            conn.close().await?;
        }
    }
    Ok(client.close().await?)
}
