//! Clients and servers over networks with faults of every kind, for any length of time. No byte is
//! lost, moved or duplicated, every error has a fault behind it, and nothing is left over.

mod talk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::testing::none_alive;
use h2conn::{Client, Error, ErrorKind, Listener, ListenerBuilder};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::faults::{Dice, Fault, Faults};
use crate::support::process::{self, memory, open_files, output, said};
use crate::support::{Over, Site, TestResult, checked, identity, within};
use talk::Tally;

/// The clients of each server, and the tasks of each client.
const CLIENTS: u64 = 3;
const TASKS: u64 = 4;

/// How long the ends wait for each other. A half-open connection is noticed after twice this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longer than [`PATIENCE`]: a machine that is busy with other tests can take more than a second
/// for TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The network cuts a half-open connection after this time, if keep-alive has not ended it before.
const LAST: Duration = Duration::from_secs(30);

/// How much memory may be added after the first quarter of the run, in KiB: an allocator keeps this
/// much back.
const MORE: u64 = 16 << 10;

/// Tasks and sockets that are about to finish.
const FEW: usize = 4;

/// The duration: `H2CONN_SOAK` seconds, or a few.
fn duration() -> TestResult<Duration> {
    let seconds = match std::env::var("H2CONN_SOAK") {
        Ok(seconds) => seconds.parse().context("H2CONN_SOAK is a number of seconds")?,
        Err(_) => 4.0,
    };
    Ok(Duration::from_secs_f64(seconds))
}

/// The seed of a run: `H2CONN_SEED`, or the time.
fn seed() -> TestResult<u64> {
    match std::env::var("H2CONN_SEED") {
        Ok(seed) => seed.parse().context("H2CONN_SEED is a number"),
        Err(_) => Ok(std::time::UNIX_EPOCH.elapsed()?.as_nanos() as u64),
    }
}

#[derive(Clone, Copy, Debug)]
struct State {
    memory: u64,
    files: usize,
    tasks: usize,
}

impl State {
    async fn at_rest() -> TestResult<State> {
        timeout(Duration::from_secs(20), none_alive()).await.context("something is left over")?;
        let tasks = Handle::current().metrics().num_alive_tasks();
        Ok(State { memory: memory("VmRSS"), files: open_files(), tasks })
    }
}

/// A server, and the network before it. When told to, the server hands over to a successor on the
/// same socket.
struct Place {
    faults: Faults,
    /// The server as clients see it, through the faults.
    site: Site,
    socket: std::net::TcpListener,
    builder: ListenerBuilder,
    tally: Tally,
}

impl Place {
    async fn new(over: Over, seed: u64) -> TestResult<Place> {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let faults = Faults::before(socket.local_addr()?, LAST, seed).await?;
        let builder = Listener::builder().handshake_timeout(HANDSHAKE);
        let builder = builder.keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
        let (site, builder) = match over {
            Over::Cleartext => (Site::cleartext(faults.addr), builder),
            Over::Tls => {
                let identity = identity()?;
                (Site::tls(faults.addr, &identity), builder.tls(identity))
            }
        };
        Ok(Place { faults, site, socket, builder, tally: Tally::default() })
    }

    fn listener(&self) -> TestResult<Listener> {
        let socket = tokio::net::TcpListener::from_std(self.socket.try_clone()?)?;
        Ok(self.builder.clone().listen(socket)?)
    }

    fn client(&self) -> h2conn::Result<Client> {
        let builder = self.site.client_builder().handshake_timeout(HANDSHAKE);
        let builder = builder.keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
        builder.connect_timeout(HANDSHAKE).response_timeout(8 * PATIENCE).build()
    }

    /// Serves until `over`, and drains each listener that has served.
    async fn serve(&self, over: &AtomicBool, seed: u64) -> TestResult<u64> {
        let (mut dice, mut tasks, mut drains) = (Dice::new(seed), JoinSet::new(), 0);
        let mut listener = self.listener()?;
        while !over.load(SeqCst) {
            let until = tokio::time::Instant::now() + dice.millis(300, 1_500);
            while let Ok(incoming) = tokio::time::timeout_at(until, listener.accept()).await {
                let incoming = incoming.context("a listener has ended")?;
                let tally = self.tally.clone();
                tasks.spawn(async move { tally.add(talk::serve(incoming).await) });
            }
            let old = std::mem::replace(&mut listener, self.listener()?);
            let time = dice.millis(50, 500);
            tasks.spawn(async move {
                old.drain(time).await;
                Ok(())
            });
            drains += 1;
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
        }
        listener.drain(PATIENCE).await;
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(drains)
    }

