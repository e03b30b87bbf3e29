//! The same tests on TCP itself, without a relay between the ends. They run in a network namespace
//! whose loopback has a limited rate: the two kernels hold the bytes, and lose them if a socket is
//! closed too early.

use anyhow::{Context, ensure};
use h2conn::Listener;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::oneshot;

use super::{BYTES, LONG, Sender, Told, all_pass, check_all_arrived, end_within, receive};
use crate::support::process::{self, output, said};
use crate::support::tools::aloud;
use crate::support::{Over, TestResult, accept, checked, listen_with, noise, skipped, within};

/// The test that such a process runs.
const PART: &str = "slow_line::kernel::the_process_in_a_slow_network";

/// 1 Mbit/s, with a buffer of half a second.
const SLOW: &str = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo mtu 1500 up && \
                    tc qdisc add dev lo root tbf rate 1mbit burst 16kb latency 500ms";

#[derive(Clone, Copy, Debug)]
struct Case {
    sender: Sender,
    /// The connection is closed. Otherwise it is dropped, and then the client is closed or the
    /// listener drained.
    by_close: bool,
    over: Over,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for sender in Sender::BOTH {
            for by_close in [false, true] {
                for over in Over::BOTH {
                    cases.push(Case { sender, by_close, over });
                }
            }
        }
        cases
    }

    async fn run(self) -> TestResult {
        let sent = noise(BYTES, 13);
        let (mut listener, site) = listen_with(self.over, Listener::builder()).await?;
        let client = site.client_builder().build()?;
        let opened = async { TestResult::Ok(client.connect(site.url("/")).await?.0) };
        let (ours, theirs) = tokio::try_join!(opened, accept(&mut listener))?;
        let (mut near, far) = self.sender.ends(ours, theirs);
        // The stream is complete with the sender's end, so only the bytes themselves keep the link
        // open.
        (&far).shutdown().await?;
        let receiving = tokio::spawn(async move {
            let got = receive(&far, oneshot::channel().0).await;
            let _ = far.close().await;
            got
        });
        let mut told = Told::default();
        told.note("write_all", near.write_all(&sent).await);
        if self.by_close {
            told.note("close", near.close().await);
            drop((near, client, listener));
        } else {
            drop(near);
            end_within(self.sender, client, listener, LONG, &mut told).await;
        }
        check_all_arrived(&sent, &receiving.await?, &told)
    }
}

/// Not a real test, but the process of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_in_a_slow_network() -> TestResult {
    let Some(role) = process::role() else { return Ok(()) };
    let case = Case::all().into_iter().find(|case| format!("{case:?}") == role);
    let case = case.context("a part that is one")?;
    process::tell(checked(100, case.run()).await)?;
    println!("\n@done well");
    Ok(())
}

/// A command that runs the command behind it in a network namespace, if this machine allows that.
async fn in_a_network() -> Option<Command> {
    // Users other than root may need a user namespace, in which they are root.
    for args in [&["--net"][..], &["--map-root-user", "--net"]] {
        let mut unshare = Command::new("unshare");
        unshare.args(args);
        let tried = Command::new("unshare").args(args).arg("true").output().await;
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(unshare);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernels_of_both_ends_lose_nothing_on_a_slow_network() -> TestResult {
    let Some(mut slow) = in_a_network().await else {
        aloud("no TCP on a slow network: this machine gives no network namespace");
        return Ok(());
    };
    let iproute2 = "PATH=$PATH:/usr/sbin:/sbin; command -v ip && command -v tc";
    if !Command::new("sh").args(["-c", iproute2]).output().await?.status.success() {
        skipped("no TCP on a slow network: there is no `ip` or no `tc`, of iproute2");
        return Ok(());
    }
    let output_of_setup = slow.args(["sh", "-c", SLOW]).output().await?;
    if !output_of_setup.status.success() {
        let why = String::from_utf8_lossy(&output_of_setup.stderr);
        aloud(format_args!("no TCP on a slow network: {}", why.trim()));
        return Ok(());
    }
    let mut running = Vec::new();
    for case in Case::all() {
        let name = format!("{case:?}");
        let mut slow = in_a_network().await.context("it was there before")?;
        slow.args(["sh", "-c", &format!("{SLOW} && exec \"$0\" \"$@\"")]);
        let mut process = process::spawn_by(slow, PART, &name)?;
        let running_case = async move {
            let mut output = output(&mut process)?;
            let done = said(&mut output, "done").await?;
            ensure!(done == "well" && process.wait().await?.success());
            Ok(())
        };
        running.push((name, tokio::spawn(running_case)));
    }
    within(150, all_pass(running)).await
}
