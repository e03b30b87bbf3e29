//! Sends a file to a client.

use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use anyhow::{Context, Result};
use h2conn::http::{HeaderValue, Response};
use h2conn::{Incoming, Reason};
use tokio::io::AsyncWriteExt;

use super::Store;
use super::digests::Turns;
use crate::places::Place;
use crate::transfer::digest::{Digest, Hasher};
use crate::transfer::given::Given;
use crate::transfer::patience::Idle;
use crate::transfer::progress::Progress;
use crate::transfer::send::{self, write_line};
use crate::transfer::source::Source;
use crate::transfer::{MODE, SIZE};

/// Sends the file. The client has a part of `len` bytes with this digest; it gets the whole file if
/// that part is not the beginning of the file.
pub(super) async fn serve(
    incoming: Incoming,
    given: Given,
    (len, digest): (u64, Digest),
    store: &Store,
    place: &Place<Turns>,
) -> Result<String> {
    let Given { file, size, mode } = given;
    let mut response = Response::new(());
    response.headers_mut().insert(SIZE, size.into());
    if let Some(mode) = mode {
        let mode = HeaderValue::try_from(mode.to_string()).context("digits are a field")?;
        response.headers_mut().insert(MODE, mode);
    }
    let conn = incoming.accept_with(response)?;
    let given = async {
        // This comes after the response head: it can take longer than the client waits for that
        // head.
        let file = Arc::new(file);
        let mut hasher = Hasher::default();
        // A file that is too short cannot have this digest.
        if len <= size {
            let start = store.digests.of_start(&conn, &file, len, place.common()).await?;
            if start.len() == len && start.digest() == digest {
                hasher = start;
            }
        }
        (&*file).seek(SeekFrom::Start(hasher.len()))?;
        let from = hasher.len();
        write_line(&conn, format!("from {from}")).await?;
        let progress = Progress::hidden(size, from);
        let source = Source::new(file, hasher, size);
        let digest = send::body(&conn, source, &progress, store.patience).await?;
        store.patience.wait(&conn, (&conn).shutdown()).await?;
        conn.close().await?;
        anyhow::Ok(progress.summary(digest))
    };
    let given = given.await;
    if let Err(error) = &given {
        // Clients try again after the first reason.
        conn.reset(match error.is::<Idle>() {
            true => Reason::CANCEL,
            false => Reason::INTERNAL_ERROR,
        });
    }
    given
}
