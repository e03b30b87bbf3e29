//! `h2conn`: a netcat that speaks HTTP/2.

mod args;
mod bind;
mod commands;
mod descriptors;
mod dial;
mod doctor;
mod ending;
mod exit;
mod group;
mod identity;
mod places;
mod private;
mod pump;
mod report;
mod signals;
mod stdio;
mod talk;
mod transfer;
mod tunnel;
mod waiting;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How long the end of the program waits for a reader of standard error that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes all queued messages when it is dropped, even if the main thread panics.
struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        report::flush(PATIENCE);
    }
}

fn main() -> ExitCode {
    let _flush = FlushOnDrop;
    report::catch_panics();
    match args::Args::try_parse() {
        Ok(args) => exit::code_of(commands::run(args)),
        Err(answer) => {
            let words: Vec<_> = env::args_os().map(|word| word.to_string_lossy().into()).collect();
            exit::usage(&args::explained(answer, &words))
        }
    }
}
