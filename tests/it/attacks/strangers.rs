//! Handshakes that never complete, and clients of another protocol.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::arena::{is_router, on_listener};
use crate::support::TestResult;
use crate::support::raw::{PREFACE, SETTINGS, frame};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_completes_is_given_up() -> TestResult {
    // The victim's limit is 2 seconds here instead of 10.
    let hello = [&[0x16, 3, 1, 2, 0][..], &[1; 100]].concat();
    let beginnings: [(&str, &[u8]); 5] = [
        ("nothing", b""),
        ("half a preface", &PREFACE[..12]),
        ("a preface without SETTINGS", PREFACE),
        ("half a TLS hello", &hello),
        ("half an HTTP/1 request", b"GET / HTTP/1.1\r\nhost: x\r\n"),
    ];
    for (what, beginning) in beginnings {
        on_listener(
            &format!("a handshake that never completes: {what}"),
            async |addr: SocketAddr| {
                let mut links = Vec::new();
                for _ in 0..200 {
                    let mut io = TcpStream::connect(addr).await?;
                    io.write_all(beginning).await?;
                    links.push(io);
                }
                for io in &mut links {
                    // This is the end of the connection, or a reset: the last bytes may not have
                    // been read.
                    let _ = io.read_to_end(&mut Vec::new()).await;
                }
                Ok("200 sockets, all given up".to_owned())
            },
        )
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_bytes_on_the_wrong_port_are_turned_away() -> TestResult {
    let preface_of_another =
        [&b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
    let words: [(&str, &[u8], bool); 5] = [
        ("SMTP", b"EHLO example.org\r\n", false),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", false),
        ("bytes", &[0; 100], false),
        ("a spoilt preface", &preface_of_another, false),
        ("HTTP/1", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", true),
    ];
    // A router speaks HTTP/1, and its handler makes no connection of this request.
    let status = if is_router() { "400" } else { "505" };
    let head = format!("HTTP/1.1 {status} ");
    for (what, word, answered) in words {
        on_listener(&format!("at the wrong port: {what}"), async |addr: SocketAddr| {
            for _ in 0..100 {
                let mut io = TcpStream::connect(addr).await?;
                io.write_all(word).await?;
                let mut answer = Vec::new();
                io.read_to_end(&mut answer).await?;
                ensure!(answer.starts_with(head.as_bytes()) == answered, "{answer:?}");
                ensure!(answered || answer.is_empty(), "{answer:?}");
            }
            Ok(if answered { format!("100 × {status}") } else { "100 × closed".to_owned() })
        })
        .await?;
    }
    Ok(())
}
