//! The permission bits of files that are sent and received.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::ensure;
use h2conn::http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::served::{Server, Tool, Trouble, assert_same, relay};
use crate::support::{Peer, TestResult, noise};
use crate::transfer::{NOTHING, accept, server, text};

/// The bits of a file, including those that change its user.
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Waits until a partial file, which had `from` bytes, has grown. Fails if anyone but its owner has
/// access to it then.
async fn is_private_while_it_grows(part: &Path, from: u64) {
    loop {
        let len = fs::metadata(part).map_or(0, |metadata| metadata.len());
        assert!(len <= from || mode(part) & 0o077 == 0, "{len} bytes of {:o}", mode(part));
        if len >= 1 << 20 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(mode(part), 0o600);
}

#[tokio::test]
async fn a_file_that_is_replaced_leaves_its_bits_to_the_new_one() {
    let (server, there, here) = server(&[]).await;
    let (file, out) = (there.join("file"), here.join("out"));
    write(&file, b"there", 0o755);
    let url = format!("{}files/file", server.url);
    for bits in [0o600, 0o640, 0o444, 0o666, 0o000] {
        write(&out, b"here", bits);
        server.run(&["recv", "--force", &url, text(&out)]).await.expect(0, "received");
        assert_eq!(mode(&out), bits);
        fs::set_permissions(&out, Permissions::from_mode(0o600)).unwrap();
        assert_same(&file, &out);
    }
}

#[tokio::test]
async fn the_partial_file_of_a_private_one_is_private_from_its_first_byte() {
    let (server, there, here) = server(&[]).await;
    let (file, out) = (there.join("file"), here.join("out"));
    write(&file, &noise(8 << 20), 0o644);
    write(&out, b"secret", 0o600);
    let base = relay(&server.url, Trouble::Stall(5 << 20)).await;
    let url = format!("{base}files/file");
    let recv = server.client(&["recv", "--force", &url, text(&out)]);
    is_private_while_it_grows(&here.join("out.h2conn-part"), 0).await;
    recv.interrupt();
    recv.ends().await.expect(130, "the same command goes on");
    let ended = server.run(&["recv", "--force", &url, text(&out)]).await;
    ended.expect(0, "that were there");
    assert_eq!(mode(&out), 0o600);
    assert_same(&file, &out);
}

#[tokio::test]
async fn a_partial_file_that_others_can_read_is_not_that_of_a_private_one() {
    let (server, there, here) = server(&[]).await;
    let (file, out, part) = (there.join("file"), here.join("out"), here.join("out.h2conn-part"));
    write(&file, b"beginning, and secret", 0o644);
    write(&out, b"secret", 0o600);
    write(&part, b"beginning", 0o644);
    let mut other = File::open(&part).unwrap();
    let url = format!("{}files/file", server.url);
    let ended = server.run(&["recv", "--force", &url, text(&out)]).await;
    ended.expect(0, "out.h2conn-part could be read by users who cannot read out");
    let mut read = String::new();
    other.read_to_string(&mut read).unwrap();
    assert_eq!(read, "beginning");
    assert_same(&file, &out);
}

#[tokio::test]
async fn a_read_only_file_is_replaced_also_after_a_break() {
    let (server, there, here) = server(&[]).await;
    let file = there.join("file");
    write(&file, &noise(8 << 20), 0o444);
    for is_there in [false, true] {
        let out = here.join(format!("out {is_there}"));
        if is_there {
            write(&out, b"old", 0o444);
        }
        let base = relay(&server.url, Trouble::Cut(5 << 20)).await;
        let url = format!("{base}files/file");
        server.run(&["recv", "--force", &url, text(&out)]).await.expect(5, "h2conn: ");
        let ended = server.run(&["recv", "--force", &url, text(&out)]).await;
        ended.expect(0, "that were there");
        assert_same(&file, &out);
        assert_eq!(mode(&out), 0o444);
    }
}

#[tokio::test]
async fn a_new_file_has_the_bits_of_the_sent_one_less_those_of_the_umask() {
    let server = Server::start_after("umask 027", &["--files", "{}", "--writable"]).await;
    let (there, token) = (server.home.path(), server.token());
    let here = tempfile::tempdir().unwrap();
    for (sent, arrives) in [(0o755, 0o750), (0o644, 0o640), (0o600, 0o600), (0o6777, 0o750)] {
        let (file, name) = (here.path().join(format!("{sent:o}")), format!("{sent:o}"));
        write(&file, b"bytes", sent);
        let url = format!("{}files/{name}", server.url);
        server.run(&["send", text(&file), &url]).await.expect(0, "sent");
        assert_eq!(mode(&there.join(&name)), arrives, "sent: {sent:o}");

        fs::set_permissions(there.join(&name), Permissions::from_mode(sent)).unwrap();
        let back = here.path().join(format!("back {name}"));
        let args = ["recv", &url, text(&back), "--token-file", &token];
        Tool::start_after("umask 027", &args).ends().await.expect(0, "received");
        assert_eq!(mode(&back), arrives, "received: {sent:o}");
    }
}

#[tokio::test]
async fn a_new_file_is_its_owners_alone_until_it_is_whole() {
    let (server, there, here) = server(&["--writable"]).await;
    write(&here.join("file"), &noise(8 << 20), 0o644);
    // A partial file that an older version has left.
    write(&there.join("file.h2conn-part"), &noise(1000), 0o644);
    let base = relay(&server.url, Trouble::Stall(5 << 20)).await;
    let url = format!("{base}files/file");
    let send = server.client(&["send", text(&here.join("file")), &url]);
    is_private_while_it_grows(&there.join("file.h2conn-part"), 1000).await;
    send.interrupt();
    send.ends().await.expect(130, "the same command goes on");
}

#[tokio::test]
async fn a_server_that_says_no_mode_gives_files_as_a_program_makes_them() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, 0).await?;
        (&conn).write_all(format!("from 0\nsha256 {NOTHING}\n").as_bytes()).await?;
        conn.close().await?;
        let mut response = Response::new(());
        response.headers_mut().insert("h2conn-size", 0.into());
        response.headers_mut().insert("h2conn-mode", "4755".parse()?);
        let incoming = listener.accept().await.ok_or_else(|| anyhow::anyhow!("a request"))?;
        let conn = incoming.accept_with(response)?;
        ensure!((&conn).read_to_end(&mut Vec::new()).await.is_ok());
        // The client, which does not want the file, may be gone before it has acknowledged the end.
        let _ = conn.close().await;
        Ok(())
    })?;
    let here = tempfile::tempdir()?;
    let out = here.path().join("out");
    let args = ["recv", &peer.url, text(&out)];
    Tool::start_after("umask 027", &args).ends().await.expect(0, "received");
    ensure!(mode(&out) == 0o640);
    let args = ["recv", "--force", &peer.url, text(&out)];
    Tool::start(&args).ends().await.expect(7, "\"4755\" is no mode of a file");
    peer.join()
}

#[tokio::test]
async fn a_client_that_says_no_mode_leaves_files_as_a_program_makes_them() -> TestResult {
    let server = Server::start_after("umask 027", &["--files", "{}", "--writable"]).await;
    let url = format!("{}files/file", server.url);
    let client = || {
        let client = h2conn::Client::builder().header("h2conn-send", "0");
        client.header("authorization", "Bearer a-token-for-tests")
    };
    let refused = client().header("h2conn-mode", "4755").build()?.connect(&url).await;
    ensure!(refused.is_err_and(|error| error.status().is_some_and(|status| status == 400)));
    let (conn, _) = client().build()?.connect(&url).await?;
    (&conn).write_all(format!("from 0\nsha256 {NOTHING}\n").as_bytes()).await?;
    (&conn).shutdown().await?;
    let mut said = String::new();
    (&conn).read_to_string(&mut said).await?;
    ensure!(said.contains("stored "), "{said}");
    ensure!(mode(&server.home.path().join("file")) == 0o640);
    Ok(())
}
