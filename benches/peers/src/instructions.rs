//! Counts the instructions for one unit of each workload. Other programs on the machine do not
//! disturb this.
//!
//! Two runs are compared, of which the second has three times as many units. The difference is the
//! cost of twice the units.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::Name;
use crate::workload::Workload;

#[derive(Args)]
pub(crate) struct Plan {
    /// Only these workloads; may be repeated.
    #[arg(long = "workload")]
    workloads: Vec<Workload>,
    /// Only these transports; may be repeated.
    #[arg(long = "peer")]
    peers: Vec<Name>,
    #[arg(long)]
    tls: bool,
    /// The folder for the output of callgrind, for use with `callgrind_annotate`.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Enough units to make rare events, such as timers, a small part.
fn count(workload: Workload) -> Option<u64> {
    match workload {
        Workload::Bulk | Workload::BothWays => Some(400),
        Workload::Messages64 | Workload::Messages1k => Some(20_000),
        Workload::PingPong64 | Workload::PingPong16k => Some(1_000),
        Workload::Opening => Some(200),
        Workload::Hundred | Workload::Beside | Workload::Thousand => None,
    }
}

impl Plan {
    fn instructions(&self, peer: Name, workload: Workload, count: u64) -> Result<f64> {
        let name = workload.to_possible_value().context("each workload has a name")?;
        let out = match &self.keep {
            Some(folder) => folder.join(format!("{}-{}.{count}", peer.arg(), name.get_name())),
            None => "/dev/null".into(),
        };
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(std::env::current_exe()?).args(["measure", &peer.arg()]);
        command.args(["--workload", name.get_name(), "--setup", "runtime"]);
        command.args(["--count", &count.to_string()]).args(self.tls.then_some("--tls"));
        let output = command.output().context("cannot run valgrind; is it installed?")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
        let collected = said.lines().find_map(|line| line.split_once("Collected : "));
        let (_, collected) = collected.with_context(|| format!("callgrind said {said}"))?;
        Ok(collected.trim().parse()?)
    }

    fn for_a_unit(&self, peer: Name, workload: Workload, count: u64) -> Result<f64> {
        let few = self.instructions(peer, workload, count)?;
        let many = self.instructions(peer, workload, 3 * count)?;
        Ok((many - few) / workload.units(2 * count))
    }
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let workloads = Workload::value_variants().iter();
    let workloads = workloads.filter(|w| plan.workloads.is_empty() || plan.workloads.contains(w));
    let rust = |peer: &&Name| !matches!(peer, Name::GoHttp | Name::GoWebsocket);
    let peers = Name::value_variants().iter().filter(rust);
    let peers = peers.filter(|peer| plan.peers.is_empty() || plan.peers.contains(peer));
    let peers: Vec<_> = peers.copied().collect();
    println!(
        "| instructions a unit | {} |",
        peers.iter().map(|p| p.title(plan.tls)).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|{}", "---|".repeat(peers.len()));
    for &workload in workloads {
        let Some(count) = count(workload) else { continue };
        print!("| {} |", workload.unit());
        for &peer in &peers {
            match plan.for_a_unit(peer, workload, count) {
                Ok(instructions) => print!(" {instructions:.0} |"),
                Err(error) => {
                    ensure!(peer.may_give_up(), error);
                    print!(" gave up |");
                }
            }
        }
        println!();
    }
    Ok(())
}
