//! `h2conn doctor`.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use h2conn::ErrorKind;
use h2conn::http::{Method, Uri};
use serde_json::json;

use crate::args::Doctor;
use crate::dial;
use crate::doctor::{Finding, Grade, Middlebox, Outcome, Patient, Way};
use crate::exit::{Code, Failure, Result};
use crate::report::{Report, visible, without_passwords};
use crate::signals::Interrupt;

/// Examines the ways to a server, and prints what it finds.
pub(crate) async fn run(args: Doctor, verbose: u8) -> Result {
    let interrupt = Interrupt::watch();
    tokio::select! {
        result = examine(&args, verbose) => result,
        () = interrupt.asked() => Err(Failure::interrupted()),
    }
}

async fn examine(args: &Doctor, verbose: u8) -> Result {
    let report = Report { verbose, stats: None };
    let base = base(&args.url)?;
    if args.timeout > LONGEST {
        return Err(Failure::usage(format_args!("-W must be at most {} s", LONGEST.as_secs())));
    }
    let (mut all, mut seen, mut error) = (Vec::new(), Vec::new(), None);
    let mut who = Middlebox::default();
    for way in Way::ALL {
        let (builder, _) = dial::builder(&args.url, &args.connection, Method::POST, report)?;
        let client = builder.reach(way.reach()).response_timeout(6 * args.timeout).build()?;
        if !args.json {
            print(format_args!("{way}, {}", args.url))?;
        }
        let mut patient = Patient::new(client, way, base.clone(), args.timeout, args.slow, who);
        let mut printed = Ok(());
        let outcome = patient
            .examine(|finding| {
                if !args.json && printed.is_ok() {
                    printed = print(Line(finding));
                }
            })
            .await;
        printed?;
        seen.push(Seen { outcome, is_well: patient.is_well(), is_held: patient.is_held() });
        error = error.or(patient.error.take());
        all.append(&mut patient.findings);
        who = patient.who.clone();
        // Whatever is left of the probes.
        let _ = patient.client.close_within(args.timeout).await;
    }
    let [http2, websocket] = [seen[0], seen[1]];
    let verdict = verdict(http2, websocket);
    match args.json {
        true => print(document(&args.url, &all, verdict))?,
        false => print(format_args!("\n{verdict}"))?,
    }
    let nothing = [http2, websocket].iter().all(|seen| seen.outcome == Outcome::Closed);
    match error {
        _ if http2.outcome == Outcome::Examined && http2.is_well => Ok(()),
        // No box is the reason.
        Some(error) if nothing && matches!(error.kind(), ErrorKind::Connect | ErrorKind::Tls) => {
            Err(error.into())
        }
        _ => Err(Failure::new(Code::Found, anyhow::anyhow!("not all is well, see above"))),
    }
}

/// The longest time for something that should take a moment.
const LONGEST: Duration = Duration::from_secs(3600);

/// The URL to which the paths of the probes are added.
fn base(url: &str) -> Result<String> {
    let uri: Uri = url.parse().map_err(|error| {
        Failure::usage(format_args!("{} is no URL: {error}", without_passwords(url)))
    })?;
    let is_http = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    if !is_http || uri.query().is_some() {
        return Err(Failure::usage("expected a URL with https:// or http://, and without a query"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Failure::usage(
            "the URL carries a user name or password, which HTTP/2 does not",
        ));
    }
    Ok(format!("{}/", url.trim_end_matches('/')))
}

/// The outcome of the examination of one way.
#[derive(Clone, Copy)]
struct Seen {
    outcome: Outcome,
    is_well: bool,
    is_held: bool,
}

/// The conclusion from both ways.
fn verdict(http2: Seen, websocket: Seen) -> &'static str {
    use Outcome::{Closed, Denied, Examined, Stranger};

    let is_well_by_websocket = websocket.outcome == Examined && websocket.is_well;
    match (http2.outcome, websocket.outcome) {
        (Examined, _) if http2.is_well => "All is well by HTTP/2: `--reach auto` takes it.",
        (Examined, Examined) if http2.is_held => {
            "HTTP/2 passes with the faults above; `--reach auto` takes the WebSocket, because the answer is late."
        }
        (Examined, _) if is_well_by_websocket => {
            "HTTP/2 passes with the faults above, and `--reach auto` takes it; by a WebSocket all is well: --reach websocket."
        }
        (Examined, _) => "HTTP/2 passes with the faults above.",
        (Stranger, _) | (_, Stranger) => {
            "The server answers no probes: run `h2conn listen --doctor --keep-open` there, or answer by `h2conn::doctor`."
        }
        (Closed | Denied, Examined) if websocket.is_well => {
            "HTTP/2 does not pass; by a WebSocket all is well: --reach auto finds it, --reach websocket takes it at once."
        }
        (Closed | Denied, Examined) => {
            "HTTP/2 does not pass; a WebSocket does, with the faults above: --reach auto finds it."
        }
        (Closed, Denied) => "HTTP/2 does not pass, and the server refuses the WebSocket.",
        (Denied, Denied | Closed) => {
            "The server refuses the probes: `h2conn listen --doctor --keep-open` or `h2conn::doctor` must answer at this URL."
        }
        (Closed, Closed) => "Nothing passes.",
    }
}

/// A finding as a line of text, with the advice below it.
struct Line<'a>(&'a Finding);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { probe, grade, seen, advice, .. } = self.0;
        write!(f, "  {:<5} {probe}: {}", name(*grade), visible(seen))?;
        match advice {
            Some(advice) => write!(f, "\n        → {}", visible(advice)),
            None => Ok(()),
        }
    }
}

fn name(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "ok",
        Grade::Fault => "FAULT",
        Grade::Note => "note",
    }
}

fn document(url: &str, findings: &[Finding], verdict: &str) -> serde_json::Value {
    let findings = findings.iter().map(|finding| {
        let Finding { probe, way, grade, seen, advice } = finding;
        json!({
            "reach": way.name(), "probe": probe, "result": name(*grade), "seen": seen, "advice": advice,
        })
    });
    json!({ "url": url, "verdict": verdict, "findings": findings.collect::<Vec<_>>() })
}

/// Prints to standard output: the findings are the data of this command.
fn print(line: impl fmt::Display) -> Result {
    writeln!(io::stdout(), "{line}").map_err(Failure::output)
}
