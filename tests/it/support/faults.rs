//! A network with random faults: TCP relays between clients and a server, which treat the open
//! connections as real networks do. `testing::Network` is for tests of one link, which set the delay, rate and
//! depth of each direction themselves.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::TestResult;

/// Random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// The faults of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// All bytes are late, each piece by another time.
    Delay,
    /// Nothing passes for a while, as when packets are lost and sent again.
    Stall,
    /// The open connections end (FIN).
    Cut,
    /// The open connections are reset (RST).
    Reset,
    /// From now on, bytes from clients on the open connections are swallowed.
    HalfOpenUp,
    /// From now on, bytes from servers on the open connections are swallowed.
    HalfOpenDown,
}

impl Fault {
    pub(crate) const ALL: [Fault; 6] = [
        Fault::Delay,
        Fault::Stall,
        Fault::Cut,
        Fault::Reset,
        Fault::HalfOpenUp,
        Fault::HalfOpenDown,
    ];
}

/// The present state, and how often each fault has hit the connections.
#[derive(Clone, Copy, Debug, Default)]
struct Network {
    jitter: Option<Duration>,
    stalled: bool,
    cuts: u64,
    resets: u64,
    swallows: [u64; 2],
}

/// Relays bytes between a server and its clients, until it is dropped.
#[derive(Debug)]
pub(crate) struct Faults {
    /// The address for clients.
    pub(crate) addr: SocketAddr,
    network: watch::Sender<Network>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Faults {
    /// Starts the relays. They cut a half-open connection after `patience`, as the systems at its
    /// ends do after many minutes.
    pub(crate) async fn before(
        server: SocketAddr,
        patience: Duration,
        seed: u64,
    ) -> TestResult<Faults> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let (network, seen) = watch::channel(Network::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let dice = Arc::new(Mutex::new(Dice::new(seed)));
            let mut links = JoinSet::new();
            while let Ok((client, _)) = socket.accept().await {
                let (seen, dice) = (seen.clone(), Arc::clone(&dice));
                links.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        let _ = carry(client, server, seen, patience, &dice).await;
                    }
                });
                while links.try_join_next().is_some() {}
            }
        });
        Ok(Faults { addr, network, _tasks: tasks })
    }

    /// Applies a fault. If it lasts, it lasts for `time`.
    pub(crate) async fn happen(&self, fault: Fault, time: Duration) {
        self.network.send_modify(|network| match fault {
            Fault::Delay => network.jitter = Some(time / 20),
            Fault::Stall => network.stalled = true,
            Fault::Cut => network.cuts += 1,
            Fault::Reset => network.resets += 1,
            Fault::HalfOpenUp => network.swallows[Way::Up as usize] += 1,
            Fault::HalfOpenDown => network.swallows[Way::Down as usize] += 1,
        });
        if matches!(fault, Fault::Delay | Fault::Stall) {
            sleep(time).await;
            self.network.send_modify(|network| (network.jitter, network.stalled) = (None, false));
        }
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut network: watch::Receiver<Network>,
    patience: Duration,
    dice: &Mutex<Dice>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let born = *network.borrow_and_update();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pass(from_client, to_server, network.clone(), Way::Up, born, dice);
    let down = pass(from_server, to_client, network.clone(), Way::Down, born, dice);
    let hit = async {
        let mut swallowed = pending_or(None);
        loop {
            tokio::select! {
                changed = network.changed() => {
                    let now = *network.borrow_and_update();
                    if changed.is_err() || now.cuts > born.cuts || now.resets > born.resets {
                        return now.resets > born.resets;
                    }
                    if now.swallows != born.swallows {
                        swallowed = pending_or(Some(patience));
                    }
                }
                () = &mut swallowed => return false,
            }
        }
    };
    let reset = tokio::select! {
        _ = async { tokio::try_join!(up, down) } => false,
        reset = hit => reset,
    };
    if reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Sleeps, or waits for ever.
fn pending_or(time: Option<Duration>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    match time {
        Some(time) => Box::pin(sleep(time)),
        None => Box::pin(pending()),
    }
}

async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
    way: Way,
    born: Network,
    dice: &Mutex<Dice>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        // Bytes that arrive during a stall go on after it.
        let Ok(now) = network.wait_for(|network| !network.stalled).await.map(|now| *now) else {
            return Ok(());
        };
        if now.swallows[way as usize] > born.swallows[way as usize] {
            if n == 0 {
                // The end does not get through either.
                pending::<()>().await;
            }
            continue;
        }
        if n == 0 {
            return to.shutdown().await;
        }
        if let Some(jitter) = now.jitter {
            let most = jitter.as_micros() as u64 + 1;
            let time = dice.lock().expect("nobody panics with it").below(most);
            sleep(Duration::from_micros(time)).await;
        }
        to.write_all(&buffer[..n]).await?;
    }
}
