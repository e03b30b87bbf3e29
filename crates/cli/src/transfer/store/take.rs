//! Receives a file from a client.

use anyhow::{Context, Result};
use h2conn::{Conn, Incoming, Reason};

use super::Store;
use super::digests::Turns;
use super::quota::Share;
use crate::places::Place;
use crate::report::shown;
use crate::transfer::access::Mode;
use crate::transfer::digest::Hasher;
use crate::transfer::partial::Partial;
use crate::transfer::patience::Idle;
use crate::transfer::progress::Progress;
use crate::transfer::reader::Reader;
use crate::transfer::receive;
use crate::transfer::send::write_line;
use crate::transfer::step::step;

/// Receives a file of `size` bytes, behind the bytes that have arrived before.
pub(super) async fn serve(
    incoming: Incoming,
    (partial, share): (Partial, Share),
    size: u64,
    mode: Option<Mode>,
    store: &Store,
    place: &Place<Turns>,
) -> Result<String> {
    let conn = incoming.accept()?;
    match take_body(&conn, (partial, share), size, mode, store, place).await {
        Ok(summary) => {
            conn.close().await?;
            Ok(summary)
        }
        // A client that does not read would not see a message. A client that wakes up tries again
        // after a reset.
        Err(error) if error.is::<Idle>() => {
            conn.reset(Reason::CANCEL);
            Err(error)
        }
        Err(error) => {
            // If the client has gone, it cannot be told.
            let _ = write_line(&conn, format!("failed {}", shown(&error))).await;
            let _ = conn.close().await;
            Err(error)
        }
    }
}

async fn take_body(
    conn: &Conn,
    (mut partial, share): (Partial, Share),
    size: u64,
    mode: Option<Mode>,
    store: &Store,
    place: &Place<Turns>,
) -> Result<String> {
    // As in `give`, the client has the head, and can wait.
    let file = partial.handle();
    let there = partial.len().context("cannot read what has come before")?;
    let mut hasher = match there > size {
        // It is no beginning of the client's file, whatever its digest, which could take long.
        true => {
            partial = cleared(partial, &share).await?;
            Hasher::default()
        }
        false => store.digests.of_start(conn, &file, there, place.common()).await?,
    };
    write_line(conn, format!("have {} {}", hasher.len(), hasher.digest())).await?;
    let mut reader = Reader::new(conn);
    // The client must digest as many bytes as this side has.
    reader.set_patience(store.patience.to_digest(hasher.len()));
    let from: u64 = reader.expect("from").await?.parse().context("the client says from where")?;
    reader.set_patience(store.patience);
    if from != hasher.len() {
        anyhow::ensure!(from == 0, "the client begins at {from}, and {} are there", hasher.len());
        partial = cleared(partial, &share).await?;
        hasher = Hasher::default();
    }
    let progress = Progress::hidden(size, from);
    let admit = |bytes| Ok(share.grow(bytes)?);
    let received = receive::body(&mut reader, file, hasher, size, &progress, admit).await?;
    let Some(digest) = received else {
        share.clear();
        step(move || partial.discard()).await??;
        anyhow::bail!("what has come is not what was sent: the digests differ; it was removed");
    };
    step(move || partial.finish(false, mode)).await??;
    share.clear();
    write_line(conn, format!("stored {digest}")).await?;
    Ok(progress.summary(digest))
}

/// Drops the bytes of earlier transfers. If there are many, this takes the system a while.
async fn cleared(partial: Partial, share: &Share) -> Result<Partial> {
    let partial = step(move || partial.clear().map(|()| partial)).await??;
    share.clear();
    Ok(partial)
}
