//! The place of the attacks. The victim is a process of its own, so that its memory can be
//! measured. It has one thread, so that a bystander on another link notices a link that takes more
//! than its share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::any;
use h2conn::axum::Accept;
use h2conn::testing::none_alive;
use h2conn::{Client, Conn, Listener, ListenerBuilder, Reason, testing};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::bystander::{Bystander, Waits};
use crate::support::process::{self, Output, memory_of, output, said};
use crate::support::raw::Raw;
use crate::support::tools::aloud;
use crate::support::{Over, Site, TestResult, check_echo, checked, echo, echo_server, serve};

/// How much memory an attack may cost in addition to the configured memory of the link, in KiB.
/// This includes the allocator's overhead.
const MEMORY: u64 = 48 << 10;

/// The memory of a small listener's links together.
const SMALL: usize = 16 << 20;

/// How long a victim without optimization may compute before the bystander gets its echo. This is
/// the victim's own processor time, so that other work on the machine does not count.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same for all but one in a hundred of the echoes, beside what it computed before the attack.
/// Many attacks of these tests are so short that few echoes fall into them.
const PATIENCE_MOSTLY: Duration = Duration::from_millis(match cfg!(debug_assertions) {
    true => 2_000,
    false => 300,
});

/// The time after an attack within which everything must have ended, on any machine.
const GONE: Duration = Duration::from_secs(60);

/// The variable that makes the listener serve a `router`, whose handlers accept the same Conns.
const ATTACKED: &str = "H2CONN_ATTACKED";

/// Whether the listener serves a router.
pub(super) fn is_router() -> bool {
    std::env::var(ATTACKED).is_ok_and(|by| by == "router")
}

/// Attacks run one at a time, or they would measure each other.
static ONE: Mutex<()> = Mutex::const_new(());

/// Attacks a listener: `attack` gets its address, and returns the outcome. The bystander has a Conn
/// before.
pub(super) async fn on_listener<Fut>(
    fault: &str,
    attack: impl FnOnce(SocketAddr) -> Fut,
) -> TestResult<Vec<String>>
where
    Fut: Future<Output = TestResult<String>>,
{
    on_server("server", MEMORY, Bystander::Talks, fault, attack).await
}

/// Like [`on_listener`], against a listener whose Conns may have 16 MiB together. The bystander opens
/// a Conn for each echo.
pub(super) async fn on_small_listener<Fut>(
    fault: &str,
    attack: impl FnOnce(SocketAddr) -> Fut,
) -> TestResult<Vec<String>>
where
    Fut: Future<Output = TestResult<String>>,
{
    // The process takes at most twice the memory that is counted.
    let memory = MEMORY + 2 * (SMALL >> 10) as u64;
    on_server("small server", memory, Bystander::Asks, fault, attack).await
}

async fn on_server<Fut>(
    role: &str,
    memory: u64,
    bystander: Bystander,
    fault: &str,
    attack: impl FnOnce(SocketAddr) -> Fut,
) -> TestResult<Vec<String>>
where
    Fut: Future<Output = TestResult<String>>,
{
    let _one = ONE.lock().await;
    let role = format!("{role}{}", if is_router() { ", router" } else { "" });
    checked(120, async {
        let mut victim = Victim::start(&role).await?;
        let site = Site::cleartext(said(&mut victim.output, "addr").await?.parse()?);
        let client = site.client()?;
        let (stop, stopped) = watch::channel(false);
        let id = victim.child.id().context("it runs")?.to_string();
        let bystander = bystander.stand(client.clone(), site.url("/"), id, stopped).await?;
        let before = victim.memory("VmRSS");
        let happened = attack(site.addr).await?;
        stop.send_replace(true);
        let waits = bystander.await?.context("the bystander")?;
        // A client that comes after the attack is served as well.
        check_echo(site.connect().await?, b"after all").await?;
        client.close().await?;
        drop(client);
        let peak = victim.memory("VmHWM");
        let errors = victim.end().await?;
        report(&format!("{fault} ({role})"), &happened, (before, peak, memory), waits)?;
        Ok(errors)
    })
    .await
}

