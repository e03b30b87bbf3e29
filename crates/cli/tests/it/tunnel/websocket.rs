//! Tunnels and files by WebSockets, as behind a proxy that passes only HTTP/1.1 on.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ask, backwards, greeter, resetter};
use crate::served::{Server, address, soon};
use crate::support::noise;
use crate::transfer;

const BY_WEBSOCKET: [&str; 2] = ["--reach", "websocket"];

#[tokio::test]
async fn forwards_carry_bytes_ends_and_resets_both_ways() {
    let server = Server::with_tls(&["--allow", "*:*", "--allow-bind", "*:*"]).await;
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    for (target, number) in
        [backwards().await, greeter(heard).await, resetter().await].iter().zip(0..)
    {
        let way = format!("0:{target}");
        let mut forward =
            server.forward(&[&BY_WEBSOCKET[..], &["-k", "-L", &way, "-R", &way]].concat());
        let local = address(&forward.says(", for 127.0.0.1").await);
        let remote = address(&forward.says("the server forwards").await);
        for address in [local, remote] {
            let mut tcp = TcpStream::connect(&address).await.unwrap();
            if number == 0 {
                let question = noise(1 << 20);
                let answer = ask(tcp, &question).await.unwrap();
                assert!(answer.iter().eq(question.iter().rev()), "{address}");
            } else if number == 1 {
                let mut greeting = String::new();
                soon("the greeting", tcp.read_to_string(&mut greeting)).await.unwrap();
                tcp.write_all(b"and good bye").await.unwrap();
                drop(tcp);
                assert_eq!(greeting, "hello");
                assert_eq!(soon("the answer", hears.recv()).await.unwrap(), "and good bye");
            } else {
                tcp.write_all(b"x").await.unwrap();
                let error = soon("the reset", tcp.read(&mut [0])).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{address}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_a_file_goes_there_and_back() {
    let (server, there, here) = transfer::server(&["--writable"]).await;
    let file = here.join("file");
    fs::write(&file, noise(3_000_000)).unwrap();
    let url = format!("{}files/", server.url);
    let send = [&["send"], &BY_WEBSOCKET[..], &[transfer::text(&file), &url]].concat();
    server.run(&send).await.expect(0, "SHA-256");
    crate::served::assert_same(&file, &there.join("file"));
    let (back, url) = (here.join("back"), format!("{url}file"));
    let recv = [&["recv"], &BY_WEBSOCKET[..], &[&url, transfer::text(&back)]].concat();
    server.run(&recv).await.expect(0, "SHA-256");
    crate::served::assert_same(&file, &back);
    crate::served::run(&[&recv[..], &["--force"]].concat()).await.expect(4, "401");
}
