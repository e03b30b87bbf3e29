//! `send` and `recv`: whole files, breaks, refusals.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::http::Response;
use h2conn::{Conn, Listener, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::served::{Server, Trouble, assert_same, relay, run};
use crate::support::{Peer, TestResult, WATCHDOG, noise};

/// The digest of an empty file.
pub(crate) const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A server with files, the directory of those files, and a directory for the client.
pub(crate) async fn server(args: &[&str]) -> (Server, PathBuf, PathBuf) {
    place(Server::start(&[&["--files", "{}"], args].concat()).await)
}

/// Like [`server`], but places are shared by address.
pub(crate) async fn open_server(args: &[&str]) -> (Server, PathBuf, PathBuf) {
    place(Server::start_open(&[&["--files", "{}"], args].concat()).await)
}

fn place(server: Server) -> (Server, PathBuf, PathBuf) {
    let there = server.home.path().to_owned();
    let here = there.join(".client");
    fs::create_dir(&here).unwrap();
    (server, there, here)
}

pub(crate) fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// A server that a test plays: returns the connection of the first request, whose answer has this
/// size.
pub(crate) async fn accept(listener: &mut Listener, size: u64) -> TestResult<Conn> {
    let incoming = listener.accept().await.context("a request")?;
    let mut response = Response::new(());
    response.headers_mut().insert("h2conn-size", size.into());
    Ok(incoming.accept_with(response)?)
}

#[tokio::test]
async fn a_file_goes_there_and_back_and_is_the_same() {
    let (server, there, here) = server(&["--writable"]).await;
    for len in [0, 1, 3_000_000] {
        let (file, name) = (here.join(format!("ä file of {len}")), format!("ä file of {len}"));
        fs::write(&file, noise(len)).unwrap();
        server
            .run(&["send", text(&file), &format!("{}files/", server.url)])
            .await
            .expect(0, "SHA-256");
        assert_same(&file, &there.join(&name));
        let url = format!("{}files/%C3%A4%20file%20of%20{len}", server.url);
        let back = here.join(format!("back {len}"));
        server.run(&["recv", &url, text(&back)]).await.expect(0, "SHA-256");
        assert_same(&file, &back);
    }
    let left: Vec<_> = fs::read_dir(&there).unwrap().chain(fs::read_dir(&here).unwrap()).collect();
    let parts = left
        .iter()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with("part"));
    assert_eq!(parts.count(), 0);
}

#[tokio::test]
async fn a_verbose_transfer_shows_its_request_and_the_response() {
    let (server, _, here) = server(&["--writable"]).await;
    fs::write(here.join("file"), "12345").unwrap();
    let url = format!("{}files/file", server.url);
    let sent = server.run(&["send", "-v", text(&here.join("file")), &url]).await;
    let received = server.run(&["recv", "-v", &url, text(&here.join("back"))]).await;
    for part in ["* connected from 127.0.0.1:", "> authorization: (hidden)", "< 200 OK"] {
        sent.expect(0, part);
        received.expect(0, part);
    }
    sent.expect(0, "> h2conn-send: 5");
    received.expect(0, "< h2conn-size: 5");
}

#[tokio::test]
async fn over_tls_a_file_comes_into_a_directory_under_its_own_name() {
    let server = Server::with_tls(&["--files", "{}"]).await;
    fs::create_dir(server.home.path().join("sub")).unwrap();
    fs::write(server.home.path().join("sub/file"), noise(100_000)).unwrap();
    let here = tempfile::tempdir().unwrap();
    let url = format!("{}files/sub/file", server.url);
    server.run(&["recv", "-k", &url, text(here.path())]).await.expect(0, "received");
    assert_same(&server.home.path().join("sub/file"), &here.path().join("file"));
}

#[tokio::test]
async fn what_has_come_before_is_not_fetched_again() {
    let (server, there, here) = server(&[]).await;
    let all = noise(3 << 20);
    fs::write(there.join("file"), &all).unwrap();
    fs::write(here.join("out.h2conn-part"), &all[..1 << 20]).unwrap();
    let url = format!("{}files/file", server.url);
    let ended = server.run(&["recv", &url, text(&here.join("out"))]).await;
    ended.expect(0, "2.00 MiB in ");
    ended.expect(0, "after 1.00 MiB that were there");
    assert_same(&there.join("file"), &here.join("out"));
}

#[tokio::test]
async fn what_has_come_before_of_another_file_is_found_out_and_replaced() {
    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), noise(100_000)).unwrap();
    let url = format!("{}files/file", server.url);
    // As long as the file, shorter than it, and longer.
    for len in [100_000, 10, 200_000] {
        let out = here.join(format!("out{len}"));
        fs::write(here.join(format!("out{len}.h2conn-part")), vec![1; len]).unwrap();
        let ended = server.run(&["recv", &url, text(&out)]).await;
        ended.expect(0, "not the file's beginning");
        assert_same(&there.join("file"), &out);
    }
}

