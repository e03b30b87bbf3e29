//! `h2conn connect`.

use h2conn::http::Method;
use h2conn::{Client, Conn};

use crate::args::Connect;
use crate::dial;
use crate::exit::{Failure, Result};
use crate::report::Report;
use crate::signals::Interrupt;
use crate::stdio::{Input, Output};
use crate::talk::talk;

/// Standard input and output over one connection.
pub(crate) async fn run(args: Connect, verbose: bool) -> Result {
    let report = Report { verbose, stats: args.stream.stats };
    let interrupt = Interrupt::watch();
    let client = dial::builder(&args.connection, Method::POST)?
        .idle_timeout(args.stream.idle_timeout)
        .build()?;
    let (mut input, mut output) = (Input::stdin(), Output::stdout());
    let conn = tokio::select! {
        conn = client.open(&args.url) => conn?,
        () = interrupt.asked() => return Ok(()),
    };
    report.request(&conn);
    let talking = talk(&conn, &mut input, &mut output, args.stream.linger, &interrupt);
    let (result, ()) = tokio::join!(talking, show_response(&conn, report));
    report.stats(&conn);
    let end = result?;
    report.note(format_args!("closed: {}", end.reason()));
    close(client, output).await
}

/// Shows the response head when it has come. The error of one that does not come is talked of
/// elsewhere.
async fn show_response(conn: &Conn, report: Report) {
    tokio::select! {
        Ok(response) = conn.response() => report.response(&response),
        _ = conn.closed() => {}
    }
}

async fn close(client: Client, mut output: Output) -> Result {
    let written = output.finish().await;
    client.close().await;
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::local("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}
