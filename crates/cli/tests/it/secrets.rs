//! `serve --files` with the server's own token and key in the directory: no client gets or replaces them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;

use h2conn::{Client, Error};

use crate::served::{Server, Tool, make_private};
use crate::support::{TestResult, noise};
use crate::transfer::{NOTHING, server, text};

const GET: &str =
    "is a secret of this server (its token or private key), and clients do not get it";
const PUT: &str = "and clients cannot put a file in its place";

/// Fails if a client gets one of the names from the server.
async fn gets_none(server: &Server, names: &[&str], out: &Path) {
    for name in names {
        let url = format!("{}files/{name}", server.url);
        let ended = server.run(&["recv", "-k", &url, text(out)]).await;
        ended.expect(4, GET);
        ended.expect(4, "the server answered 403");
        assert!(!out.exists(), "{name}");
    }
}

/// The error of a request with this field, by a client of the library with the token.
async fn refused(server: &Server, name: &str, field: (&'static str, String)) -> Error {
    let client = Client::builder().header("authorization", "Bearer a-token-for-tests");
    let client = client.header(field.0, field.1).build().unwrap();
    client.connect(&format!("{}files/{name}", server.url)).await.err().unwrap()
}

#[tokio::test]
async fn the_token_is_not_given_by_any_name_of_its_file() {
    let (server, there, here) = server(&["--writable"]).await;
    fs::create_dir(there.join("sub")).unwrap();
    fs::hard_link(there.join("token"), there.join("sub/hard")).unwrap();
    std::os::unix::fs::symlink("../token", there.join("sub/link")).unwrap();
    std::os::unix::fs::symlink("sub", there.join("dir")).unwrap();
    let names = ["token", "%74oken", "sub/hard", "sub/link", "dir/link", "dir/hard"];
    gets_none(&server, &names, &here.join("out")).await;
    // Nor does a client learn whether its own bytes are the beginning of the token.
    let guess = format!("0 {NOTHING}");
    let error = refused(&server, "token", ("h2conn-recv", guess)).await;
    assert_eq!(error.status().unwrap(), 403);
    assert!(!error.headers().is_some_and(|fields| fields.contains_key("h2conn-size")));
    // Of some file systems only the name tells what a file is, and not its case. It is another file here.
    fs::write(there.join("TOKEN"), "a-token-for-tests\n").unwrap();
    let url = format!("{}files/TOKEN", server.url);
    let ended = server.run(&["recv", &url, text(&here.join("out"))]).await;
    ended.expect(4, "and clients do not get it");
    // All other files are given as before.
    fs::write(there.join("tokens"), noise(1000)).unwrap();
    let url = format!("{}files/tokens", server.url);
    server.run(&["recv", &url, text(&here.join("out"))]).await.expect(0, "received");
    server.tool.interrupt();
    let ended = server.tool.ends().await;
    ended.expect(0, "token holds a secret of this server, and is in ");
    ended.expect(0, "403: sub/link is a secret of this server");
}

#[tokio::test]
async fn a_token_that_was_replaced_is_a_secret_and_so_is_the_old_one() {
    let (server, there, here) = server(&[]).await;
    let out = here.join("out");
    let token = here.join("token");
    fs::copy(there.join("token"), &token).unwrap();
    // The server goes on with the token that it has read.
    let recv = async |name: &str| {
        let url = format!("{}files/{name}", server.url);
        Tool::start(&["recv", &url, text(&out), "--token-file", text(&token)]).ends().await
    };
    fs::rename(there.join("token"), there.join("old")).unwrap();
    recv("token").await.expect(4, "404: there is no file token");
    fs::write(there.join("token"), "a-new-token\n").unwrap();
    make_private(&there.join("token"));
    recv("token").await.expect(4, GET);
    recv("old").await.expect(4, GET);
    fs::rename(there.join("token"), there.join("old2")).unwrap();
    fs::write(there.join("next"), "a-newer-token\n").unwrap();
    fs::rename(there.join("next"), there.join("token")).unwrap();
    recv("token").await.expect(4, GET);
    recv("old2").await.expect(4, GET);
    assert!(!out.exists());
}

#[tokio::test]
async fn no_client_puts_a_file_in_the_place_of_a_secret() {
    let (server, there, here) = server(&["--writable"]).await;
    let (file, token) = (here.join("file"), here.join("token"));
    fs::write(&file, "a-token-of-the-client\n").unwrap();
    fs::rename(there.join("token"), &token).unwrap();
    make_private(&token);
    // The next start of the server would read this file.
    for (name, why) in
        [("token", "is a secret of"), ("TOKEN", "differs only in the case of letters")]
    {
        let url = format!("{}files/{name}", server.url);
        let args = ["send", text(&file), &url, "--token-file", text(&token)];
        let ended = Tool::start(&args).ends().await;
        ended.expect(4, "the server answered 403");
        ended.expect(4, PUT);
        ended.expect(4, why);
        assert!(!there.join(name).exists() && !there.join(format!("{name}.h2conn-part")).exists());
    }
    // A digest of the first bytes comes before any byte of a client.
    fs::rename(&token, there.join("other.h2conn-part")).unwrap();
    let error = refused(&server, "other", ("h2conn-send", "10".to_owned())).await;
    assert_eq!(error.status().unwrap(), 403);
    let kept = fs::read_to_string(there.join("other.h2conn-part")).unwrap();
    assert_eq!(kept, "a-token-for-tests\n");
}

#[tokio::test]
async fn the_keys_of_the_server_are_secrets_from_their_first_start_and_certificates_are_not()
-> TestResult {
    let args = ["--files", "{}", "--identity", "{}/identity.pem"];
    let server = Server::with_tls(&args).await;
    let out = server.home.path().join(".out");
    gets_none(&server, &["identity.pem"], &out).await;
    server.tool.interrupt();
    server.tool.ends().await.expect(0, "identity.pem holds a secret of this server");

    let pem = tempfile::tempdir()?;
    let text_of = h2conn::tls::Identity::self_signed_pem(["localhost"])?;
    let (cert, key) = (pem.path().join("cert.pem"), pem.path().join("key.pem"));
    fs::write(&key, &text_of)?;
    make_private(&key);
    fs::write(&cert, text_of.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap())?;
    let args = ["--files", text(pem.path()), "--cert", text(&cert), "--key", text(&key)];
    let server = Server::with_tls(&args).await;
    let out = server.home.path().join("out");
    gets_none(&server, &["key.pem"], &out).await;
    let url = format!("{}files/cert.pem", server.url);
    server.run(&["recv", "-k", &url, text(&out)]).await.expect(0, "received");
    Ok(())
}

#[tokio::test]
async fn a_path_of_a_secret_of_which_the_system_says_nothing_is_in_the_log() {
    let (server, there, here) = server(&[]).await;
    let (token, out) = (here.join("token"), here.join("out"));
    fs::rename(there.join("token"), &token).unwrap();
    std::os::unix::fs::symlink("token", there.join("token")).unwrap();
    fs::write(there.join("other"), "no secret").unwrap();
    let url = format!("{}files/other", server.url);
    let args = ["recv", &url, text(&out), "--token-file", text(&token)];
    Tool::start(&args).ends().await.expect(4, "cannot tell its secrets from other files now");
    server.tool.interrupt();
    let said =
        format!("cannot look at {}/token, the path of a secret of this server: ", there.display());
    server.tool.ends().await.expect(0, &said);
}
