//! Every way to end, on lines without faults.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{
    BYTES, LONG, Line, MBIT, Sender, Told, all_pass, check_all_arrived, end_within, receive, slow,
};
use crate::support::{Over, TestResult, checked, long, noise};

/// At this rate the bytes take 17 seconds.
const SLOWER: u32 = 60_000;

/// The linger timeout for a peer that ends its direction at once, or earlier. It is shorter than
/// the time that the line takes.
const LINGER: Duration = Duration::from_secs(5);

/// The delay of a late peer.
const LATE: Duration = Duration::from_secs(2);

/// The way in which the sender ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `Conn::close`; then the client or listener is dropped.
    Close,
    /// A shutdown, and then the connection is dropped. The client or listener is kept.
    Shutdown,
    /// The connection is dropped; then `Client::close`, or `Listener::drain`.
    Drop,
    /// Everything is dropped at once, at both ends: connections, clients and listeners.
    DropAll,
    /// `Listener::drain` begins while the bytes are on their way; then `Conn::close`.
    Drain,
    /// The same, but the connection is dropped.
    DrainAndDrop,
    /// The client's link reaches its maximum age while the bytes are on their way.
    ClientsAge,
    /// The same, with the server's limit of age.
    ServersAge,
    /// Neither end keeps idle links.
    Idle,
}

impl Way {
    const ALL: [Way; 9] = [
        Way::Close,
        Way::Shutdown,
        Way::Drop,
        Way::DropAll,
        Way::Drain,
        Way::DrainAndDrop,
        Way::ClientsAge,
        Way::ServersAge,
        Way::Idle,
    ];
}

/// The moment at which the receiver ends its direction, without sending any data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Before,
    AtOnce,
    Late,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    sender: Sender,
    way: Way,
    peer: Peer,
    over: Over,
    rate: u32,
}

impl Case {
    /// All cases at this rate.
    fn all(rate: u32) -> Vec<Case> {
        let mut cases = Vec::new();
        for sender in Sender::BOTH {
            for way in Way::ALL {
                for peer in [Peer::Before, Peer::AtOnce, Peer::Late] {
                    for over in Over::BOTH {
                        cases.push(Case { sender, way, peer, over, rate });
                    }
                }
            }
        }
        cases
    }

    async fn line(self) -> TestResult<Line> {
        let linger = if self.peer == Peer::Late { LONG } else { LINGER };
        let age = Duration::from_secs(1);
        let idle = Duration::from_millis(20);
        let line = Line::new(
            self.over,
            slow(self.rate),
            |client| {
                let client = client.linger_timeout(linger);
                match self.way {
                    Way::ClientsAge => client.max_link_age(age),
                    Way::Idle => client.link_idle_timeout(idle),
                    _ => client,
                }
            },
            |listener| {
                let listener = listener.linger_timeout(linger);
                match self.way {
                    Way::ServersAge => listener.max_link_age(age),
                    Way::Idle => listener.link_idle_timeout(idle),
                    _ => listener,
                }
            },
        );
        line.await
    }

    async fn run(self) -> TestResult {
        let sent = noise(BYTES, 7);
        let mut line = self.line().await?;
        let (client, server) = line.open().await?;
        let (mut near, far) = self.sender.ends(client, server);
        let (begun, under_way) = oneshot::channel();
        let peer = self.peer;
        let receiving = tokio::spawn(async move {
            let mut told = Told::default();
            if peer == Peer::Before {
                told.note("the receiver's shutdown", (&far).shutdown().await);
            }
            let got = receive(&far, begun).await;
            match peer {
                Peer::Before => {}
                Peer::AtOnce => {
                    told.note("the receiver's close", far.close().await);
                }
                Peer::Late => {
                    sleep(LATE).await;
                    told.note("the receiver's close", far.close().await);
                }
            }
            (got, told)
        });
        let Line { client, listener, network, .. } = line;
        let mut told = Told::default();
        told.note("write_all", near.write_all(&sent).await);
        let kept = match self.way {
            Way::Close => {
                told.note("close", near.close().await);
                None
            }
            Way::Shutdown | Way::ClientsAge | Way::ServersAge | Way::Idle => {
                told.note("shutdown", near.shutdown().await);
                drop(near);
                Some((client, listener))
            }
            Way::Drop => {
                drop(near);
                end_within(self.sender, client, listener, LONG, &mut told).await;
                None
            }
            Way::DropAll => {
                drop((near, client, listener));
                None
            }
            Way::Drain | Way::DrainAndDrop => {
                let drained = async {
                    // `check_promise` judges errors.
                    let _ = under_way.await;
                    listener.drain(LONG).await
                };
                let ended = async {
                    if self.way == Way::Drain {
                        return near.close().await;
                    }
                    near.draining().await;
                    drop(near);
                    Ok(())
                };
                let (drained, ended) = tokio::join!(drained, ended);
                told.note("close", ended);
                told.note_drain(drained);
                None
            }
        };
        let (got, of_receiver) = receiving.await?;
        check_all_arrived(&sent, &got, &told)?;
        ensure!(of_receiver.is_good(), "{of_receiver:?}");
        if let Some((client, listener)) = kept {
            told.note("Client::close", client.close().await);
            told.note_drain(listener.drain(LONG).await);
            check_all_arrived(&sent, &got, &told)?;
        }
        drop(network);
        Ok(())
    }
}

/// Runs cases at once, because they mostly wait.
async fn all_arrive(cases: Vec<Case>) -> TestResult {
    let running = cases.into_iter().map(|case| (format!("{case:?}"), tokio::spawn(case.run())));
    all_pass(running.collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_delivers_everything_at_1_mbit_per_second() -> TestResult {
    checked(150, all_arrive(Case::all(MBIT))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_delivers_everything_at_half_a_mbit_per_second() -> TestResult {
    let mut cases = Case::all(SLOWER);
    if !long() {
        let few = [Way::Close, Way::Drop];
        cases.retain(|case| few.contains(&case.way) && case.peer != Peer::Late);
    }
    checked(300, all_arrive(cases)).await
}
