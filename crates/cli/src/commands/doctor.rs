//! `h2conn doctor`.

use std::fmt;
use std::io::{self, Write};

use h2conn::http::Method;
use serde_json::json;

use crate::args::Doctor;
use crate::dial;
use crate::doctor::{Finding, Grade, Patient, Way, Who};
use crate::exit::{Code, Failure, Result};
use crate::report::Report;
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
    let base = format!("{}/", args.url.trim_end_matches('/'));
    let mut all = Vec::new();
    let mut passes = Vec::new();
    for way in Way::ALL {
        let (builder, _) = dial::builder(&args.url, &args.connection, Method::POST, report)?;
        let client = builder.reach(way.reach()).response_timeout(6 * args.timeout).build()?;
        if !args.json {
            print(format_args!("{way}, {}", args.url))?;
        }
        let mut patient = Patient {
            client,
            way,
            base: base.clone(),
            patience: args.timeout,
            slow: args.slow,
            who: Who::default(),
            findings: Vec::new(),
        };
        let mut printed = Ok(());
        let is_open = patient
            .examine(|finding| {
                if !args.json && printed.is_ok() {
                    printed = print(Line(finding));
                }
            })
            .await;
        printed?;
        if is_open {
            passes.push((way, patient.is_well()));
        }
        all.append(&mut patient.findings);
        patient.client.close().await.ok();
    }
    let verdict = verdict(&passes);
    match args.json {
        true => print(document(&args.url, &all, verdict))?,
        false => print(format_args!("\n{verdict}"))?,
    }
    match passes.iter().any(|(way, is_well)| *way == Way::Http2 && *is_well) {
        true => Ok(()),
        false => Err(Failure::new(Code::Found, anyhow::anyhow!("not all is well, see above"))),
    }
}

/// The conclusion from the ways that pass, and whether without a fault.
fn verdict(passes: &[(Way, bool)]) -> &'static str {
    let of = |way| passes.iter().find(|(passing, _)| *passing == way).map(|(_, is_well)| *is_well);
    match (of(Way::Http2), of(Way::WebSocket)) {
        (Some(true), _) => "All is well by HTTP/2: `--reach auto` takes it.",
        (Some(false), Some(true)) => {
            "HTTP/2 passes with the faults above, and `--reach auto` takes it; by a WebSocket all is well: --reach websocket."
        }
        (Some(false), _) => "HTTP/2 passes with the faults above, and `--reach auto` takes it.",
        (None, Some(true)) => {
            "HTTP/2 does not pass; by a WebSocket all is well: --reach auto finds it, --reach websocket takes it at once."
        }
        (None, Some(false)) => {
            "HTTP/2 does not pass; a WebSocket does, with the faults above: --reach auto finds it."
        }
        (None, None) => "Nothing passes.",
    }
}

/// A finding as a line of text, with the advice below it.
struct Line<'a>(&'a Finding);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { probe, grade, seen, advice, .. } = self.0;
        write!(f, "  {:<5} {probe}: {seen}", name(*grade))?;
        match advice {
            Some(advice) => write!(f, "\n        → {advice}"),
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
