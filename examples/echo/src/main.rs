//! Sends lines over a full-duplex connection; the server returns them in capitals.
//!
//! [`shout`] is the server's part of a connection, and [`talk`] the client's. [`host`] accepts
//! connections, and [`connect`] opens one. `--help` explains how to run it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Json;
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Conn, Incoming, Listener, OnDrop};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::codec::Framed;

/// Send each line of standard input over a full-duplex connection, and print the answers, which are
/// the lines in capitals. Without a command, client and server share this process.
#[derive(Parser)]
struct Echo {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server alone, until Ctrl-C.
    Serve {
        /// The address to listen on. Port 0 is any free port.
        #[arg(default_value = "127.0.0.1:8000")]
        addr: String,
        /// Send all bytes back unchanged, for any client.
        #[arg(long)]
        raw: bool,
        /// The certificate chain, in PEM. Without it, a certificate is made on the spot.
        #[arg(long, value_name = "FILE", requires = "key")]
        cert: Option<PathBuf>,
        /// The private key, in PEM.
        #[arg(long, value_name = "FILE", requires = "cert")]
        key: Option<PathBuf>,
    },
    /// Run the client alone.
    Connect {
        /// The URL to connect to, such as https://127.0.0.1:8000/
        url: String,
        /// Trust the certificates in this PEM file, and no others.
        #[arg(long, value_name = "FILE")]
        cacert: Option<PathBuf>,
        /// Accept any certificate. Anyone on the network path can then read and alter the traffic.
        #[arg(short = 'k', long)]
        insecure: bool,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Echo::parse().command {
        None => both_ends().await,
        Some(Command::Serve { addr, raw, cert, key }) => {
            let identity = match cert.zip(key) {
                Some((cert, key)) => Identity::from_pem_files(cert, key)?,
                None => Identity::self_signed(["localhost", "127.0.0.1", "::1"])?,
            };
            serve(&addr, identity, raw).await
        }
        Some(Command::Connect { url, cacert, insecure }) => {
            let read = |file| fs::read(file).context("cannot read --cacert");
            let tls = ClientTls::new();
            let tls = match cacert {
                _ if insecure => tls.dangerous_accept_any_certificate(),
                Some(file) => tls.only_root_certificates(read(file)?),
                None => tls,
            };
            connect(&url, tls).await
        }
    }
}

/// A server on a free port, and a client that trusts only the server's certificate.
async fn both_ends() -> Result<()> {
    let identity = Identity::self_signed(["127.0.0.1"])?;
    let tls = ClientTls::new().only_root_certificates(identity.certificate_pem());
    let listener = Listener::builder().tls(identity).bind("127.0.0.1:0").await?;
    let url = format!("https://{}/", listener.local_addr());
    host(listener, false, connect(&url, tls)).await
}

async fn serve(addr: &str, identity: Identity, raw: bool) -> Result<()> {
    let listener = Listener::builder().tls(identity).bind(addr).await?;
    println!("listening on https://{}/", listener.local_addr());
    let interrupt = async {
        tokio::signal::ctrl_c().await?;
        eprintln!("stopping, once all have left or 5 seconds have passed");
        Ok(())
    };
    host(listener, raw, interrupt).await
}

/// Serves until `work` is done, and then lets connected clients finish.
async fn host(
    mut listener: Listener,
    raw: bool,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut guests = JoinSet::new();
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            Some(incoming) = listener.accept() => { guests.spawn(welcome(incoming, raw)); }
            Some(_) = guests.join_next() => {}
        }
    };
    listener.drain(Duration::from_secs(5)).await;
    while guests.join_next().await.is_some() {}
    result
}

/// Serves one client, from its arrival to its end.
async fn welcome(incoming: Incoming, raw: bool) {
    let peer = incoming.peer_addr().clone();
    eprintln!("{peer} joined");
    let result = async {
        let conn = incoming.accept()?;
        // If this side ends with an error, the client must see an error too, and not a clean end.
        conn.on_drop(OnDrop::Reset);
        let served = if raw { echo(&conn).await } else { shout(&conn).await };
        served?;
        anyhow::Ok(conn.close().await?)
    };
    match result.await {
        Ok(()) => eprintln!("{peer} left"),
        Err(error) => eprintln!("{peer} left: {error:#}"),
    }
}

/// Answers JSON strings with the same strings in capitals, until the client ends its direction.
async fn shout(conn: &Conn) -> Result<()> {
    let mut messages = Framed::new(conn, Json::<String>::new());
    while let Some(text) = messages.next().await.transpose()? {
        messages.send(text.to_uppercase()).await?;
    }
    Ok(())
}

/// Sends all bytes back, until the client ends its direction.
async fn echo(conn: &Conn) -> Result<()> {
    while let Some(bytes) = conn.read_chunk().await? {
        conn.write_chunk(bytes).await?;
    }
    Ok(())
}

/// Opens a connection, talks, and waits until everything has been sent.
async fn connect(url: &str, tls: ClientTls) -> Result<()> {
    let client = Client::builder().tls(tls).build()?;
    let (conn, _response) = client.connect(url).await?;
    let result = talk(conn).await;
    let closed = client.close().await;
    result?;
    Ok(closed?)
}

/// Sends the lines of standard input one after another, and prints the answer to each.
async fn talk(conn: Conn) -> Result<()> {
    conn.on_drop(OnDrop::Reset);
    let (mut lines, with_a_user) = (lines_of_stdin(), io::stdin().is_terminal());
    let mut messages = Framed::new(&conn, Json::<String>::new());
    loop {
        if with_a_user {
            eprint!("> ");
        }
        let line = tokio::select! {
            line = lines.recv() => line.transpose().context("cannot read standard input")?,
            // No answer is due while a line is awaited, so this can only be the end.
            end = messages.next() => {
                end.transpose()?;
                bail!("the server has ended the connection");
            }
        };
        let Some(line) = line else { break };
        messages.send(line).await?;
        let answer = messages.next().await.context("the server left a line unanswered")??;
        writeln!(io::stdout(), "{answer}")?;
    }
    if with_a_user {
        eprintln!();
    }
    Ok(conn.close().await?)
}

/// Reads lines in a thread of its own: a task that reads a terminal would keep the process from
/// ending until the user presses Enter.
fn lines_of_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || io::stdin().lines().try_for_each(|line| sender.blocking_send(line)));
    receiver
}
