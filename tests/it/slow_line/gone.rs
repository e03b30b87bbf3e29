//! Peers that vanish, or are killed, while bytes are on their way to them.

use std::io;
use std::time::Duration;

use anyhow::{Context, ensure};
use h2conn::testing::{self, Flow, Network};
use h2conn::{Client, ClientBuilder, Conn, Listener, ListenerBuilder};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{
    BYTES, LONG, Line, Sender, TAKEN, Told, all_pass, check_promise, end_within, receive, slow,
    slow_line,
};
use crate::support::{Over, TestResult, accept, checked, long, noise};

/// No test here takes this many seconds of the paused clock.
const DAY: u64 = 24 * 60 * 60;

/// The bytes that are sent in memory. At [`RATE`] they take ten seconds.
const SMALL: usize = 100_000;
const RATE: u32 = SMALL as u32 / 10;

/// Both ends of a link in memory, with a slow line between them.
pub(super) struct Memory {
    pub(super) client: Client,
    pub(super) listener: Listener,
    pub(super) network: Network,
}

impl Memory {
    pub(super) async fn new(network: Network) -> TestResult<Memory> {
        Memory::with(network, |client, listener| (client, listener)).await
    }

    async fn with(
        network: Network,
        set_up: impl FnOnce(ClientBuilder, ListenerBuilder) -> (ClientBuilder, ListenerBuilder),
    ) -> TestResult<Memory> {
        let ((client_io, near), (far, server_io)) = (duplex(TAKEN), duplex(TAKEN));
        network.join(near, far);
        let (client, listener) = set_up(Client::builder(), Listener::builder());
        let listener = listener.build_over(server_io)?;
        let client = client.build_over(client_io).await?;
        Ok(Memory { client, listener, network })
    }

    pub(super) async fn open(&mut self) -> TestResult<(Conn, Conn)> {
        let opened = async { TestResult::Ok(self.client.connect("http://memory/").await?.0) };
        // If the client fails, the server has nothing to accept.
        tokio::try_join!(opened, accept(&mut self.listener))
    }
}

/// The call that waits for a peer that has vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Write,
    Close,
    /// `Client::close` or `Listener::drain`, with the connection dropped before.
    End,
    /// The same, with the connection shut down and kept.
    EndInUse,
}

impl Waiting {
    const ALL: [Waiting; 4] = [Waiting::Write, Waiting::Close, Waiting::End, Waiting::EndInUse];
}