/// Attacks a client that has opened one connection and reads it to its end. Returns the error of
/// that client, and the outcome of the attack.
pub(super) async fn on_client<Fut>(
    fault: &str,
    path: &str,
    attack: impl FnOnce(Raw<TcpStream>) -> Fut,
) -> TestResult<String>
where
    Fut: Future<Output = TestResult<String>>,
{
    let _one = ONE.lock().await;
    checked(120, async {
        let mut victim = Victim::start("client").await?;
        let echo = echo_server(Over::Cleartext).await?;
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let hostile = Site::cleartext(socket.local_addr()?);
        let lines = format!("{}\n{}\n", echo.url("/"), hostile.url(path));
        victim.tell(&lines).await?;
        let (io, _) = socket.accept().await?;
        io.set_nodelay(true)?;
        let raw = Raw::server(io).await?;
        let before = victim.memory("VmRSS");
        let happened = attack(raw).await?;
        victim.tell("the attack is over\n").await?;
        let told = said(&mut victim.output, "told").await?;
        let waits = Waits::parse(&said(&mut victim.output, "waits").await?)?;
        let peak = victim.memory("VmHWM");
        victim.end().await?;
        report(fault, &format!("{happened}: {told}"), (before, peak, MEMORY), waits)?;
        Ok(told)
    })
    .await
}

/// Prints the line of an attack, which may have cost `more` KiB than there were `before`.
fn report(
    fault: &str,
    happened: &str,
    (before, peak, more): (u64, u64, u64),
    waits: Waits,
) -> TestResult {
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    aloud(format_args!(
        "ATTACK | {fault} | {happened} | {}→{} | {}, {} ms | {}, {} ms",
        mib(before),
        mib(peak),
        millis(waits.mostly.waited),
        millis(waits.worst.waited),
        millis(waits.mostly.worked),
        millis(waits.worst.worked)
    ));
    ensure!(peak < before + more, "{fault}: {} MiB, then {}", mib(before), mib(peak));
    ensure!(waits.worst.worked < PATIENCE, "{fault}: the bystander had {waits:?}");
    let mostly = waits.mostly.worked.saturating_sub(waits.quiet.worked);
    ensure!(mostly < PATIENCE_MOSTLY, "{fault}: the bystander mostly had {waits:?}");
    Ok(())
}

/// The process under attack.
struct Victim {
    child: Child,
    output: Output,
}

impl Victim {
    async fn start(role: &str) -> TestResult<Victim> {
        let mut child = process::spawn("attacks::arena::the_victim", role)?;
        let output = output(&mut child)?;
        Ok(Victim { child, output })
    }

    async fn tell(&mut self, lines: &str) -> TestResult {
        let input = self.child.stdin.as_mut().context("piped")?;
        Ok(input.write_all(lines.as_bytes()).await?)
    }

    fn memory(&self, field: &str) -> u64 {
        self.child.id().map_or(0, |id| memory_of(&id.to_string(), field))
    }

    /// Ends the process, and checks that nothing is left over. Returns the errors of its handlers,
    /// and how often each occurred.
    async fn end(mut self) -> TestResult<Vec<String>> {
        drop(self.child.stdin.take());
        let mut errors = Vec::new();
        let mut left = None;
        while let Some(line) = self.output.next_line().await? {
            errors.extend(line.strip_prefix("@error ").map(str::to_owned));
            left = left.or(line.strip_prefix("@left ").map(str::to_owned));
        }
        ensure!(left.as_deref() == Some("nothing"), "{left:?}");
        ensure!(self.child.wait().await?.success());
        Ok(errors)
    }
}

/// Not a real test, but the process of the attacks.
#[tokio::test]
async fn the_victim() -> TestResult {
    let Some(role) = process::role() else { return Ok(()) };
    let by = if role.ends_with(", router") { By::Router } else { By::Listener };
    match role.trim_end_matches(", router") {
        "server" => server(Listener::builder(), by).await?,
        "small server" => {
            let builder = Listener::builder();
            server(builder.max_memory(SMALL).max_link_memory(SMALL as u32), by).await?
        }
        "client" => client().await?,
        _ => return Ok(()),
    }
    let left = timeout(GONE, none_alive()).await;
    println!(
        "\n@left {}",
        left.map_or_else(|_| testing::alive().to_string(), |()| "nothing".into())
    );
    Ok(())
}

