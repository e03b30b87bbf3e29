//! The cases between each pair of ends. A case that hangs ends with the test's time.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use grpc_interop::cases::{self, Requests};
use grpc_interop::service::server;
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Listener};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};

/// The names of the cases of `go/main.go`.
const GO_CASES: usize = 14;

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(async { timeout(Duration::from_secs(300), test).await.context("it hangs")? })
}

async fn all<T: cases::Channel>(channel: T, url: &str, of: Requests) -> Result<()> {
    cases::all(channel, url, of).await.map_err(|error| anyhow!("{error}"))
}

/// The test service behind our `serve`.
struct Ours {
    addr: SocketAddr,
    identity: Option<Identity>,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<h2conn::Result<()>>,
}

impl Ours {
    async fn start(tls: bool) -> Result<Ours> {
        let identity = if tls { Some(Identity::self_signed(["localhost"])?) } else { None };
        let builder = match &identity {
            Some(identity) => Listener::builder().tls(identity.clone()),
            None => Listener::builder(),
        };
        let listener = builder.bind("127.0.0.1:0").await?;
        let addr = listener.local_addr().socket_addr().context("it listens on TCP")?;
        let (stop, stopped) = oneshot::channel();
        let serving = h2conn::serve(listener, Routes::new(server()).prepare())
            .with_graceful_shutdown(async move { drop(stopped.await) })
            .with_shutdown_timeout(Duration::from_secs(30));
        let ended = tokio::spawn(serving.into_future());
        Ok(Ours { addr, identity, stop, ended })
    }

    /// Ends the server. All calls, also those that were taken back, must have ended.
    async fn stop(self) -> Result<()> {
        drop(self.stop);
        self.ended.await?.context("the server did not end in order")
    }
}

/// tonic's own server, on hyper.
async fn tonics() -> Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    let serving = Server::builder().add_service(server());
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(socket)));
    Ok(addr)
}

/// The cases, after which the client ends in order.
async fn ours(client: Client, url: &str) -> Result<()> {
    all(client.clone(), url, Requests::Dropped).await?;
    let stats = client.stats();
    ensure!((stats.dials, stats.failed_dials) == (1, 0), "{stats:?}");
    client.close().await?;
    Ok(())
}

#[test]
fn our_client_and_our_server() -> Result<()> {
    run(async {
        for tls in [false, true] {
            let server = Ours::start(tls).await?;
            let (client, scheme) = match &server.identity {
                Some(identity) => {
                    let trusted =
                        ClientTls::new().only_root_certificates(identity.certificate_pem());
                    (Client::builder().tls(trusted), "https")
                }
                None => (Client::builder(), "http"),
            };
            let url = format!("{scheme}://localhost:{}", server.addr.port());
            ours(client.build()?, &url).await?;
            server.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn our_client_and_tonics_server() -> Result<()> {
    run(async {
        let addr = tonics().await?;
        ours(Client::new()?, &format!("http://{addr}")).await
    })
}

#[test]
fn tonics_client_and_tonics_server() -> Result<()> {
    run(async {
        // Whether the cases are right, without us.
        let url = format!("http://{}", tonics().await?);
        all(Endpoint::new(url.clone())?.connect().await?, &url, Requests::Kept).await
    })
}

#[test]
fn tonics_client_and_our_server() -> Result<()> {
    run(async {
        let server = Ours::start(false).await?;
        let url = format!("http://{}", server.addr);
        all(Endpoint::new(url.clone())?.connect().await?, &url, Requests::Kept).await?;
        server.stop().await
    })
}

#[test]
fn gos_client_and_our_server() -> Result<()> {
    let Some(go) = go()? else { return Ok(()) };
    run(async {
        for tls in [false, true] {
            let server = Ours::start(tls).await?;
            let mut args = vec!["client".to_owned(), server.addr.to_string()];
            let file = match &server.identity {
                Some(identity) => Some(write("ca.pem", &identity.certificate_pem())?),
                None => None,
            };
            args.extend(file.iter().map(|file| file.display().to_string()));
            let ran = command(go, &args).output().await?;
            let said = String::from_utf8(ran.stdout)?;
            let failed = String::from_utf8_lossy(&ran.stderr);
            ensure!(ran.status.success(), "TLS {tls}: after {said}: {failed}");
            ensure!(said.lines().count() == GO_CASES, "{said}");
            server.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn our_client_and_gos_server() -> Result<()> {
    let Some(go) = go()? else { return Ok(()) };
    run(async {
        let (_child, port) = gos(go, &["server".to_owned()]).await?;
        ours(Client::new()?, &format!("http://127.0.0.1:{port}")).await?;

        let pem = Identity::self_signed_pem(["localhost"])?;
        let identity = Identity::from_pem(&pem, &pem)?;
        let file = write("server.pem", &pem)?.display().to_string();
        let args = ["server".to_owned(), file.clone(), file];
        let (_child, port) = gos(go, &args).await?;
        let trusted = ClientTls::new().only_root_certificates(identity.certificate_pem());
        let client = Client::builder().tls(trusted).build()?;
        ours(client, &format!("https://localhost:{port}")).await
    })
}

/// Starts Go's server.
async fn gos(go: &Path, args: &[String]) -> Result<(Child, u16)> {
    let mut child = command(go, args).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let port = lines.next_line().await?.context("the server says its port")?.parse()?;
    Ok((child, port))
}

fn command(program: impl AsRef<OsStr>, args: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn write(name: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Go's program, built once. Says aloud if there is no Go. Blocks.
fn go() -> Result<Option<&'static Path>> {
    static BUILT: OnceLock<std::result::Result<Option<PathBuf>, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(program) => Ok(program.as_deref()),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> Result<Option<PathBuf>> {
    let go = |args: &[&str]| {
        let mut go = std::process::Command::new("go");
        go.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"));
        // Use the installed version, and download no other.
        go.env("GOTOOLCHAIN", "local").stdin(Stdio::null()).output()
    };
    match go(&["list", "-deps", "."]) {
        Ok(listed) if listed.status.success() => {}
        listed => {
            let why = match listed {
                Ok(listed) => String::from_utf8_lossy(&listed.stderr).trim().replace('\n', " | "),
                Err(error) => error.to_string(),
            };
            // Not through `eprintln!`, which the test runner hides. The runner may have begun a line.
            std::io::stderr().write_all(format!("\nSKIPPED: no Go: {why}\n").as_bytes())?;
            return Ok(None);
        }
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-grpc-peer{EXE_SUFFIX}"));
    let path = program.display().to_string();
    let built = go(&["build", "-o", &path, "."])?;
    ensure!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Ok(Some(program))
}
