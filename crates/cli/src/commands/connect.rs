//! `h2conn connect`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use h2conn::http::Method;
use h2conn::{Client, Conn};
use tokio::time::sleep;

use crate::args::Connect;
use crate::dial;
use crate::exit::{Failure, Result};
use crate::report::{Report, say};
use crate::signals::Interrupt;
use crate::stdio::{Input, Output};
use crate::talk::talk;

/// Standard input and output over one connection, or with `--reconnect` over one after the other.
pub(crate) async fn run(args: Connect, verbose: bool) -> Result {
    let report = Report { verbose, stats: args.stream.stats };
    let interrupt = Interrupt::watch();
    let client = dial::builder(&args.url, &args.connection, Method::POST, report)?
        .idle_timeout(args.stream.idle_timeout)
        .build()?;
    let (mut input, mut output) = (Input::stdin(), Output::stdout());
    let mut pauses = Pauses::default();
    let result = loop {
        let began = Instant::now();
        let failure = match once(&args, &client, &mut input, &mut output, report, &interrupt).await
        {
            Ok(()) => break Ok(()),
            Err(failure) if args.reconnect && failure.may_pass() => failure,
            Err(failure) => break Err(failure),
        };
        let pause = pauses.next(began.elapsed());
        say(format_args!("h2conn: {failure}; again in {:.1} s", pause.as_secs_f64()));
        tokio::select! {
            () = sleep(pause) => {}
            () = interrupt.asked() => break Ok(()),
        }
    };
    let written = output.finish().await;
    client.close().await;
    match written {
        Err(error) if result.is_ok() && error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local("cannot write to standard output", error))
        }
        _ => result,
    }
}

async fn once(
    args: &Connect,
    client: &Client,
    input: &mut Input,
    output: &mut Output,
    report: Report,
    interrupt: &Interrupt,
) -> Result {
    let began = Instant::now();
    let conn = tokio::select! {
        conn = client.open(&args.url) => conn?,
        () = interrupt.asked() => return Ok(()),
    };
    report.opened(&conn, began.elapsed());
    let talking = talk(&conn, input, output, args.linger, interrupt);
    let (result, ()) = tokio::join!(talking, show_response(&conn, report));
    report.stats(&conn);
    report.note(format_args!("closed: {}", result?.reason()));
    Ok(())
}

/// Shows the response head when it has come. The error of one that does not come is talked of
/// elsewhere.
async fn show_response(conn: &Conn, report: Report) {
    tokio::select! {
        // A connection that is over has a response all the same.
        biased;
        Ok(response) = conn.response() => report.response(&response),
        _ = conn.closed() => {}
    }
}

/// The pauses between attempts: each twice the last, give or take a quarter, so that clients of a
/// server that comes back do not all come at once.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(60);

    /// The pause after an attempt, or a connection, that took so long.
    fn next(&mut self, lasted: Duration) -> Duration {
        if lasted > Pauses::LONGEST {
            self.0 = 0;
        }
        let pause = Pauses::FIRST.saturating_mul(1 << self.0.min(10)).min(Pauses::LONGEST);
        self.0 += 1;
        // The standard library's only source of chance.
        let dice = RandomState::new().build_hasher().finish() % 1000;
        pause.mul_f64(0.75 + dice as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_connection_that_lasted() {
        let mut pauses = Pauses::default();
        let around = |pause: Duration, millis: u64| {
            let ratio = pause.as_secs_f64() * 1000.0 / millis as f64;
            assert!((0.75..=1.25).contains(&ratio), "{pause:?} is not around {millis} ms");
        };
        for millis in [200, 400, 800] {
            around(pauses.next(Duration::ZERO), millis);
        }
        for _ in 0..100 {
            pauses.next(Duration::ZERO);
        }
        around(pauses.next(Duration::ZERO), 60_000);
        around(pauses.next(Duration::from_secs(61)), 200);
    }
}
