//! `h2conn forward`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::anyhow;
use h2conn::http::{Method, StatusCode};
use h2conn::{Backoff, ClientBuilder};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::args::{ConnectOptions, Forward, Secret};
use crate::descriptors;
use crate::dial::{self, Caller};
use crate::exit::{Code, Failure, Result};
use crate::places::{Line, Places};
use crate::report::{Report, Secrets, say};
use crate::signals::{Interrupt, say_what_is_awaited};
use crate::tunnel::local::{Listening, Purpose};
use crate::tunnel::spec::{Bind, Forward as Way};
use crate::tunnel::token::Token;
use crate::tunnel::{Tunnel, explained, remote};

/// How long connections that are open at the end of the program may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Forwards until Ctrl-C, or until the server no longer listens for a -R.
pub(crate) async fn run(args: Forward, verbose: u8) -> Result {
    let report = Report { verbose, stats: None };
    let interrupt = Interrupt::watch();
    let (builder, secrets) = authorized(&args.url, &args.connection, &args.secret, report)?;
    let client = builder.idle_timeout(args.idle_timeout).build()?;
    let caller = Caller::new(client, report, secrets);
    let tunnel = Tunnel::new(caller.clone(), &args.url, args.idle_timeout);
    let mut listeners = Vec::new();
    for way in args.local {
        listeners.push((listen(way.bind).await?, Purpose::Forward(way.target)));
    }
    for bind in args.dynamic {
        listeners.push((listen(bind).await?, Purpose::Socks));
    }
    tokio::select! {
        checked = check(&tunnel, args.reconnect) => checked?,
        () = interrupt.asked() => {
            return Err(Failure::interrupted().context("the server had not answered"));
        }
    }
    let mut tasks = JoinSet::new();
    let most = args.max_conns.map_or_else(descriptors::for_connections, NonZeroUsize::get);
    let conns = Places::new(most, "connections", "--max-conns");
    for (listener, purpose) in listeners {
        let addr = announce(&listener, &purpose)?;
        let listening = Listening { tcp: listener, addr, purpose, places: conns.clone() };
        let serving = listening.serve(tunnel.clone(), interrupt.clone());
        tasks.spawn(async move { Ended { relays: serving.await, result: Ok(()) } });
    }
    for way in args.remote {
        let places = Places::new(args.max_visitors.get(), "visitors", "--max-visitors");
        tasks.spawn(serve_remote(tunnel.clone(), way, places, args.reconnect, interrupt.clone()));
    }
    let result = until_the_end(tasks, &interrupt, report).await;
    result.and(caller.close_within(DRAIN).await)
}

/// Sets up a client of `url` that presents the token, and tells which header fields are secrets.
pub(super) fn authorized(
    url: &str,
    options: &ConnectOptions,
    secret: &Secret,
    report: Report,
) -> Result<(ClientBuilder, Secrets)> {
    let (builder, secrets) = dial::builder(url, options, Method::POST, report)?;
    let builder = match token(secret)? {
        Some(token) => {
            if let Some(host) = dial::exposed_host(url, options) {
                say(format_args!(
                    "h2conn: warning: the token goes to {host} in cleartext, and anyone on the network \
                     path can read it and then use it; https:// keeps it secret"
                ));
            }
            builder.header("authorization", token.to_field())
        }
        None => builder,
    };
    Ok((builder, secrets))
}

/// The token from the file or the environment, if there is one.
pub(super) fn token(secret: &Secret) -> Result<Option<Token>> {
    Token::find(secret.token_file.as_ref()).map_err(Failure::by_usage)
}

/// The pauses of `--reconnect` between attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    reconnect: bool,
    backoff: Backoff,
}

impl Attempts {
    /// The first attempt begins now.
    pub(super) fn new(reconnect: bool) -> Attempts {
        Attempts { reconnect, backoff: Backoff::new() }
    }

    /// An attempt has failed: returns when the next one may begin.
    ///
    /// # Errors
    ///
    /// If there is no other attempt: the failure, with a refusal in the server's own words.
    pub(super) async fn failed(&mut self, failure: Failure) -> Result {
        let may_pass = failure.may_pass();
        let failure = explained(failure);
        if !(self.reconnect && may_pass) {
            return Err(failure);
        }
        let pause = failure.pause(&mut self.backoff);
        say(format_args!("h2conn: {failure}; again in {:.1} s", pause.as_secs_f64()));
        sleep(pause).await;
        Ok(())
    }
}