#[tokio::test]
async fn a_partial_file_longer_than_the_file_is_replaced_without_being_digested() {
    let (server, there, here) = server(&["--writable"]).await;
    fs::write(here.join("file"), noise(100_000)).unwrap();
    // A digest of this hole would take far longer than the client waits.
    let hole = fs::File::create(there.join("file.h2conn-part")).unwrap();
    hole.set_len(1 << 40).unwrap();
    drop(hole);
    let url = format!("{}files/file", server.url);
    let sent = server.run(&["send", "-i", "10", text(&here.join("file")), &url]).await;
    sent.expect(0, "SHA-256");
    assert_same(&here.join("file"), &there.join("file"));
}

#[tokio::test]
async fn what_the_server_has_already_is_not_sent_again() {
    let (server, there, here) = server(&["--writable"]).await;
    let all = noise(3 << 20);
    fs::write(here.join("file"), &all).unwrap();
    fs::write(there.join("good.h2conn-part"), &all[..1 << 20]).unwrap();
    fs::write(there.join("bad.h2conn-part"), vec![1; 1 << 20]).unwrap();
    let send = async |name: &str| {
        let url = format!("{}files/{name}", server.url);
        server.run(&["send", text(&here.join("file")), &url]).await
    };
    send("good").await.expect(0, "after 1.00 MiB that were there");
    send("bad").await.expect(0, "not the file's beginning");
    assert_same(&here.join("file"), &there.join("good"));
    assert_same(&here.join("file"), &there.join("bad"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_answer_does_not_wait_until_what_is_there_is_read() {
    let (server, there, _) = server(&["--writable"]).await;
    // The file is a hole: it takes no room, but minutes to digest.
    let len = 1 << 38;
    fs::File::create(there.join("file.h2conn-part")).unwrap().set_len(len).unwrap();
    let client = h2conn::Client::builder().header("h2conn-send", len.to_string());
    let client = client.header("authorization", "Bearer a-token-for-tests").build().unwrap();
    let url = format!("{}files/file", server.url);
    client.connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_fetch_that_breaks_off_goes_on_where_it_was() {
    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), noise(8 << 20)).unwrap();
    let out = here.join("out");
    let base = relay(&server.url, Trouble::Cut(5 << 20)).await;
    let url = format!("{base}files/file");
    server.run(&["recv", &url, text(&out)]).await.expect(5, "h2conn: ");
    assert!(!out.exists());
    assert!(fs::metadata(here.join("out.h2conn-part")).unwrap().len() > 1 << 20);
    server.run(&["recv", &url, text(&out)]).await.expect(0, "that were there");
    assert_same(&there.join("file"), &out);
}

#[tokio::test]
async fn reconnect_goes_on_by_itself_in_both_directions() {
    let (server, there, here) = server(&["--writable"]).await;
    fs::write(here.join("file"), noise(8 << 20)).unwrap();
    let base = relay(&server.url, Trouble::Cut(5 << 20)).await;
    let url = format!("{base}files/file");
    let sent = server.run(&["send", "--reconnect", text(&here.join("file")), &url]).await;
    sent.expect(0, "; again in ");
    sent.expect(0, "that were there");
    assert_same(&here.join("file"), &there.join("file"));
    let base = relay(&server.url, Trouble::Cut(5 << 20)).await;
    let url = format!("{base}files/file");
    let received = server.run(&["recv", "--reconnect", &url, text(&here.join("out"))]).await;
    received.expect(0, "; again in ");
    received.expect(0, "that were there");
    assert_same(&here.join("file"), &here.join("out"));
}

#[tokio::test]
async fn who_receives_ends_its_side_first_and_has_time_for_the_disk() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, 0).await?;
        ensure!(conn.read_chunk().await?.is_none());
        (&conn).write_all(format!("from 0\nsha256 {NOTHING}\n").as_bytes()).await?;
        Ok(conn.close().await?)
    })?;
    let here = tempfile::tempdir()?;
    let out = here.path().join("out");
    run(&["recv", &peer.url, text(&out)]).await.expect(0, "received");
    ensure!(fs::metadata(&out)?.len() == 0);
    peer.join()
}

