//! `h2conn recv`.

use super::forward::{Attempts, authorized};
use super::send::interrupted;
use crate::args::Recv;
use crate::dial::Caller;
use crate::ending::PARTING;
use crate::exit::{Failure, Result};
use crate::report::Report;
use crate::signals::Interrupt;
use crate::transfer::RECV;
use crate::transfer::patience::Patience;
use crate::transfer::place::{self, keeps};
use crate::transfer::receive::{Destination, Spent};

/// Receives a file. Ctrl-C keeps the bytes that have arrived, for the next attempt.
pub(crate) async fn run(args: Recv, verbose: u8) -> Result {
    let report = Report { verbose, stats: None };
    let interrupt = Interrupt::watch();
    let path = place::path(args.file, &args.url).map_err(Failure::by_usage)?;
    let (builder, secrets) = authorized(&args.url, &args.connection, &args.secret, report)?;
    let patience = Patience::new(args.idle_timeout);
    let mut attempts = Attempts::new(args.reconnect);
    let receiving = async {
        loop {
            let destination = Destination::open(path.clone(), args.force).await;
            let destination = destination.map_err(Failure::by_usage)?;
            let client = builder.clone().header(RECV, destination.field()).build()?;
            let caller = Caller::new(client, report, secrets.clone());
            let result = destination.fetch(&caller, &args.url, patience).await;
            // The digest has already shown whether the file is whole.
            let _ = caller.close_within(PARTING).await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.is::<Spent>() => return Err(error.into()),
                Err(error) => attempts.failed(error.into()).await?,
            }
        }
    };
    tokio::select! {
        result = receiving => result,
        () = interrupt.asked() => Err(match keeps(&path) {
            true => interrupted(),
            false => Failure::interrupted().context("not all of the file has come"),
        }),
    }
}
