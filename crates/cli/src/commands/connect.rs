//! `h2conn connect`.

use std::future::pending;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use h2conn::http::Method;
use h2conn::{Backoff, Client, Conn, Reason, WebSockets};
use tokio::time::sleep;

use crate::args::{Connect, MessageOptions, ReachBy};
use crate::dial;
use crate::ending::PARTING;
use crate::exit::{Code, Failure, Result};
use crate::report::{Report, Secrets, say};
use crate::signals::Interrupt;
use crate::stdio::{Input, Output};
use crate::talk::talk;
use crate::waiting;

/// The words for the input, for which a server may wait before it answers.
const INPUT: &str = "input";

/// The longest message, unless an option says otherwise.
const MAX_MESSAGE: usize = 64 << 20;

/// Longer than anybody waits for an answer.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Connects standard input and output to one connection, or with `--reconnect` to one after
/// another.
pub(crate) async fn run(mut args: Connect, verbose: u8) -> Result {
    let websockets = websockets(&mut args)?;
    let report = Report { verbose, stats: args.stream.stats };
    let interrupt = Interrupt::watch();
    let (builder, secrets) = dial::builder(&args.url, &args.connection, Method::POST, report)?;
    let mut builder = builder.websockets(websockets).idle_timeout(args.stream.idle_timeout);
    if args.connection.connect_timeout.is_none() {
        // Of a WebSocket the library waits for the answer.
        builder = builder.response_timeout(NO_LIMIT);
    }
    let client = builder.build()?;
    let way = Way { client, secrets };
    let (mut input, mut output) = (Input::stdin(), Output::stdout());
    let mut backoff = Backoff::new();
    let result = loop {
        let failure = match once(&args, &way, &mut input, &mut output, report, &interrupt).await {
            Ok(()) => break Ok(()),
            Err(failure) if args.reconnect && failure.may_pass() => failure,
            Err(failure) => break Err(failure),
        };
        let pause = failure.pause(&mut backoff);
        say(format_args!("h2conn: {failure}; again in {:.1} s", pause.as_secs_f64()));
        tokio::select! {
            () = sleep(pause) => {}
            () = interrupt.asked() => {
                break Err(Failure::interrupted().context("there was no connection"));
            }
        }
    };
    let written = output.finish().await;
    let closed = match &result {
        // After an interrupt, wait only until the reset of the connection has left.
        Err(failure) if failure.code() == Code::Interrupted => {
            let _ = way.client.close_within(PARTING).await;
            Ok(())
        }
        _ => way.client.close().await,
    };
    result.and(written.map_err(Failure::output)).and(closed.map_err(Failure::from))
}

/// The settings of the WebSocket, if the connection becomes one. A ws:// URL becomes one of http://, of which the client
/// makes a WebSocket.
fn websockets(args: &mut Connect) -> Result<WebSockets> {
    let MessageOptions { binary, subprotocol, max_message } = &args.messages;
    let settings = WebSockets::new()
        .subprotocols(subprotocol)
        .max_message_size(max_message.unwrap_or(MAX_MESSAGE))
        .text_messages(true);
    let given =
        [("--subprotocol", !subprotocol.is_empty()), ("--max-message", max_message.is_some())];
    let of_messages = given.into_iter().find_map(|(option, is_given)| is_given.then_some(option));
    let http = match args.url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => format!("http://{rest}"),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("wss") => format!("https://{rest}"),
        // Its bytes are those of HTTP/2, in binary messages.
        _ if *binary => {
            return Err(Failure::usage("--binary is for ws:// and wss:// URLs; all else is bytes"));
        }
        _ => {
            return match of_messages.filter(|_| args.connection.reach == ReachBy::Http2) {
                Some(option) => Err(Failure::usage(format_args!(
                    "{option} is for WebSockets: expected a ws:// or wss:// URL, or --reach websocket or auto"
                ))),
                None => Ok(settings),
            };
        }
    };
    if let Some(method) = &args.connection.method {
        return Err(Failure::usage(format_args!(
            "-X {method} is not for WebSockets, whose request is a GET: leave it out"
        )));
    }
    args.url = http;
    args.connection.reach = ReachBy::Websocket;
    Ok(if *binary { settings } else { settings.text_lines() })
}

/// How connections are made, and which header fields must not be shown.
struct Way {
    client: Client,
    secrets: Secrets,
}

async fn once(
    args: &Connect,
    way: &Way,
    input: &mut Input,
    output: &mut Output,
    report: Report,
    interrupt: &Interrupt,
) -> Result {
    let began = Instant::now();
    let opening = waiting::explained(way.client.open(&args.url), &way.client, &args.url, INPUT);
    let conn = tokio::select! {
        conn = opening => conn?,
        () = interrupt.asked() => {
            return Err(Failure::interrupted().context("there was no connection yet"));
        }
    };
    report.opened(&conn, began.elapsed(), &way.secrets);
    let talking = talk(&conn, input, output, args.linger, interrupt, Reason::CANCEL);
    let (talked, answered) = tokio::join!(talking, await_response(args, way, &conn, report));
    report.stats(&conn);
    // If the response failed, the talk has failed for the same reason.
    answered?;
    report.note(format_args!("closed: {}", talked?.reason()));
    Ok(())
}

/// Shows the response head once it has come. If it fails to come, another task reports that error.
/// If its time limit passes, the connection is reset.
async fn await_response(args: &Connect, way: &Way, conn: &Conn, report: Report) -> Result {
    let response = waiting::explained(conn.response(), &way.client, &args.url, INPUT);
    tokio::select! {
        // A connection that has already ended can still have a response.
        biased;
        Ok(response) = response => report.response(conn.peer_addr(), &response),
        limit = past(args.connection.connect_timeout) => {
            conn.reset(Reason::CANCEL);
            return Err(Failure::new(
                Code::TimedOut,
                anyhow!(
                    "{} {}: no response within {} s; {}",
                    conn.method(),
                    waiting::without_query(&args.url),
                    limit.as_secs_f32(),
                    waiting::why(INPUT)
                ),
            ));
        }
        _ = conn.closed() => {}
    }
    Ok(())
}

/// Waits until a time limit has passed, and returns the limit.
async fn past(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => pending().await,
    }
}