async fn vanished(sender: Sender, waiting: Waiting, flow: Flow, end_of: Duration) -> TestResult {
    let sent = noise(SMALL, 10);
    let mut memory = Memory::new(slow(RATE)).await?;
    let (client, server) = memory.open().await?;
    let (mut near, far) = sender.ends(client, server);
    let (begun, under_way) = oneshot::channel();
    let receiving = async {
        let got = receive(&far, begun).await;
        let _ = far.close().await;
        got
    };
    let Memory { client, listener, network } = memory;
    let sending = async {
        let mut told = Told::default();
        near.write_all(&sent).await?;
        under_way.await?;
        network.set(flow);
        let since = Instant::now();
        match waiting {
            Waiting::Write => {
                let error = loop {
                    if let Err(error) = near.write_all(&sent).await {
                        break error;
                    }
                };
                ensure!(error.kind() == io::ErrorKind::TimedOut, "{error:?}");
                told.note("write_all", Err(error));
            }
            Waiting::Close => {
                let error = near.close().await.err().context("the peer is gone")?;
                ensure!(error.kind() == h2conn::ErrorKind::TimedOut, "{error:?}");
                told.note("close", Err(error));
            }
            Waiting::End => {
                drop(near);
                end_within(sender, client, listener, end_of, &mut told).await;
                return Ok((told, since.elapsed()));
            }
            Waiting::EndInUse => {
                near.shutdown().await?;
                end_within(sender, client, listener, end_of, &mut told).await;
                return Ok((told, since.elapsed()));
            }
        }
        TestResult::Ok((told, since.elapsed()))
    };
    let (got, sending) = tokio::join!(receiving, sending);
    let (told, waited) = sending?;
    check_promise(&sent, &got, &told)?;
    ensure!(got.end.is_err(), "nothing has come since");
    // A link whose time limit has passed has two seconds for its goodbye.
    let most = Duration::from_millis(100)
        + if end_of == LONG { Duration::from_secs(45) } else { end_of + Duration::from_secs(2) };
    ensure!(waited <= most, "after {waited:?}: {told:?}");
    if end_of == LONG && sender == Sender::Client {
        ensure!(told.says("TimedOut"), "{told:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn whatever_waits_for_a_peer_that_has_vanished_says_so_within_45_seconds() -> TestResult {
    checked(DAY, async {
        for sender in Sender::BOTH {
            for waiting in Waiting::ALL {
                for flow in [Flow::Stopped, Flow::Swallowed] {
                    for end_of in [LONG, Duration::from_secs(10)] {
                        if end_of == LONG || [Waiting::End, Waiting::EndInUse].contains(&waiting) {
                            let case = vanished(sender, waiting, flow, end_of).await;
                            case.with_context(|| {
                                format!("{sender:?} {waiting:?} {flow:?} {end_of:?}")
                            })?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
    .await
}

/// The ways in which a sender ends that must learn the fate of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Close,
    /// The connection is dropped; then `Client::close` or `Listener::drain`.
    Drop,
}

impl Way {
    const ALL: [Way; 2] = [Way::Close, Way::Drop];

    async fn send(
        self,
        sender: Sender,
        mut near: Conn,
        (client, listener): (Client, Listener),
        sent: &[u8],
    ) -> Told {
        let mut told = Told::default();
        if !told.note("write_all", near.write_all(sent).await) {
            return told;
        }
        match self {
            Way::Close => {
                told.note("close", near.close().await);
            }
            Way::Drop => {
                drop(near);
                end_within(sender, client, listener, LONG, &mut told).await;
            }
        }
        told
    }
}

/// Runs one transfer in memory, through a network with a fault.
async fn through(network: Network, sender: Sender, way: Way, sent: &[u8]) -> TestResult<bool> {
    let Ok(mut memory) = Memory::new(network).await else { return Ok(false) };
    // The server's end may exist when the client's does not.
    let Ok((client, server)) = memory.open().await else { return Ok(false) };
    let (near, far) = sender.ends(client, server);
    let Memory { client, listener, network } = memory;
    let receiving = async {
        let got = receive(&far, oneshot::channel().0).await;
        let _ = far.close().await;
        got
    };
    let (got, told) = tokio::join!(receiving, way.send(sender, near, (client, listener), sent));
    drop(network);
    check_promise(sent, &got, &told)?;
    Ok(told.is_good())
}

/// Applies the fault after each number of bytes, in one direction and then in the other.
async fn at_every_byte(flow: Flow) -> TestResult {
    const FEW: usize = 5_000;
    let sent = noise(FEW, 11);
    let (mut good, mut bad) = (0, 0);
    for sender in Sender::BOTH {
        for way in Way::ALL {
            for back in [false, true] {
                let coarse = (0..FEW as u64).step_by(509).filter(|_| !back);
                let fine = if back { 0..500 } else { FEW as u64..FEW as u64 + 500 };
                for most in coarse.chain(fine.step_by(if long() { 1 } else { 5 })) {
                    let network = Network::new();
                    let line = testing::Line::new().after(most, flow);
                    match (sender == Sender::Client) != back {
                        true => network.set_up(line),
                        false => network.set_down(line),
                    }
                    let is_good = through(network, sender, way, &sent)
                        .await
                        .with_context(|| format!("{sender:?} {way:?} back: {back} {most}"))?;
                    *(if is_good { &mut good } else { &mut bad }) += 1;
                }
            }
        }
    }
    // Both outcomes must occur, or this has tested nothing.
    ensure!(good > 20 && bad > 20, "{good} were told that all is well, {bad} that it is not");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn wherever_the_line_is_cut_no_sender_takes_a_loss_for_success() -> TestResult {
    checked(DAY, at_every_byte(Flow::Cut)).await
}

#[tokio::test(start_paused = true)]
async fn wherever_one_direction_falls_silent_no_sender_takes_a_loss_for_success() -> TestResult {
    checked(DAY, at_every_byte(Flow::Stopped)).await
}

#[tokio::test(start_paused = true)]
async fn wherever_one_direction_begins_to_swallow_no_sender_takes_a_loss_for_success() -> TestResult
{
    checked(DAY, at_every_byte(Flow::Swallowed)).await
}

/// Over TCP, where the bytes in the kernels' buffers are lost as well.
async fn killed(sender: Sender, way: Way, over: Over, flow: Flow, most: u64) -> TestResult {
    let sent = noise(BYTES, 12);
    let network = slow(4 * BYTES as u32);
    let line = slow_line(4 * BYTES as u32).after(most, flow);
    match sender {
        Sender::Client => network.set_up(line),
        Sender::Server => network.set_down(line),
    }
    let mut line = Line::new(over, network, |client| client, |server| server).await?;
    let (client, server) = line.open().await?;
    let (near, far) = sender.ends(client, server);
    let receiving = tokio::spawn(async move {
        let got = receive(&far, oneshot::channel().0).await;
        let _ = far.close().await;
        got
    });
    let Line { client, listener, network, .. } = line;
    let told = way.send(sender, near, (client, listener), &sent).await;
    let got = receiving.await?;
    drop(network);
    check_promise(&sent, &got, &told)?;
    ensure!(most > BYTES as u64 || !told.is_good(), "the last bytes cannot have arrived");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_killed_on_the_way_is_no_success() -> TestResult {
    let bytes = BYTES as u64;
    let mut running = Vec::new();
    for sender in Sender::BOTH {
        for way in Way::ALL {
            for over in Over::BOTH {
                for flow in [Flow::Cut, Flow::Reset] {
                    for most in [bytes / 10, bytes / 2, bytes, bytes + 400, bytes + 2_000] {
                        let case = format!("{sender:?} {way:?} {over:?} {flow:?} {most}");
                        running.push((case, tokio::spawn(killed(sender, way, over, flow, most))));
                    }
                }
            }
        }
    }
    checked(150, all_pass(running)).await
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_living_peer_never_takes_are_told_to_be_lost() -> TestResult {
    checked(DAY, async {
        // More than the peer's window, and than this side accepts beyond it.
        let sent = noise(3 << 20, 14);
        for sender in Sender::BOTH {
            for stall in [None, Some(Duration::from_secs(20))] {
                let network = Network::new();
                let memory = Memory::with(network, |client, server| {
                    (client.stall_timeout(stall), server.stall_timeout(stall))
                });
                let mut memory = memory.await?;
                let (client, server) = memory.open().await?;
                let (mut near, far) = sender.ends(client, server);
                let second = Duration::from_secs(1);
                let blocked = timeout(second, near.write_all(&sent)).await;
                ensure!(blocked.is_err(), "the peer reads nothing");
                drop(near);
                let Memory { client, listener, network } = memory;
                let mut told = Told::default();
                end_within(sender, client, listener, LONG, &mut told).await;
                let got = receive(&far, oneshot::channel().0).await;
                ensure!(got.end.is_err(), "not all was accepted");
                check_promise(&sent, &got, &told)?;
                drop(network);
            }
        }
        Ok(())
    })
    .await
}
