//! `h2conn send`.

use super::forward::{Attempts, authorized};
use crate::args::Send;
use crate::dial::Caller;
use crate::ending::PARTING;
use crate::exit::{Failure, Result};
use crate::report::Report;
use crate::signals::Interrupt;
use crate::transfer::send::Origin;

/// Sends a file. Ctrl-C leaves what has come at the server, for the next time.
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
    let mut attempts = Attempts::new(args.reconnect);
    let sending = async {
        while let Err(error) = origin.submit(&caller, &url).await {
            attempts.failed(error.into()).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = sending => result,
        () = interrupt.asked() => Err(interrupted()),
    };
    // Whether the file was stored, the server's answer has said.
    let _ = caller.close_within(PARTING).await;
    result
}

/// The file is not whole, and so this is no clean end.
pub(super) fn interrupted() -> Failure {
    Failure::interrupted().context("the file is not whole; the same command goes on from here")
}
