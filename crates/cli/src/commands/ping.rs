//! `h2conn ping`.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use h2conn::http::Method;
use h2conn::{Addr, Client, Conn};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::args::Ping;
use crate::dial;
use crate::exit::{Code, Failure, Result};
use crate::report::{Report, brief};
use crate::signals::Interrupt;
use crate::waiting;

/// How long the request may take to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sends PINGs until it is told to stop, and prints the same lines as `ping`.
pub(crate) async fn run(args: Ping, verbose: u8) -> Result {
    let report = Report { verbose, stats: None };
    let interrupt = Interrupt::watch();
    let (builder, secrets) = dial::builder(&args.url, &args.connection, Method::GET, report)?;
    let client = builder.link_idle_timeout(None).build()?;
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut conn = None;
    let pinging = async {
        let began = Instant::now();
        let opening = client.open(&args.url);
        let opened = match args.quiet {
            true => opening.await?,
            false => waiting::explained(opening, &client, &args.url, "more of the request").await?,
        };
        let conn = conn.insert(opened);
        report.opened(conn, began.elapsed(), &secrets);
        ping(&args, &client, conn, &mut tally).await
    };
    let result = tokio::select! {
        result = pinging => result,
        () = interrupt.asked() => Ok(()),
    };
    if let Some(conn) = conn {
        // The result of the request does not matter, but the server must learn that the request is
        // over.
        let _ = timeout(GOODBYE, conn.close()).await;
    }
    let result = match (tally.sent, tally.times.len(), result) {
        (0, _, Ok(())) => return Err(Failure::interrupted().context("there was no connection yet")),
        (0, _, Err(failure)) => return Err(failure),
        (_, 0, Ok(())) => {
            Err(Failure::new(Code::TimedOut, anyhow::anyhow!("no PING was answered")))
        }
        (_, 0, Err(failure)) => Err(failure),
        _ => Ok(()),
    };
    let time = began.elapsed().as_millis();
    print(format_args!("\n--- {} ping statistics ---\n{tally}, time {time} ms", args.url))?;
    if !tally.times.is_empty() {
        print(tally.spread())?;
    }
    result
}

async fn ping(args: &Ping, client: &Client, conn: &mut Conn, tally: &mut Tally) -> Result {
    let peer = name(conn);
    print(format_args!("PING {} ({peer}), 8 bytes of data", args.url))?;
    let mut clock = interval(args.interval);
    // After a slow answer, do not send the PINGs that were missed.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Ok(());
    loop {
        clock.tick().await;
        tally.sent += 1;
        let number = tally.sent;
        last = match timeout(args.timeout, conn.ping()).await {
            Ok(Ok(time)) => {
                tally.times.push(time);
                if !args.quiet {
                    print(format_args!("answer from {peer}: seq={number} time={}", Millis(time)))?;
                }
                Ok(())
            }
            Ok(Err(error)) => {
                print(format_args!("no answer from {peer}: seq={number} {}", brief(&error)))?;
                // The link (HTTP/2 connection) is gone, for example because the server ends idle
                // links.
                match client.open(&args.url).await {
                    Ok(new) => *conn = new,
                    Err(error) => print(format_args!("no new link: {}", brief(&error)))?,
                }
                Err(error.into())
            }
            Err(_) => {
                print(format_args!(
                    "no answer from {peer}: seq={number} not within {:?}",
                    args.timeout
                ))?;
                last
            }
        };
        if Some(tally.sent) == args.count {
            return last;
        }
    }
}

fn name(conn: &Conn) -> String {
    match conn.peer_addr() {
        Addr::Other => conn.uri().authority().map_or_else(String::new, ToString::to_string),
        addr => addr.to_string(),
    }
}

/// Prints to standard output: round trips are the data of this command.
fn print(line: impl fmt::Display) -> Result {
    writeln!(io::stdout(), "{line}").map_err(Failure::output)
}

/// The number of PINGs sent, and the round trips of those that were answered.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    times: Vec<Duration>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.times.len() as u64;
        let lost = 100 * (self.sent - answered) / self.sent.max(1);
        write!(f, "{} pings sent, {answered} answered, {lost}% lost", self.sent)
    }
}

impl Tally {
    /// The shortest, mean and longest time, and the standard deviation, in the format of `ping`.
    fn spread(&self) -> String {
        let seconds: Vec<f64> = self.times.iter().map(Duration::as_secs_f64).collect();
        let count = seconds.len() as f64;
        let mean = seconds.iter().sum::<f64>() / count;
        let variance = seconds.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seconds.iter().copied().fold(0.0, f64::max);
        let [least, mean, most, mdev] =
            [least, mean, most, variance.sqrt()].map(|time| format!("{:.3}", time * 1000.0));
        format!("rtt min/avg/max/mdev = {least}/{mean}/{most}/{mdev} ms")
    }
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", self.0.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_are_those_of_ping() {
        let times = [1, 2, 3, 6].map(Duration::from_millis).to_vec();
        let tally = Tally { sent: 5, times };
        assert_eq!(tally.to_string(), "5 pings sent, 4 answered, 20% lost");
        assert_eq!(tally.spread(), "rtt min/avg/max/mdev = 1.000/3.000/6.000/1.871 ms");
    }
}
