//! The chat as a program: `--help` explains how to run it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chat::client;
use chat::client::session::Login;
use chat::room::Limits;
use chat::server::Server;
use clap::{Parser, Subcommand};
use h2conn::tls::{ClientTls, Identity};
use tokio::sync::oneshot;

/// A chat over HTTP/2, for terminals and browsers. Without a command, a server and a client share
/// this process, and others can join.
#[derive(Parser)]
struct Chat {
    #[command(subcommand)]
    command: Option<Command>,
    /// Your name in the room [default: the name of your account].
    #[arg(long)]
    name: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run only the server, until Ctrl-C.
    Serve {
        /// The address to listen on. Port 0 is any free port.
        #[arg(default_value = LOCAL)]
        addr: String,
        /// The certificate chain, in PEM. Without it, a certificate is made on the spot.
        #[arg(long, value_name = "FILE", requires = "key")]
        cert: Option<PathBuf>,
        /// The private key, in PEM.
        #[arg(long, value_name = "FILE", requires = "cert")]
        key: Option<PathBuf>,
    },
    /// Join the room of another process.
    ///
    /// On a terminal, Esc leaves, PageUp and PageDown scroll, and Ctrl-L redraws the screen.
    /// Elsewhere, lines of standard input are posted, and all posts are printed.
    Connect {
        /// The URL of the room, such as https://localhost:8000/
        url: String,
        /// Your name in the room [default: the name of your account].
        #[arg(long)]
        name: Option<String>,
        /// Trust the certificates in this PEM file, and no others.
        #[arg(long, value_name = "FILE")]
        cacert: Option<PathBuf>,
        /// Accept any certificate. Anyone on the network path can then read and alter the traffic.
        #[arg(short = 'k', long)]
        insecure: bool,
    },
}

const LOCAL: &str = "127.0.0.1:8000";

/// The options of clients that join a server whose certificate nobody has signed.
const UNCHECKED: &str = " -k";

#[tokio::main]
async fn main() -> ExitCode {
    // An error returned from here would be printed for programmers, with a backtrace.
    match run(Chat::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Chat { command, name }: Chat) -> Result<()> {
    match command {
        None => both_ends(name.unwrap_or_else(account)).await,
        Some(Command::Serve { addr, cert, key }) => {
            let (identity, options) = match cert.zip(key) {
                Some((cert, key)) => (Identity::from_pem_files(cert, key)?, ""),
                None => (local_identity()?, UNCHECKED),
            };
            serve(&addr, identity, options).await
        }
        Some(Command::Connect { url, name: own, cacert, insecure }) => {
            let tls = ClientTls::new();
            let tls = match cacert {
                _ if insecure => tls.dangerous_accept_any_certificate(),
                Some(file) => tls.only_root_certificates(fs::read(&file).with_context(|| {
                    format!("cannot read the file {} of --cacert", file.display())
                })?),
                None => tls,
            };
            let name = own.or(name).unwrap_or_else(account);
            let url = if url.contains("://") { url } else { format!("https://{url}") };
            client::run(Login { url, name, tls }, None).await
        }
    }
}

/// A server that others on this machine can join, and a client that trusts only this server.
async fn both_ends(name: String) -> Result<()> {
    let identity = local_identity()?;
    let tls = ClientTls::new().only_root_certificates(identity.certificate_pem());
    // Another chat may use the default port.
    let server = Server::bind(LOCAL, identity.clone(), Limits::default())
        .or_else(|_| Server::bind("127.0.0.1:0", identity, Limits::default()))?;
    let url = server.url()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(stopped.await) }));
    let note = how_to_join(&url, UNCHECKED);
    let result = client::run(Login { url, name, tls }, Some(&note)).await;
    drop(stop);
    serving.await??;
    result
}

async fn serve(addr: &str, identity: Identity, options: &str) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let server = Server::bind(addr, identity, Limits::default())?;
    let url = server.url()?;
    println!("listening on {url}");
    eprintln!("{}", how_to_join(&url, options));
    let interrupt = async {
        // If Ctrl-C cannot be watched, the server runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    server.run(interrupt).await
}

/// A hint for others. It names this program in the way in which it was started.
fn how_to_join(url: &str, options: &str) -> String {
    let program = match env::var_os("CARGO") {
        Some(_) => "cargo run -p chat --".to_owned(),
        None => env::args().next().unwrap_or_else(|| "chat".to_owned()),
    };
    format!("others can join with: {program} connect {url} --name NAME{options}, or in a browser")
}

fn local_identity() -> Result<Identity> {
    Ok(Identity::self_signed(["localhost", "127.0.0.1", "::1"])?)
}

fn account() -> String {
    let name = env::var("USER").or_else(|_| env::var("USERNAME"));
    name.unwrap_or_else(|_| "guest".to_owned())
}