    /// Applies faults until `over`. After each fault a new client must get through.
    async fn hurt(&self, over: &AtomicBool, seed: u64) -> TestResult<Hurt> {
        let (mut dice, mut happened) = (Dice::new(seed), BTreeMap::new());
        let mut slowest = Duration::ZERO;
        while !over.load(SeqCst) {
            let fault = Fault::ALL[dice.below(Fault::ALL.len() as u64) as usize];
            self.faults.happen(fault, dice.millis(20, 400)).await;
            *happened.entry(fault).or_default() += 1;
            let start = Instant::now();
            self.probe(dice.below(u64::MAX)).await.with_context(|| format!("after {fault:?}"))?;
            slowest = slowest.max(start.elapsed());
            tokio::time::sleep(dice.millis(10, 200)).await;
        }
        // Cuts the half-open connections that are left.
        self.faults.happen(Fault::Cut, Duration::ZERO).await;
        Ok(Hurt { happened, slowest })
    }

    /// Checks that a new client's Conn works. Only a drain of its server may end it.
    async fn probe(&self, seed: u64) -> TestResult {
        for attempt in 0.. {
            let client = self.client()?;
            let talked = within(20, talk::hold(&client, &self.site, seed, 4)).await?;
            // Bytes that the network has lost cannot be acknowledged.
            let _ = within(40, client.close()).await;
            match talked.error {
                None => break,
                Some(error) if attempt < 10 && is_of_a_drain(&error) => {}
                Some(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Talks until `over`, over the links that the faults leave to the client.
    async fn talk(&self, client: Client, over: &AtomicBool, seed: u64) -> TestResult {
        let mut dice = Dice::new(seed);
        while !over.load(SeqCst) {
            let messages = dice.below(30);
            let talk = talk::hold(&client, &self.site, dice.below(u64::MAX), messages);
            self.tally.add(within(60, talk).await)?;
        }
        Ok(())
    }
}

/// The faults that were applied, and the longest time that a new client then needed to get through.
struct Hurt {
    happened: BTreeMap<Fault, u64>,
    slowest: Duration,
}

/// Whether the end of a listener can cause this error: it resets a Conn at its deadline, or refuses
/// it.
fn is_of_a_drain(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Reset | ErrorKind::Refused | ErrorKind::Truncated)
}

/// Without faults nothing fails: runs a listener and a client without a network between them, until
/// `over`.
async fn calm(over: Arc<AtomicBool>, seed: u64) -> TestResult<u64> {
    let identity = identity()?;
    let mut listener = Listener::builder().tls(identity.clone()).bind("127.0.0.1:0").await?;
    let addr = listener.local_addr().socket_addr().context("it listens on TCP")?;
    let site = Site::tls(addr, &identity);
    let client = site.client()?;
    let talking = async {
        let (mut dice, mut talks) = (Dice::new(seed), 0);
        while !over.load(SeqCst) {
            let messages = dice.below(30);
            let talked =
                within(60, talk::hold(&client, &site, dice.below(u64::MAX), messages)).await?;
            ensure!(talked.error.is_none(), "{:?}, where nothing was wrong", talked.error);
            talks += 1;
        }
        client.close().await?;
        Ok(talks)
    };
    let serving = async {
        loop {
            let incoming = listener.accept().await.context("the listener has ended")?;
            let talked = talk::serve(incoming).await?;
            ensure!(talked.error.is_none(), "{:?}, where nothing was wrong", talked.error);
        }
    };
    tokio::select! {
        talks = talking => talks,
        result = serving => result,
    }
}

/// Runs one quarter at one place.
async fn quarter(place: Arc<Place>, time: Duration, seed: u64) -> TestResult<String> {
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|_| place.client()).collect::<h2conn::Result<Vec<_>>>()?;
    let mut talks = JoinSet::new();
    for number in 0..CLIENTS * TASKS {
        let (place, over) = (Arc::clone(&place), Arc::clone(&over));
        let client = clients[(number % CLIENTS) as usize].clone();
        talks.spawn(async move { place.talk(client, &over, seed + number).await });
    }
    let served = Arc::new(AtomicBool::new(false));
    let serving = {
        let (place, served) = (Arc::clone(&place), Arc::clone(&served));
        tokio::spawn(async move { place.serve(&served, seed + 1_000).await })
    };
    let hurting = {
        let (place, over) = (Arc::clone(&place), Arc::clone(&over));
        tokio::spawn(async move { place.hurt(&over, seed + 2_000).await })
    };
    tokio::time::sleep(time).await;
    over.store(true, SeqCst);
    let Hurt { happened, slowest } = hurting.await??;
    while let Some(talk) = talks.join_next().await {
        talk??;
    }
    for client in clients {
        let _ = within(60, client.close()).await;
    }
    served.store(true, SeqCst);
    let drains = serving.await??;
    let (talks, slowest) = (place.tally.take(), slowest.as_secs_f32());
    // Each event, and the end of the run, cuts the Conns that are open: one with two ends for every
    // task, and one for the probe.
    let events = happened.values().sum::<u64>() + drains + 1;
    let said = format!("{talks}; {drains} drains, {happened:?}, through again in {slowest:.1} s");
    ensure!(
        talks.cut() <= events * 2 * (CLIENTS * TASKS + 1),
        "more were cut than was done: {said}"
    );
    ensure!(talks.whole() > 0, "none was whole: {said}");
    Ok(said)
}

/// Not a real test, but the process of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_of_the_soak() -> TestResult {
    if process::role().is_some() {
        process::tell(soak().await)?;
    }
    Ok(())
}

async fn soak() -> TestResult {
    let (duration, seed) = (duration()?, seed()?);
    println!("\n@seed {seed}");
    let places = [
        Arc::new(Place::new(Over::Cleartext, seed).await?),
        Arc::new(Place::new(Over::Tls, seed + 1).await?),
    ];
    let begin = State::at_rest().await?;
    let mut first = None;
    for quarter_number in 0..4 {
        let start = Instant::now();
        let mut quarters = JoinSet::new();
        let over = Arc::new(AtomicBool::new(false));
        let calm = tokio::spawn(calm(Arc::clone(&over), seed + quarter_number));
        for (number, place) in places.iter().enumerate() {
            let seed = seed + 10_000 * (4 * number as u64 + quarter_number + 1);
            quarters.spawn(quarter(Arc::clone(place), duration / 4, seed));
        }
        while let Some(said) = quarters.join_next().await {
            println!("\n@figures {}", said??);
        }
        over.store(true, SeqCst);
        println!("\n@calm {} Conns where nothing was wrong", calm.await??);
        let state = State::at_rest().await?;
        println!("\n@state after {:.1} s: {state:?}", start.elapsed().as_secs_f32());
        let first = *first.get_or_insert(state);
        ensure!(state.memory <= first.memory + MORE, "{first:?}, and later {state:?}");
        ensure!(state.files <= begin.files + FEW, "{begin:?}, and later {state:?}");
        ensure!(state.tasks <= begin.tasks + FEW, "{begin:?}, and later {state:?}");
    }
    println!("\n@done soaking");
    Ok(())
}

#[tokio::test]
async fn networks_that_go_wrong_cost_no_byte_and_leave_nothing_behind() -> TestResult {
    checked(duration()?.as_secs() + 240, async {
        let mut child = process::spawn("soak::the_process_of_the_soak", "soak")?;
        let mut output = output(&mut child)?;
        eprintln!("soak: H2CONN_SEED={}", said(&mut output, "seed").await?);
        for _ in 0..4 {
            for _ in 0..2 {
                eprintln!("soak: {}", said(&mut output, "figures").await?);
            }
            eprintln!("soak: {}", said(&mut output, "calm").await?);
            eprintln!("soak: {}", said(&mut output, "state").await?);
        }
        said(&mut output, "done").await?;
        while output.next_line().await?.is_some() {}
        ensure!(child.wait().await?.success());
        Ok(())
    })
    .await
}