#[tokio::test]
async fn what_comes_after_the_file_is_stored_does_not_unsend_it() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, 0).await?;
        (&conn).write_all(format!("have 0 {NOTHING}\n").as_bytes()).await?;
        let mut said = String::new();
        (&conn).read_to_string(&mut said).await?;
        (&conn).write_all(format!("stored {NOTHING}\n").as_bytes()).await?;
        conn.sent().await?;
        conn.reset(Reason::INTERNAL_ERROR);
        listener.drain(WATCHDOG).await;
        Ok(said)
    })?;
    let here = tempfile::tempdir()?;
    let file = here.path().join("file");
    fs::write(&file, "")?;
    run(&["send", text(&file), &peer.url]).await.expect(0, "sent ");
    ensure!(peer.join()? == format!("from 0\nsha256 {NOTHING}\n"));
    Ok(())
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_is_given_up() -> TestResult {
    let here = tempfile::tempdir()?;
    let file = here.path().join("file");
    fs::write(&file, noise(3 << 20))?;
    let sent = fs::File::options().write(true).open(&file)?;
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, 0).await?;
        // The request contains the length.
        sent.set_len(1 << 20)?;
        (&conn).write_all(format!("have 0 {NOTHING}\n").as_bytes()).await?;
        let error = (&conn).read_to_end(&mut Vec::new()).await.err().context("no end")?;
        let reason = h2conn::Error::from_io(&error).and_then(h2conn::Error::reason);
        ensure!(reason == Some(Reason::CANCEL), "{error}");
        Ok(())
    })?;
    let sent = run(&["send", "--reconnect", text(&file), &peer.url]).await;
    sent.expect(7, "h2conn: the file has become shorter while it was sent");
    peer.join()
}

#[cfg(unix)]
#[tokio::test]
async fn a_disk_without_room_is_said_to_be_that_on_either_side() {
    use crate::served::Tool;

    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), noise(8 << 20)).unwrap();
    let (url, out, token) = (format!("{}files/file", server.url), here.join("out"), server.token());
    let args = ["recv", "--reconnect", &url, text(&out), "--token-file", &token];
    let received = Tool::start_with_little_disk(&args).ends().await;
    received.expect(7, "h2conn: cannot write the file; what has come is kept: ");
    assert!(fs::metadata(here.join("out.h2conn-part")).unwrap().len() > 500_000);

    let mut server = Server::start_with_little_disk(&["--files", "{}", "--writable"]).await;
    let url = format!("{}files/new", server.url);
    let sent = server.run(&["send", "--reconnect", text(&there.join("file")), &url]).await;
    sent.expect(7, "h2conn: the peer says: cannot write the file; what has come is kept: ");
    server.tool.says("/files/new: cannot write the file").await;
}

#[tokio::test]
async fn a_file_that_another_transfer_has_is_waited_for_and_one_that_cannot_be_made_is_not() {
    let (server, there, here) = server(&["--writable"]).await;
    let file = here.join("file");
    fs::write(&file, "x").unwrap();
    fs::create_dir(there.join("no.h2conn-part")).unwrap();
    let url = format!("{}files/no", server.url);
    let sent = server.run(&["send", "--reconnect", text(&file), &url]).await;
    sent.expect(4, "500: no.h2conn-part is there and no plain file");

    let other = fs::File::create(there.join("new.h2conn-part")).unwrap();
    fs4::FileExt::lock(&other).unwrap();
    let url = format!("{}files/new", server.url);
    let mut sending = server.client(&["send", "--reconnect", text(&file), &url]);
    sending.says("503: another transfer has new.h2conn-part; again in ").await;
    drop(other);
    sending.ends().await.expect(0, "sent ");
    assert_same(&file, &there.join("new"));

    // One that was broken off lets go of it soon.
    let broken_off = fs::File::create(there.join("soon.h2conn-part")).unwrap();
    fs4::FileExt::lock(&broken_off).unwrap();
    let url = format!("{}files/soon", server.url);
    let sending = server.client(&["send", text(&file), &url]);
    // It has asked by now, unless the machine is busy.
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(broken_off);
    sending.ends().await.expect(0, "sent ");
    assert_same(&file, &there.join("soon"));
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_keeps_what_has_come() {
    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), noise(8 << 20)).unwrap();
    let base = relay(&server.url, Trouble::Stall(5 << 20)).await;
    let part = here.join("out.h2conn-part");
    let recv = server.client(&["recv", &format!("{base}files/file"), text(&here.join("out"))]);
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 1 << 20 {
        tokio::task::yield_now().await;
    }
    recv.interrupt();
    recv.ends().await.expect(130, "the same command goes on");
    assert!(!here.join("out").exists());
    assert!(fs::metadata(&part).unwrap().len() >= 1 << 20);
}

#[tokio::test]
async fn no_file_that_is_there_is_replaced_unless_that_is_asked_for() {
    let (server, there, here) = server(&["--writable"]).await;
    fs::write(there.join("file"), "there").unwrap();
    fs::write(here.join("file"), "here").unwrap();
    let url = format!("{}files/file", server.url);
    let file = here.join("file");
    server.run(&["send", text(&file), &url]).await.expect(4, "409: file is there already");
    server.run(&["recv", &url, text(&file)]).await.expect(1, "--force");
    assert_eq!(fs::read_to_string(there.join("file")).unwrap(), "there");
    assert_eq!(fs::read_to_string(&file).unwrap(), "here");
    server.run(&["recv", "--force", &url, text(&file)]).await.expect(0, "received");
    assert_eq!(fs::read_to_string(&file).unwrap(), "there");
}

