//! The memory of WebSockets on a served router: parts of messages count as other bytes do.

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::any;
use futures_util::StreamExt;
use h2conn::axum::Accept;
use h2conn::http::Version;
use h2conn::{Client, Conn, Listener, ListenerHandle, WebSockets};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::support::websocket::{Socket, open_with, sender};
use crate::support::{Over, TestResult, check_echo, echo, listen_with, run, serve};

const MIB: usize = 1 << 20;

/// A message of 1 MiB, less a few bytes at its end: `0x7f` says that its length has eight bytes, and
/// the mask is 0.
fn part_of_a_message() -> Vec<u8> {
    let mut part = vec![0x82, 0x80 | 0x7f];
    part.extend_from_slice(&(MIB as u64).to_be_bytes());
    part.extend_from_slice(&[0; 4]);
    part.resize(part.len() + MIB - 10, 7);
    part
}

async fn to_its_end(conn: Conn) {
    // The test checks the client's side.
    let _ = echo(conn).await;
}

/// Waits until this much of the listener's memory is used.
async fn until(handle: &ListenerHandle, good: impl Fn(usize) -> bool) {
    loop {
        let stats = handle.stats();
        if good(stats.unread_bytes + stats.request_bytes) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Sends the part of a message on each of these WebSockets. Returns how many were reset.
async fn fill(sockets: &mut [Socket]) -> usize {
    let part = part_of_a_message();
    let mut reset = 0;
    for socket in &mut *sockets {
        let io = socket.get_mut();
        // The server may have reset it, to make room.
        let sent = async { io.write_all(&part).await.and(io.flush().await) };
        reset += usize::from(sent.await.is_err());
    }
    reset
}

#[test]
fn parts_of_messages_on_one_link_are_bounded_by_the_memory_of_the_link() -> TestResult {
    const LINK: usize = 4 * MIB;
    run(async {
        for is_served in [true, false] {
            let builder = Listener::builder().max_link_memory(LINK as u32).first_conn_timeout(None);
            let builder = builder.websockets(WebSockets::new());
            let (listener, site) = listen_with(Over::Cleartext, builder).await?;
            let handle = listener.handle();
            if is_served {
                let app = Router::new()
                    .route("/", any(|accept: Accept| async { accept.on_conn(to_its_end) }));
                tokio::spawn(async move { h2conn::serve(listener, app).await });
            } else {
                serve(listener, echo);
            }
            let mut send = sender(&site).await?;
            let mut sockets = Vec::new();
            for _ in 0..20 {
                sockets.push(open_with(&mut send, &site, "/").await?);
            }
            fill(&mut sockets[..1]).await;
            until(&handle, |held| held > MIB / 2).await;
            let mut all = tokio::spawn(async move {
                fill(&mut sockets[1..]).await;
                let mut ended = 0;
                for socket in &mut sockets {
                    ended += usize::from(matches!(socket.next().await, None | Some(Err(_))));
                    if ended == 10 {
                        break;
                    }
                }
                (sockets, ended)
            });
            let mut most = 0;
            let (sockets, ended) = loop {
                let stats = handle.stats();
                most = most.max(stats.unread_bytes + stats.request_bytes);
                tokio::select! {
                    biased;
                    all = &mut all => break all?,
                    () = tokio::task::yield_now() => {}
                }
            };
            ensure!(ended == 10, "{ended} were reset");
            // Some windows more can be on their way to the driver.
            ensure!(most < 2 * LINK, "{most} bytes were held");
            let other = site.client()?;
            check_echo(other.connect(site.url("/")).await?.0, b"another link is served").await?;
            drop((sockets, send));
            until(&handle, |held| held < MIB / 8).await;
        }
        Ok(())
    })
}

#[test]
fn parts_of_messages_over_http1_count_for_the_memory_of_the_listener() -> TestResult {
    const ALL: usize = 8 * MIB;
    run(async {
        let builder = Listener::builder().max_memory(ALL).first_conn_timeout(None);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        let app =
            Router::new().route("/", any(|accept: Accept| async { accept.on_conn(to_its_end) }));
        tokio::spawn(async move { h2conn::serve(listener, app).await });
        let mut sockets = Vec::new();
        for _ in 0..20 {
            sockets.push(crate::support::websocket::open(&site, Version::HTTP_11, "/").await?);
        }
        fill(&mut sockets).await;
        // As many are reset as is needed, and some stay.
        let mut ends = JoinSet::new();
        for mut socket in sockets {
            ends.spawn(async move {
                let end = socket.next().await;
                matches!(end, None | Some(Err(_) | Ok(Message::Close(_))))
            });
        }
        for number in 0..11 {
            let is_end = ends.join_next().await.context("there are more")??;
            ensure!(is_end, "number {number} has received something");
        }
        until(&handle, |held| held > ALL / 4 && held <= ALL + 2 * MIB).await;
        let client = Client::builder().build()?;
        let conn = client.connect(site.url("/")).await.context("others are served")?.0;
        check_echo(conn, b"others are served").await?;
        ends.shutdown().await;
        until(&handle, |held| held < MIB / 8).await;
        Ok(())
    })
}
