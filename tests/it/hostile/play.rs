//! Establishes a link, plays a script on it, ends its transport, and checks that nothing is left.

use std::future::Future;
use std::time::Duration;

use h2conn::{Client, Conn, Listener, OnDrop};
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout};

use super::peer::Peer;
use super::script::{Script, Setting, Step};
use super::user::{Source, User};
use crate::support::raw::{END_HEADERS, HEADERS, OK, REQUEST, Raw};

/// The end of the link under test. The script's peer is the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Plays a script. When everything waits for time to pass, the paused clock advances at once.
pub(crate) fn run(side: Side, script: &Script) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        play(side, script).await;
        let tasks = Handle::current().metrics();
        let gone = async {
            while tasks.num_alive_tasks() > 0 {
                sleep(Duration::from_secs(1)).await;
            }
        };
        within("tasks that nobody needs any more", gone).await;
    });
}

async fn play(side: Side, script: &Script) {
    let (io, peer_io) = duplex(script.setting.pipe);
    let up = async {
        match side {
            Side::Client => client(io, peer_io, script).await,
            Side::Server => server(io, peer_io, script).await,
        }
    };
    let (conn, source, raw) = within("a link that does not come up", up).await;
    let (mut user, mut peer) = (User::new(conn, source), Peer::new(raw.io, script.setting.pipe));
    for step in &script.steps {
        match step {
            Step::Frame(..) | Step::Bytes(_) => {
                let bytes = step.to_send().unwrap_or_default();
                peer.say(&bytes).await;
            }
            Step::Read => peer.listen(),
            Step::Try(action) => user.act(*action, false),
            Step::Wait(action) => user.act(*action, true),
            Step::Yield(times) => {
                for _ in 0..*times {
                    tokio::task::yield_now().await;
                }
            }
            Step::Sleep(time) => sleep(Duration::from_millis(*time)).await,
        }
    }
    let (ended, _held) = peer.end(script.half_closed).await;
    within("an operation that does not end with its transport", user.settle(&ended)).await;
}

async fn client(
    io: DuplexStream,
    peer_io: DuplexStream,
    script: &Script,
) -> (Conn, Source, Raw<DuplexStream>) {
    let Setting { window, link_memory, send_queue, .. } = script.setting;
    let client = Client::builder()
        .initial_window_size(window)
        .max_link_memory(link_memory)
        .send_queue_size(send_queue)
        .on_drop(on_drop(script))
        .build_over(io)
        .await
        .expect("a client");
    let conn = client.open("http://raw/").await.expect("a connection");
    let mut raw = Raw::server(peer_io).await.expect("the client's preface");
    raw.wait_for(HEADERS, 1).await.expect("a request");
    if script.answered {
        raw.send(HEADERS, END_HEADERS, 1, OK).await.expect("a client that reads");
        conn.response().await.expect("a response");
    }
    (conn, Source::Client(client), raw)
}

async fn server(
    io: DuplexStream,
    peer_io: DuplexStream,
    script: &Script,
) -> (Conn, Source, Raw<DuplexStream>) {
    let Setting { window, link_memory, send_queue, .. } = script.setting;
    let mut listener = Listener::builder()
        .initial_window_size(window)
        .max_link_memory(link_memory)
        .send_queue_size(send_queue)
        .on_drop(on_drop(script))
        .build_over(io)
        .expect("a listener");
    let mut raw = Raw::client(peer_io).await.expect("a server that reads");
    raw.send(HEADERS, END_HEADERS, 1, REQUEST).await.expect("a server that reads");
    let incoming = listener.accept().await.expect("a request");
    let conn = incoming.accept().expect("a connection");
    if script.answered {
        raw.wait_for(HEADERS, 1).await.expect("a response");
    }
    (conn, Source::Listener(listener), raw)
}

fn on_drop(script: &Script) -> OnDrop {
    if script.setting.reset_on_drop { OnDrop::Reset } else { OnDrop::Finish }
}

/// The longest time that a peer can make an operation last. The clock is paused.
async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(Duration::from_secs(300), future).await {
        Ok(output) => output,
        Err(_) => panic!("after 300 s: {what}"),
    }
}
