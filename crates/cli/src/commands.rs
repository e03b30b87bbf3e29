//! The subcommands, one per file.

mod connect;
mod doctor;
mod forward;
mod listen;
mod manual;
mod ping;
mod recv;
mod send;
mod serve;

use crate::args::{Args, Command};
use crate::descriptors;
use crate::exit::{Failure, Result};
use crate::report::install_log;

/// Runs a command to its end.
pub(crate) fn run(args: Args) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local("cannot start", error))?;
    let verbose = args.verbose;
    install_log(verbose);
    if matches!(args.command, Command::Listen(_) | Command::Forward(_) | Command::Serve(_)) {
        descriptors::raise();
    }
    let result = runtime.block_on(async {
        match args.command {
            Command::Connect(args) => connect::run(args, verbose).await,
            Command::Listen(args) => listen::run(args, verbose).await,
            Command::Ping(args) => ping::run(args, verbose).await,
            Command::Doctor(args) => doctor::run(args, verbose).await,
            Command::Forward(args) => forward::run(args, verbose).await,
            Command::Serve(args) => serve::run(args, verbose).await,
            Command::Send(args) => send::run(args, verbose).await,
            Command::Recv(args) => recv::run(args, verbose).await,
            Command::Completions(args) => manual::completions(&args),
            Command::Man(args) => manual::man(&args),
        }
    });
    // The command has waited for everything that matters. Do not wait for a thread that still
    // reads.
    runtime.shutdown_background();
    result
}
