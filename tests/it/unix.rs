//! Unix domain sockets, on both sides.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::{Addr, Client, ErrorKind, Listener};

use crate::support::{TestResult, accept, check_echo, echo, identity, io_kind, noise, run, serve};

/// A folder of the test's own, which is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("h2conn-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn echoes(path: &Path) -> TestResult {
    let client = Client::builder().unix_socket(path).build()?;
    let (conn, _) = client.connect("http://anything/echo").await?;
    check_echo(conn, &noise(300_000, 1)).await
}

#[test]
fn a_conn_over_a_unix_socket_echoes_and_knows_its_addresses() -> TestResult {
    run(async {
        let folder = Folder::new("echo")?;
        let path = folder.socket();
        let mut listener = Listener::builder().bind_unix(&path).await?;
        ensure!(listener.local_addr().path() == Some(&path), "{:?}", listener.local_addr());
        let client = Client::builder().unix_socket(&path).build()?;
        let (connected, accepted) =
            tokio::join!(client.connect("http://some-host/echo"), accept(&mut listener));
        let (conn, server) = (connected?.0, accepted?);
        ensure!(conn.peer_addr().path() == Some(&path), "{:?}", conn.peer_addr());
        ensure!(server.local_addr().path() == Some(&path), "{:?}", server.local_addr());
        ensure!(*server.peer_addr() == Addr::Unix(None), "{:?}", server.peer_addr());
        // The server gets the URL's host, as always.
        ensure!(server.uri().host() == Some("some-host"), "{}", server.uri());
        tokio::spawn(echo(server));
        check_echo(conn, &noise(2_000_000, 2)).await
    })
}

#[test]
fn tls_goes_over_a_unix_socket_as_well() -> TestResult {
    run(async {
        let folder = Folder::new("tls")?;
        let identity = identity()?;
        let trusted =
            h2conn::tls::ClientTls::new().only_root_certificates(identity.certificate_pem());
        let listener = Listener::builder().tls(identity).bind_unix(folder.socket()).await?;
        serve(listener, echo);
        let client = Client::builder().tls(trusted).unix_socket(folder.socket()).build()?;
        check_echo(client.connect("https://localhost/").await?.0, b"hello").await
    })
}

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced() -> TestResult {
    run(async {
        let folder = Folder::new("stale")?;
        let path = folder.socket();
        drop(UnixListener::bind(&path)?);
        ensure!(path.exists(), "the standard library leaves the file");
        let listener = Listener::builder().bind_unix(&path).await?;
        serve(listener, echo);
        echoes(&path).await
    })
}

#[test]
fn a_socket_file_that_somebody_listens_on_is_left_alone() -> TestResult {
    run(async {
        let folder = Folder::new("taken")?;
        let path = folder.socket();
        serve(Listener::builder().bind_unix(&path).await?, echo);
        let error = Listener::builder().bind_unix(&path).await.expect_err("it is taken");
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::AddrInUse, "{error:?}");
        ensure!(error.to_string().contains(&path.display().to_string()), "{error}");
        echoes(&path).await
    })
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() -> TestResult {
    run(async {
        let folder = Folder::new("file")?;
        let path = folder.socket();
        std::fs::write(&path, "precious")?;
        let error = Listener::builder().bind_unix(&path).await.expect_err("it is a file");
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(std::fs::read_to_string(&path)? == "precious");
        Ok(())
    })
}

#[test]
fn the_file_goes_with_the_listener() -> TestResult {
    run(async {
        let folder = Folder::new("gone")?;
        let path = folder.socket();
        let listener = Listener::builder().bind_unix(&path).await?;
        ensure!(path.exists());
        drop(listener);
        ensure!(!path.exists(), "dropped");

        let listener = Listener::builder().bind_unix(&path).await?;
        ensure!(path.exists());
        ensure!(listener.drain(std::time::Duration::from_secs(5)).await);
        ensure!(!path.exists(), "drained");
        Ok(())
    })
}

#[test]
fn connecting_to_a_socket_that_is_not_there_names_the_path() -> TestResult {
    run(async {
        let folder = Folder::new("missing")?;
        let path = folder.socket();
        let client = Client::builder().unix_socket(&path).build()?;
        let error = client.connect("http://x/").await.expect_err("no such socket");
        ensure!(error.kind() == ErrorKind::Connect, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::NotFound, "{error:?}");
        ensure!(error.to_string().contains(&path.display().to_string()), "{error}");

        drop(UnixListener::bind(&path)?);
        let error = client.connect("http://x/").await.expect_err("nobody listens");
        ensure!(io_kind(&error) == io::ErrorKind::ConnectionRefused, "{error:?}");
        let text = error.to_string();
        ensure!(!text.contains("the port"), "a socket has no port: {text}");
        Ok(())
    })
    .context("a socket that is not there")
}

#[test]
fn a_drain_leaves_the_file_of_a_successor() -> TestResult {
    run(async {
        let folder = Folder::new("successor")?;
        let path = folder.socket();
        let mut listener = Listener::builder().bind_unix(&path).await?;
        let handle = listener.handle();
        let client = Client::builder().unix_socket(&path).build()?;
        let (connected, accepted) =
            tokio::join!(client.connect("http://x/"), accept(&mut listener));
        let (conn, server) = (connected?.0, accepted?);
        let drained = tokio::spawn(listener.drain(Duration::from_secs(20)));
        conn.draining().await;
        ensure!(handle.stats().links == 1 && !path.exists());
        let successor = Listener::builder().bind_unix(&path).await?;
        serve(successor, echo);
        drop((conn, server));
        ensure!(drained.await?);
        echoes(&path).await
    })
}
