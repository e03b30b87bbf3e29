//! `serve --files` under clients that want too much of it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use h2conn::{Client, Conn};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::served::{Server, assert_same, soon};
use crate::support::noise;
use crate::transfer::{NOTHING, server, text};

/// More than the 512 threads that wait for files and names.
const CROWD: usize = 600;

/// A client with the token whose requests have this field, and that lets each Conn receive little.
fn client(field: &str, value: String) -> Client {
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    client.header(field, value).initial_window_size(1 << 10).build().unwrap()
}

/// Begins so many uploads, each of which has one byte of a thousand, and says nothing more.
async fn stalled_uploads(client: &Client, url: &str, count: usize) -> Vec<Conn> {
    let mut conns = Vec::new();
    for n in 0..count {
        let (conn, _) = client.connect(&format!("{url}files/up{n}")).await.unwrap();
        soon("`have`", conn.read_chunk()).await.unwrap().unwrap();
        (&conn).write_all(b"from 0\nx").await.unwrap();
        conns.push(conn);
    }
    conns
}

/// Begins so many downloads of `big`, and reads no more than where they begin.
async fn stalled_downloads(client: &Client, url: &str, count: usize) -> Vec<Conn> {
    let mut conns = Vec::new();
    for _ in 0..count {
        let (conn, _) = client.connect(&format!("{url}files/big")).await.unwrap();
        soon("`from`", conn.read_chunk()).await.unwrap().unwrap();
        conns.push(conn);
    }
    conns
}

/// Has the server receive and send a file and look up a name.
async fn others_are_served(server: &Server) {
    let home = server.home.path();
    let (url, out) = (format!("{}files/file", server.url), home.join(".client/out"));
    server.run(&["recv", &url, text(&out)]).await.expect(0, "received");
    assert_same(&home.join("file"), &out);
    let url = format!("{}files/new", server.url);
    server.run(&["send", text(&out), &url]).await.expect(0, "sent ");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client("x-test", String::new());
    soon("a name", client.connect(&format!("{}tcp/localhost/{port}", server.url))).await.unwrap();
}

#[tokio::test]
async fn transfers_that_stall_stop_neither_other_transfers_nor_names() {
    for upload in [true, false] {
        let (server, there, _) = server(&["--writable", "--allow", "localhost:*"]).await;
        fs::write(there.join("file"), noise(300_000)).unwrap();
        let big = fs::File::create(there.join("big")).unwrap();
        big.set_len(4 << 20).unwrap();
        let _conns = match upload {
            true => {
                let client = client("h2conn-send", "1000".to_owned());
                stalled_uploads(&client, &server.url, CROWD).await
            }
            false => {
                let client = client("h2conn-recv", format!("0 {NOTHING}"));
                stalled_downloads(&client, &server.url, CROWD).await
            }
        };
        others_are_served(&server).await;
    }
}
