//! h2conn compared with its alternatives: the same workloads over each transport, in turns, each
//! measurement in a process of its own. `docs/performance.md` shows the results.

mod go;
mod instructions;
mod measure;
mod peers;
mod pipe;
mod relay;
mod report;
mod requests;
mod run;
mod secure;
mod service;
mod workload;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use measure::{Measured, Terms};

#[derive(Parser)]
#[command(about = "Measures h2conn beside its alternatives")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and print tables in Markdown.
    Run(run::Plan),
    /// Measure requests of h2load to h2conn's server and to hyper, and print a table in Markdown.
    Requests(requests::Plan),
    /// Count the instructions for a unit of each workload (needs valgrind).
    Instructions(instructions::Plan),
    /// Perform one measurement, and print it as JSON.
    Measure {
        peer: Name,
        #[command(flatten)]
        terms: Terms,
    },
    /// Run the server of a measurement.
    #[command(hide = true)]
    Serve {
        peer: Name,
        #[arg(long)]
        tls: bool,
    },
    /// Run the server of `requests`.
    #[command(hide = true)]
    Router {
        by: requests::By,
        #[arg(long)]
        tls: bool,
    },
}

/// The transports.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
enum Name {
    Tcp,
    H2conn,
    /// The same, with `write_chunk` and `read_chunk`.
    Chunks,
    /// Our client, and `accept` in a handler of hyper.
    Accept,
    /// Our client, and `accept` in a service that our listener serves.
    Served,
    /// The handles of the h2 crate, used by the user's task.
    H2,
    /// hyper's `Upgraded`.
    Hyper,
    /// hyper with streaming bodies.
    HyperStreaming,
    Tungstenite,
    Fastwebsockets,
    Tonic,
    Yamux,
    /// Go's net/http, used as in the Go library of the same name.
    GoHttp,
    /// Go's coder/websocket.
    GoWebsocket,
}

impl Name {
    fn title(self, tls: bool) -> &'static str {
        match self {
            Name::Tcp if tls => "TCP with rustls",
            Name::Tcp => "TCP",
            Name::H2conn => "**h2conn**",
            Name::Chunks => "**h2conn**, in chunks",
            Name::Accept => "**h2conn**, `accept` under hyper",
            Name::Served => "**h2conn**, `accept` under `serve`",
            Name::H2 => "h2, by hand",
            Name::Hyper => "hyper, `Upgraded`",
            Name::HyperStreaming => "hyper, streaming bodies",
            Name::Tungstenite => "tokio-tungstenite",
            Name::Fastwebsockets => "fastwebsockets",
            Name::Tonic => "tonic",
            Name::Yamux => "yamux",
            Name::GoHttp => "Go, net/http",
            Name::GoWebsocket => "Go, coder/websocket",
        }
    }

    /// Whether this transport may fail under a workload. Such a failure is a result, and no failure
    /// of the measurement.
    fn may_give_up(self) -> bool {
        !matches!(self, Name::Tcp | Name::H2conn | Name::Chunks | Name::Served)
    }

    /// The name on the command line.
    fn arg(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn measure(self, terms: Terms) -> Result<Measured> {
        let name = self.arg();
        match self {
            Name::Tcp => measure::measure::<peers::tcp::Tcp>(&name, terms),
            Name::H2conn => measure::measure::<peers::conn::H2conn>(&name, terms),
            Name::Chunks => measure::measure::<peers::conn::Chunks>(&name, terms),
            Name::Accept => measure::measure::<peers::accept::Accept>(&name, terms),
            Name::Served => measure::measure::<peers::served::Served>(&name, terms),
            Name::H2 => measure::measure::<peers::h2::H2>(&name, terms),
            Name::Hyper => measure::measure::<peers::hyper::Hyper>(&name, terms),
            Name::HyperStreaming => measure::measure::<peers::streaming::Streaming>(&name, terms),
            Name::Tungstenite => measure::measure::<peers::tungstenite::Tungstenite>(&name, terms),
            Name::Fastwebsockets => {
                measure::measure::<peers::fastwebsockets::Fastwebsockets>(&name, terms)
            }
            Name::Tonic => measure::measure::<peers::tonic::Tonic>(&name, terms),
            Name::Yamux => measure::measure::<peers::yamux::Yamux>(&name, terms),
            Name::GoHttp | Name::GoWebsocket => go::measure(&name, terms),
        }
    }

    fn serve(self, tls: bool) -> Result<()> {
        match self {
            Name::Tcp => measure::serve::<peers::tcp::Tcp>(tls),
            Name::H2conn => measure::serve::<peers::conn::H2conn>(tls),
            Name::Chunks => measure::serve::<peers::conn::Chunks>(tls),
            Name::Accept => measure::serve::<peers::accept::Accept>(tls),
            Name::Served => measure::serve::<peers::served::Served>(tls),
            Name::H2 => measure::serve::<peers::h2::H2>(tls),
            Name::Hyper => measure::serve::<peers::hyper::Hyper>(tls),
            Name::HyperStreaming => measure::serve::<peers::streaming::Streaming>(tls),
            Name::Tungstenite => measure::serve::<peers::tungstenite::Tungstenite>(tls),
            Name::Fastwebsockets => measure::serve::<peers::fastwebsockets::Fastwebsockets>(tls),
            Name::Tonic => measure::serve::<peers::tonic::Tonic>(tls),
            Name::Yamux => measure::serve::<peers::yamux::Yamux>(tls),
            Name::GoHttp | Name::GoWebsocket => anyhow::bail!("Go serves in its own process"),
        }
    }
}

fn main() -> Result<()> {
    match Options::parse().command {
        Command::Run(plan) => run::run(&plan),
        Command::Requests(plan) => requests::run(&plan),
        Command::Router { by, tls } => requests::serve(by, tls),
        Command::Instructions(plan) => instructions::run(&plan),
        Command::Measure { peer, terms } => {
            println!("{}", serde_json::to_string(&peer.measure(terms)?)?);
            Ok(())
        }
        Command::Serve { peer, tls } => peer.serve(tls),
    }
}
