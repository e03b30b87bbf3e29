//! Ends with a deadline for which the line is too slow: the result says that bytes may be lost.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::gone::Memory;
use super::{
    BYTES, LONG, Line, MBIT, Sender, Told, all_pass, check_all_arrived, check_promise, end_within,
    receive, slow,
};
use crate::support::{Over, TestResult, checked, noise};

/// Much less than the line takes.
const SHORT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Case {
    sender: Sender,
    over: Over,
    /// The connection is dropped before, and not in use any more.
    dropped: bool,
    deadline: Duration,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for sender in Sender::BOTH {
            for over in Over::BOTH {
                for dropped in [false, true] {
                    for deadline in [SHORT, LONG] {
                        cases.push(Case { sender, over, dropped, deadline });
                    }
                }
            }
        }
        cases
    }

    async fn run(self) -> TestResult {
        let sent = noise(BYTES, 8);
        let mut line = Line::new(self.over, slow(MBIT), |client| client, |server| server).await?;
        let (client, server) = line.open().await?;
        let (mut near, far) = self.sender.ends(client, server);
        let receiving = tokio::spawn(async move {
            let got = receive(&far, oneshot::channel().0).await;
            let _ = far.close().await;
            got
        });
        let mut told = Told::default();
        near.write_all(&sent).await?;
        near.shutdown().await?;
        let kept = (!self.dropped).then_some(near);
        let Line { client, listener, network, .. } = line;
        end_within(self.sender, client, listener, self.deadline, &mut told).await;
        let got = receiving.await?;
        if self.deadline == LONG {
            check_all_arrived(&sent, &got, &told)?;
        } else {
            check_promise(&sent, &got, &told)?;
            // Otherwise the wait has gone on past the deadline.
            ensure!(got.end.is_err(), "everything has arrived; the sender was told {told:?}");
        }
        drop((kept, network));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_the_line_is_too_slow_for_says_that_bytes_may_be_lost() -> TestResult {
    let running =
        Case::all().into_iter().map(|case| (format!("{case:?}"), tokio::spawn(case.run())));
    checked(150, all_pass(running.collect())).await
}

#[tokio::test(start_paused = true)]
async fn at_whatever_moment_a_deadline_comes_the_result_tells_of_a_loss() -> TestResult {
    const SMALL: usize = 20_000;
    let sent = noise(SMALL, 9);
    for sender in Sender::BOTH {
        for dropped in [false, true] {
            let (mut good, mut bad) = (0, 0);
            // The bytes take two seconds, and their acknowledgement arrives a little later each
            // time.
            for deadline in (0..4_500).step_by(37).map(Duration::from_millis) {
                let mut memory = Memory::new(slow(SMALL as u32 / 2)).await?;
                let (client, server) = memory.open().await?;
                let (mut near, far) = sender.ends(client, server);
                let receiving = async {
                    let got = receive(&far, oneshot::channel().0).await;
                    let _ = far.close().await;
                    got
                };
                let Memory { client, listener, network } = memory;
                let sending = async {
                    let mut told = Told::default();
                    near.write_all(&sent).await?;
                    let kept = (!dropped).then_some(near);
                    end_within(sender, client, listener, deadline, &mut told).await;
                    drop(kept);
                    TestResult::Ok(told)
                };
                let (got, told) = tokio::join!(receiving, sending);
                let told = told?;
                check_promise(&sent, &got, &told)?;
                *(if told.is_good() { &mut good } else { &mut bad }) += 1;
                drop(network);
            }
            ensure!(bad > 20, "{sender:?}, dropped: {dropped}: {bad} of {} are bad", good + bad);
            // A connection that is in use has not ended.
            ensure!((good > 5) == dropped, "{sender:?}, dropped: {dropped}: {good} are good");
        }
    }
    Ok(())
}
