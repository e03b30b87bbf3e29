//! `serve --files` with clients that want too much of it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use h2conn::{Client, Conn};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::served::{Server, assert_same, soon};
use crate::support::noise;
use crate::transfer::{NOTHING, open_server, server, text};

/// More than the 512 threads that wait for files and names.
const CROWD: usize = 600;

/// A client with the token, whose requests have this field. Its Conns have small windows.
fn client(field: &str, value: String) -> Client {
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    client.header(field, value).initial_window_size(1 << 10).build().unwrap()
}

/// Begins `count` uploads. Each sends one byte of a thousand, and then nothing more.
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

/// Begins `count` downloads of `big`, and reads only the first bytes of each.
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
        let (server, there, _) =
            server(&["--writable", "--allow", "localhost:*", "--max-transfers", "2000"]).await;
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

#[tokio::test]
async fn a_peer_that_wants_all_places_leaves_some_to_others_and_is_told_why() {
    let (mut server, there, here) = open_server(&["--writable", "--max-transfers", "8"]).await;
    fs::write(there.join("file"), noise(300_000)).unwrap();
    let client = client("h2conn-send", "1000".to_owned());
    let mut conns = stalled_uploads(&client, &server.url, 4).await;
    let error = client.connect(&format!("{}files/up4", server.url)).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 503);
    let url = format!("{}files/file", server.url);
    let out = here.join("out");
    let refused = server.run(&["recv", &url, text(&out)]).await;
    refused.expect(4, "503: there is no place for another transfer now");
    refused.expect(4, "--max-transfers");
    server.tool.says("503: there is no place for another transfer now").await;

    // On Linux, all of 127.0.0.0/8 belongs to this machine.
    if cfg!(target_os = "linux") {
        let mut conns = Vec::new();
        for accepted in [true, true, false] {
            let field = format!("0 {NOTHING}");
            conns.push(from_elsewhere(&server.url, &field, accepted).await);
        }
    }

    let mut waiting = server.client(&["recv", "--reconnect", &url, text(&out)]);
    waiting.says("when one of yours has ended; again in ").await;
    conns.pop();
    waiting.ends().await.expect(0, "received");
    assert_same(&there.join("file"), &out);
}

/// Downloads `file` from another address than 127.0.0.1, and checks whether the server accepts.
async fn from_elsewhere(url: &str, field: &str, accepted: bool) -> (Client, Option<Conn>) {
    let client = client_from_elsewhere(url, "h2conn-recv", field).await;
    let conn = client.connect(&format!("{url}files/file")).await;
    assert_eq!(conn.is_ok(), accepted, "{conn:?}");
    (client, conn.ok().map(|(conn, _)| conn))
}

/// The file is a hole: it takes no room, but minutes to digest.
#[cfg(unix)]
#[tokio::test]
async fn a_digest_ends_with_the_connection_that_asked_for_it() {
    let (mut server, there, here) = server(&["--writable"]).await;
    let len: u64 = 1 << 38;
    fs::File::create(there.join("hole")).unwrap().set_len(len).unwrap();
    fs::File::create(there.join("up.h2conn-part")).unwrap().set_len(len).unwrap();
    fs::write(there.join("file"), noise(300_000)).unwrap();
    let recv = client("h2conn-recv", format!("{len} {NOTHING}"));
    let send = client("h2conn-send", len.to_string());
    for (client, name) in [(recv, "hole"), (send, "up")] {
        let (conn, _) = client.connect(&format!("{}files/{name}", server.url)).await.unwrap();
        // Others have their turns in the meantime.
        let url = format!("{}files/file", server.url);
        let out = here.join(name);
        fs::write(here.join(format!("{name}.h2conn-part")), &noise(300_000)[..1000]).unwrap();
        server.run(&["recv", &url, text(&out)]).await.expect(0, "that were there");
        conn.reset(h2conn::Reason::CANCEL);
        server.tool.says(&format!("/files/{name}: ")).await;
    }
}

/// Like [`client`], with another address.
async fn client_from_elsewhere(url: &str, field: &str, value: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let addr = url.split('/').nth(2).unwrap().parse().unwrap();
    let tcp = socket.connect(addr).await.unwrap();
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    let client = client.header(field, value).initial_window_size(1 << 10);
    client.build_over(tcp).await.unwrap()
}