async fn check(tunnel: &Tunnel, reconnect: bool) -> Result {
    let mut attempts = Attempts::new(reconnect);
    while let Err(error) = tunnel.check().await {
        let is_unknown = error.status() == Some(StatusCode::NOT_FOUND);
        let mut failure = Failure::from(error);
        if is_unknown {
            failure =
                failure.context("the URL must be that of `h2conn serve`, which answers /check");
        }
        attempts.failed(failure).await?;
    }
    Ok(())
}

async fn listen(bind: Bind) -> Result<TcpListener> {
    let bound = TcpListener::bind((bind.ip, bind.port)).await;
    bound.map_err(|error| Failure::local(format_args!("cannot listen on {bind}"), error))
}

fn announce(listener: &TcpListener, purpose: &Purpose) -> Result<SocketAddr> {
    let addr = listener.local_addr();
    let addr = addr.map_err(|error| Failure::local("the socket has no address", error))?;
    match purpose {
        Purpose::Forward(target) => say(format_args!("listening on {addr}, for {target}")),
        Purpose::Socks => say(format_args!("listening on {addr}, for SOCKS5")),
    }
    Ok(addr)
}

/// The remains of a listener that has ended.
#[derive(Debug)]
struct Ended {
    /// The connections that are still open.
    relays: JoinSet<()>,
    result: Result,
}

async fn serve_remote(
    tunnel: Tunnel,
    way: Way,
    places: Places<Line>,
    reconnect: bool,
    interrupt: Interrupt,
) -> Ended {
    let mut relays = JoinSet::new();
    let mut attempts = Attempts::new(reconnect);
    let listening = async {
        loop {
            let failure = match remote::serve(&tunnel, &way, &places, &mut relays).await {
                Err(error) => error.into(),
                Ok(()) => Failure::new(Code::Reset, anyhow!("the server listens no more")),
            };
            attempts.failed(failure).await?;
        }
    };
    let listening: Result = tokio::select! {
        result = listening => result,
        () = interrupt.asked() => Ok(()),
    };
    let result = listening
        .map_err(|failure| failure.context(format_args!("-R {}:{}", way.bind, way.target)));
    Ended { relays, result }
}

/// Waits until a listener has failed, or until all have ended after Ctrl-C. Then waits for the
/// connections that are open.
async fn until_the_end(
    mut listeners: JoinSet<Ended>,
    interrupt: &Interrupt,
    report: Report,
) -> Result {
    let mut result = Ok(());
    let mut left = Vec::new();
    while let Some(ended) = listeners.join_next().await {
        // When one listener fails, end all of them in the same order as after Ctrl-C.
        interrupt.ask();
        let ended = match ended {
            Ok(ended) => {
                left.push(ended.relays);
                ended.result
            }
            Err(error) => Err(Failure::local("a task failed", error.into())),
        };
        result = result.and(ended);
    }
    for relays in &mut left {
        while relays.try_join_next().is_some() {}
    }
    match result {
        Ok(()) => say_what_is_awaited(left.iter().map(JoinSet::len).sum(), DRAIN),
        Err(_) => report.note("no listener is left; waiting for what is open"),
    }
    let finishing = async {
        for mut relays in left {
            while relays.join_next().await.is_some() {}
        }
    };
    match timeout(DRAIN, finishing).await {
        Ok(()) => result,
        Err(_) => result.and(Err(Failure::new(
            Code::Reset,
            anyhow!("connections were open after {} s more, and were reset", DRAIN.as_secs()),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_cuts_connections_is_none_in_good_order() {
        let interrupt = Interrupt::default();
        interrupt.ask();
        for open in [false, true] {
            let mut relays = JoinSet::new();
            if open {
                relays.spawn(pending());
            }
            let mut listeners = JoinSet::new();
            listeners.spawn(async { Ended { relays, result: Ok(()) } });
            let report = Report { verbose: 0, stats: None };
            let result = until_the_end(listeners, &interrupt, report).await;
            assert_eq!(result.err().map(|failure| failure.code()), open.then_some(Code::Reset));
        }
    }
}