async fn end_of_input() -> TestResult {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The program's part of a server that is attacked.
#[derive(Clone, Copy)]
enum By {
    Listener,
    Router,
}

async fn server(builder: ListenerBuilder, by: By) -> TestResult {
    // On a busy machine an attack may take longer than a peer without a connection has. It must
    // still be ended by its own limit.
    let builder = builder.handshake_timeout(Duration::from_secs(2)).first_conn_timeout(None);
    let listener = builder.bind("127.0.0.1:0").await?;
    println!("\n@addr {}", listener.local_addr());
    let serving = match by {
        By::Listener => serve(listener, handle),
        By::Router => {
            let accept = any(|accept: Accept| async {
                accept.on_conn(|conn| async move { drop(handle(conn).await) })
            });
            let serving = h2conn::serve(listener, Router::new().fallback(accept));
            tokio::spawn(async move { drop(serving.await) })
        }
    };
    end_of_input().await?;
    serving.abort();
    let _ = serving.await;
    let left = timeout(GONE, none_alive()).await;
    println!();
    for (error, count) in &*lock_errors() {
        println!("@error {count} × {error}");
    }
    Ok(left?)
}

/// The errors of the handlers, and how often each occurred.
fn lock_errors() -> MutexGuard<'static, BTreeMap<String, usize>> {
    static ERRORS: std::sync::Mutex<BTreeMap<String, usize>> =
        std::sync::Mutex::new(BTreeMap::new());
    ERRORS.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handle(conn: Conn) -> std::io::Result<()> {
    let path = conn.uri().path().to_owned();
    let result = serve_path(conn, &path).await;
    if let Err(error) = &result
        && path != "/"
    {
        *lock_errors().entry(format!("{path} {error}")).or_default() += 1;
    }
    result
}

async fn serve_path(mut conn: Conn, path: &str) -> std::io::Result<()> {
    match path {
        // Reads nothing, for as long as the connection lasts.
        "/sleep" => Ok(conn.closed().await?),
        // Writes without end, with and without a long deadline.
        "/write" | "/impatient" => {
            if path == "/impatient" {
                conn.set_write_deadline(Some(Instant::now() + Duration::from_millis(500)));
            }
            write_without_end(&conn).await
        }
        "/reset" => {
            conn.reset(Reason::CANCEL);
            Ok(())
        }
        // Fails unless it reads exactly "all", and then the end.
        "/all" => {
            let mut all = Vec::new();
            conn.read_to_end(&mut all).await?;
            match &all[..] {
                b"all" => Ok(()),
                other => Err(std::io::Error::other(format!("{} bytes came", other.len()))),
            }
        }
        // Reports how the connection ends.
        "/read" => {
            while conn.read(&mut [0; 4096]).await? > 0 {}
            conn.shutdown().await
        }
        _ => echo(conn).await,
    }
}

/// Writes until a write fails, and leaves nothing behind.
async fn write_without_end(mut conn: &Conn) -> std::io::Result<()> {
    loop {
        if let Err(error) = conn.write_all(&[b'.'; 16 << 10]).await {
            conn.reset(Reason::CANCEL);
            return Err(error);
        }
    }
}

async fn client() -> TestResult {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut line = async || input.next_line().await?.context("a line from the test");
    let (echo, hostile) = (line().await?, line().await?);
    let (stop, stopped) = watch::channel(false);
    let friend = Client::new()?;
    let bystander = Bystander::Talks.stand(friend.clone(), echo, "self".into(), stopped).await?;
    let client = Client::new()?;
    let mut attacked = tokio::spawn(attacked(client.clone(), hostile));
    // The test writes a line when the attack is over. The connection may have ended before.
    line().await?;
    let told = match timeout(GONE, &mut attacked).await {
        Ok(told) => told?,
        Err(_) => {
            attacked.abort();
            "it goes on".to_owned()
        }
    };
    println!("\n@told {told}");
    stop.send_replace(true);
    println!("@waits {}", bystander.await??.print());
    friend.close().await?;
    drop(client);
    while line().await.is_ok() {}
    Ok(())
}

/// The error that the user of an attacked connection gets.
async fn attacked(client: Client, url: String) -> String {
    let conn = match client.open(&url).await {
        Ok(conn) => conn,
        Err(error) => return format!("connecting failed: {error}"),
    };
    if let Err(error) = conn.response().await {
        return format!("no response: {error}");
    }
    let path = conn.uri().path().to_owned();
    let result = async {
        if path == "/impatient" {
            conn.set_write_deadline(Some(Instant::now() + Duration::from_millis(500)));
            write_without_end(&conn).await?;
        }
        let mut total = 0;
        loop {
            match (&conn).read(&mut [0; 16 << 10]).await? {
                0 => return std::io::Result::Ok(total),
                n => total += n,
            }
        }
    };
    match result.await {
        Ok(total) => format!("in order after {total} bytes"),
        Err(error) => format!("{error}"),
    }
}