#[tokio::test]
async fn partial_files_that_nobody_goes_on_with_are_removed() {
    let home = tempfile::tempdir().unwrap();
    let part = |name: &str| home.path().join(format!("{name}.h2conn-part"));
    let hour = std::time::Duration::from_secs(3600);
    for (name, age) in [("old", hour * 25), ("young", hour * 23)] {
        fs::write(part(name), "12345").unwrap();
        let file = fs::File::options().write(true).open(part(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    let dir = text(home.path());
    // This server accepts no files, and leaves the files of others alone.
    let reader = Server::start(&["--files", dir]).await;
    reader.run(&["ping", "-c", "1", &reader.url]).await;
    assert!(part("old").exists());
    let mut server = Server::start(&["--files", dir, "--writable"]).await;
    server.tool.says("removed partial files of 5 bytes").await;
    assert!(!part("old").exists() && part("young").exists());
    let mut server =
        Server::start(&["--files", dir, "--writable", "--partial-expiry", "22h"]).await;
    server.tool.says("removed partial files of 5 bytes").await;
    assert!(!part("young").exists());
}

#[tokio::test]
async fn partial_files_take_no_more_than_their_quota() {
    let args = ["--writable", "--files-quota", "2MB"];
    let (mut server, there, here) = server(&args).await;
    let file = here.join("file");
    fs::write(&file, noise(1_500_000)).unwrap();
    let send = ["send", text(&file), &format!("{}files/one", server.url)];
    // A complete file does not count.
    server.run(&send).await.expect(0, "sent ");

    let upload = client("h2conn-send", "1500000".to_owned());
    let begin = async |name: &str| {
        let (conn, _) = upload.connect(&format!("{}files/{name}", server.url)).await.unwrap();
        soon("`have`", conn.read_chunk()).await.unwrap().unwrap();
        (&conn).write_all(b"from 0\n").await.unwrap();
        conn
    };
    let (first, second) = (begin("two").await, begin("three").await);
    (&first).write_all(&noise(1_400_000)).await.unwrap();
    let part = there.join("two.h2conn-part");
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 1_400_000 {
        tokio::task::yield_now().await;
    }
    let refused = server.run(&["send", text(&file), &format!("{}files/four", server.url)]).await;
    refused.expect(4, "507: there is no room for the file now");
    refused.expect(4, "--files-quota");
    assert!(!there.join("four.h2conn-part").exists());
    // A transfer that began while there was room fails as soon as there is none.
    let more = noise(1_400_000);
    let writing = async {
        let _ = (&second).write_all(&more).await;
        std::future::pending().await
    };
    let answer = tokio::select! {
        answer = soon("`failed`", second.read_chunk()) => answer.unwrap().unwrap(),
        () = writing => unreachable!(),
    };
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("failed there is no room for the file now"), "{answer}");
    drop((first, second));
    server.tool.says("/files/three: there is no room for the file now").await;

    // Partial files are counted at the start, too.
    let dir = text(&there);
    let server = Server::start(&["--files", dir, "--writable", "--files-quota", "1600kB"]).await;
    let url = format!("{}files/five", server.url);
    loop {
        let sent = server.run(&["send", text(&file), &url]).await;
        if sent.code == Some(4) {
            sent.expect(4, "507: ");
            break;
        }
        // The directory has not been read yet.
        fs::remove_file(there.join("five")).unwrap();
    }
}

/// Others than Linux have one address of this machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_whose_partial_files_fill_its_share_leaves_room_to_others() {
    let args = ["--writable", "--files-quota", "2MB"];
    let (mut server, there, here) = open_server(&args).await;
    let file = here.join("file");
    fs::write(&file, noise(900_000)).unwrap();
    // It is broken off, and counts on.
    let upload = client("h2conn-send", "950000".to_owned());
    let (conn, _) = upload.connect(&format!("{}files/one", server.url)).await.unwrap();
    soon("`have`", conn.read_chunk()).await.unwrap().unwrap();
    (&conn).write_all(&[&b"from 0\n"[..], &noise(900_000)].concat()).await.unwrap();
    let part = there.join("one.h2conn-part");
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 900_000 {
        tokio::task::yield_now().await;
    }
    conn.reset(h2conn::Reason::CANCEL);
    server.tool.says("/files/one: ").await;
    let sent = server.run(&["send", text(&file), &format!("{}files/two", server.url)]).await;
    sent.expect(4, "507: there is no room for the file now");
    sent.expect(4, "other such files of this peer have 878.9 KiB");
    // A file of another peer, of the same size.
    let upload = client_from_elsewhere(&server.url, "h2conn-send", "900000").await;
    let (conn, _) = upload.connect(&format!("{}files/two", server.url)).await.unwrap();
    soon("`have`", conn.read_chunk()).await.unwrap().unwrap();
    (&conn).write_all(&[&b"from 0\n"[..], &noise(890_000)].concat()).await.unwrap();
    let part = there.join("two.h2conn-part");
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 890_000 {
        tokio::task::yield_now().await;
    }
}
