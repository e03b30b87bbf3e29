//! The measurements and their order: each round runs every transport once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use tokio::process::Command;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::measure::{Measured, Setup};
use crate::workload::Workload;
use crate::{Name, go, report};

#[derive(Args)]
pub(crate) struct Plan {
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// Only these workloads; may be repeated.
    #[arg(long = "workload")]
    workloads: Vec<Workload>,
    /// Only these transports, in addition to TCP; may be repeated.
    #[arg(long = "peer")]
    peers: Vec<Name>,
    /// Only these placements of the ends; may be repeated.
    #[arg(long = "setup")]
    setups: Vec<Setup>,
    /// Only without TLS.
    #[arg(long, conflicts_with = "tls")]
    cleartext: bool,
    /// Only with TLS.
    #[arg(long)]
    tls: bool,
    /// The round trip of a line between the ends, in milliseconds.
    #[arg(long, default_value_t = 0)]
    round_trip: u64,
    /// The rate of that line in each direction, in Mbit/s.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// The folder for plots in SVG.
    #[arg(long)]
    plots: Option<PathBuf>,
}

/// A case, in which all transports are compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) setup: Setup,
    pub(crate) tls: bool,
}

/// The results of each transport, by round.
pub(crate) type Results = BTreeMap<Name, Vec<Measured>>;

/// Placements other than one runtime change little. These workloads show the difference.
const EVERYWHERE: [Workload; 4] =
    [Workload::Bulk, Workload::BothWays, Workload::Messages64, Workload::PingPong64];

/// A measurement that takes this much longer than planned is stuck.
const LIMIT: Duration = Duration::from_secs(30);

impl Plan {
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &setup in Setup::value_variants() {
            for &workload in Workload::value_variants() {
                for tls in [false, true] {
                    let asked = match self.setups.is_empty() {
                        true => setup == Setup::Runtime || EVERYWHERE.contains(&workload),
                        false => self.setups.contains(&setup),
                    };
                    let asked = asked
                        && (self.workloads.is_empty() || self.workloads.contains(&workload))
                        && !(self.cleartext && tls || self.tls && !tls);
                    if asked {
                        cases.push(Case { workload, setup, tls });
                    }
                }
            }
        }
        cases
    }

    fn peers(&self, case: Case) -> Vec<Name> {
        let mut peers = Name::value_variants().to_vec();
        peers.retain(|peer| {
            let asked = *peer == Name::Tcp || self.peers.is_empty() || self.peers.contains(peer);
            asked && go::is_comparable(*peer, case)
        });
        peers
    }

    fn measure(&self, peer: Name, case: Case) -> Result<Measured> {
        let arg = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["measure", &peer.arg()]);
        command.args(["--workload", &arg(case.workload.to_possible_value())]);
        command.args(["--setup", &arg(case.setup.to_possible_value())]);
        command.args(["--millis", &self.millis.to_string()]);
        command.args(["--round-trip", &self.round_trip.to_string()]);
        command.args(["--rate", &self.rate.to_string()]);
        command.args(case.tls.then_some("--tls")).env("RUST_BACKTRACE", "0");
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let limit = LIMIT + 20 * Duration::from_millis(self.millis);
        let output =
            runtime.block_on(async { timeout(limit, command.kill_on_drop(true).output()).await });
        let output = output.with_context(|| format!("{command:?} was not done in {limit:?}"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} said no JSON"))
    }
}

pub(crate) fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.rounds > 0, "one round at least");
    if !go::is_there() {
        println!("SKIPPED: Go's transports, for want of Go\n");
    }
    report::machine()?;
    for case in plan.cases() {
        let mut results = Results::new();
        let mut failures = BTreeMap::new();
        for _ in 0..plan.rounds {
            for peer in plan.peers(case) {
                match plan.measure(peer, case) {
                    Ok(measured) => results.entry(peer).or_default().push(measured),
                    Err(error) => {
                        ensure!(peer.may_give_up(), error);
                        failures.entry(peer).or_insert_with(|| format!("{error:#}"));
                    }
                }
            }
        }
        report::table(case, &results, &failures);
        if let Some(folder) = &plan.plots {
            report::plot(case, &results, folder)?;
        }
    }
    println!("{} measurements passed, 0 failed", plan.cases().len());
    Ok(())
}
