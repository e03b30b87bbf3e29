//! `h2conn listen`.

use std::time::Duration;

use h2conn::http::StatusCode;
use h2conn::{Conn, Incoming, Listener, OnDrop};
use tokio::task::JoinSet;

use crate::args::Listen;
use crate::bind;
use crate::exit::{Failure, Result};
use crate::report::{Report, say};
use crate::signals::Interrupt;

/// How long connections that are open when the listener ends may take for their end.
const DRAIN: Duration = Duration::from_secs(5);

/// Accepts connections, and serves them.
pub(crate) async fn run(args: Listen, verbose: bool) -> Result {
    let report = Report { verbose, stats: args.stream.stats };
    let interrupt = Interrupt::watch();
    let builder = Listener::builder().on_drop(OnDrop::Reset).idle_timeout(args.stream.idle_timeout);
    let mut listener = bind::listen(builder, &args.listening).await?;
    let most = if args.keep_open { args.max_conns } else { 1 };
    let mut guests = JoinSet::new();
    let result = loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) if guests.len() < most => {
                    guests.spawn(serve(incoming, report));
                }
                Some(incoming) => incoming.reject(StatusCode::SERVICE_UNAVAILABLE),
                None => break Ok(()),
            },
            Some(served) = guests.join_next() => {
                let served = served.unwrap_or_else(|error| Err(Failure::local("a task failed", error.into())));
                match served {
                    result if !args.keep_open => break result,
                    Err(failure) => say(format_args!("h2conn: {failure}")),
                    Ok(()) => {}
                }
            },
            () = interrupt.asked() => break Ok(()),
        }
    };
    listener.drain(DRAIN).await;
    result
}

async fn serve(incoming: Incoming, report: Report) -> Result {
    let conn = incoming.accept()?;
    report.request(&conn);
    let served = echo(&conn).await;
    report.stats(&conn);
    served
}

async fn echo(conn: &Conn) -> Result {
    while let Some(chunk) = conn.read_chunk().await? {
        conn.write_chunk(chunk).await?;
    }
    Ok(conn.close().await?)
}
