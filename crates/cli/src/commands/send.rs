//! `h2conn send`.

use super::forward::{Attempts, authorized};
use crate::args::Send;
use crate::dial::Caller;
use crate::ending::PARTING;
use crate::exit::{Failure, Result};
use crate::report::Report;
use crate::signals::Interrupt;
use crate::transfer::patience::Patience;
use crate::transfer::send::Origin;

/// Sends a file. After Ctrl-C the server keeps the bytes that have arrived, for the next attempt.
pub(crate) async fn run(args: Send, verbose: u8) -> Result {
    let report = Report { verbose, stats: None };
    let interrupt = Interrupt::watch();
    let origin = Origin::open(args.file).map_err(Failure::by_usage)?;
    let url = origin.url(&args.url).map_err(Failure::by_usage)?;
    let (mut builder, secrets) = authorized(&url, &args.connection, &args.secret, report)?;
    for (name, value) in origin.fields() {
        builder = builder.header(name, value);
    }
    let caller = Caller::new(builder.build()?, report, secrets);
    let patience = Patience::new(args.idle_timeout);
    let mut attempts = Attempts::new(args.reconnect);
    let sending = async {
        while let Err(error) = origin.submit(&caller, &url, patience).await {
            attempts.failed(error.into()).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = sending => result,
        () = interrupt.asked() => Err(interrupted()),
    };
    // The server's answer has already told whether the file was stored.
    let _ = caller.close_within(PARTING).await;
    result
}

/// The failure after Ctrl-C. The file is not whole, so this is no clean end.
pub(super) fn interrupted() -> Failure {
    Failure::interrupted().context("the file is not whole; the same command goes on from here")
}