#[tokio::test]
async fn nothing_outside_of_the_directory_can_be_had_or_left() {
    let (server, there, here) = server(&["--writable"]).await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(outside.path(), there.join("link")).unwrap();
        symlink(outside.path().join("secret"), there.join("file-link")).unwrap();
        symlink("/", there.join("root")).unwrap();
    }
    #[cfg(not(unix))]
    drop(there);
    let absolute = text(outside.path()).trim_start_matches('/');
    let paths = [
        "files/%2e%2e/secret".to_owned(),
        "files/..%2fsecret".to_owned(),
        "files/.client/file".to_owned(),
        format!("files//{absolute}/secret"),
        format!("files/%2f{absolute}/secret"),
        "files/link/secret".to_owned(),
        "files/file-link".to_owned(),
        format!("files/root/{absolute}/secret"),
        "files/token/secret".to_owned(),
        "files/".to_owned(),
        "files/a.h2conn-part".to_owned(),
    ];
    fs::write(here.join("file"), "mine").unwrap();
    for path in &paths {
        let url = format!("{}{path}", server.url);
        let received = server.run(&["recv", &url, text(&here.join("out"))]).await;
        received.expect(4, "h2conn: the server answered 40");
        // A slash at the end means that the file's own name is added.
        if !path.ends_with('/') {
            let sent = server.run(&["send", text(&here.join("file")), &url]).await;
            sent.expect(4, "h2conn: the server answered 4");
        }
        assert!(!here.join("out").exists());
    }
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_the_server_does_not_offer_it_says_so() {
    let (server, there, here) = server(&[]).await;
    fs::write(there.join("file"), "x").unwrap();
    let url = format!("{}files/file", server.url);
    let out = here.join("out");
    let token = text(&there.join("file")).to_owned();
    let wrong = run(&["recv", &url, text(&out), "--token-file", &token]).await;
    wrong.expect(4, "401: the token is missing or wrong");
    run(&["recv", &url, text(&out)]).await.expect(4, "401");
    server.run(&["send", text(&there.join("file")), &url]).await.expect(4, "403");
    let missing = format!("{}files/missing", server.url);
    server.run(&["recv", &missing, text(&out)]).await.expect(4, "404: there is no file missing");
    server.run(&["send", text(&here), &url]).await.expect(1, "no plain file");
    let no_files = Server::start(&["--allow", "127.0.0.1:1"]).await;
    let url = format!("{}files/file", no_files.url);
    no_files.run(&["recv", &url, text(&out)]).await.expect(4, "--files is not set");
    assert!(!out.exists());
}

#[tokio::test]
async fn a_server_that_lets_nothing_move_is_given_up_if_that_is_asked_for() -> TestResult {
    let (idle, here) = ("nothing has moved for 3 s; --idle-timeout", tempfile::tempdir()?);
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, 100).await?;
        (&conn).write_all(b"from 0\na part").await?;
        let error = conn.closed().await.err().context("no reset")?;
        ensure!(error.reason() == Some(Reason::CANCEL), "{error}");
        Ok(())
    })?;
    let out = here.path().join("out");
    // The thread of the peer must run within this time.
    run(&["recv", "-i", "3", &peer.url, text(&out)]).await.expect(6, idle);
    peer.join()?;
    ensure!(fs::read(here.path().join("out.h2conn-part"))? == b"a part");

    // The server never says that the file is stored, or never takes it.
    let file = here.path().join("file");
    for size in [1000, 40 << 20] {
        fs::write(&file, noise(size))?;
        let peer = Peer::cleartext(move |mut listener| async move {
            let conn = accept(&mut listener, 0).await?;
            (&conn).write_all(format!("have 0 {NOTHING}\n").as_bytes()).await?;
            ensure!(conn.closed().await.is_err());
            Ok(())
        })?;
        run(&["send", "-i", "0.3", text(&file), &peer.url]).await.expect(6, "nothing has moved");
        peer.join()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_for_which_the_disk_has_no_room_is_refused_before_it_is_written() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = accept(&mut listener, u64::MAX).await?;
        (&conn).write_all(b"from 0\na part").await?;
        ensure!(conn.closed().await.is_err());
        Ok(())
    })?;
    let here = tempfile::tempdir()?;
    let received = run(&["recv", "--reconnect", &peer.url, text(&here.path().join("out"))]).await;
    received.expect(7, "out: 18446744073709551615 bytes are missing, and its disk has ");
    ensure!(fs::read_dir(here.path())?.count() == 0, "something was written");
    peer.join()
}
