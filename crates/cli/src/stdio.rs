//! Standard input and output as chunks of bytes, each with a thread of its own: the system has no
//! way to wait for them that works for files, terminals and pipes alike.

use std::io::{self, Read, Write};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

/// As much as a pipe holds on Linux.
const CHUNK: usize = 64 * 1024;

/// How many chunks wait between a thread and the runtime: enough that neither waits for the other
/// all the time.
const QUEUE: usize = 8;

/// What comes in. It outlives connections, so that the next one goes on where the last has ended.
#[derive(Debug)]
pub(crate) struct Input {
    /// An empty chunk is the end. A channel that closes without one has broken off: by an error that was told, or
    /// with its thread.
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    has_ended: bool,
    /// Read, and not taken by any connection.
    unsent: Option<Bytes>,
}

impl Input {
    /// Standard input. Its thread ends with the process: a read cannot be given up.
    pub(crate) fn stdin() -> Input {
        let (sender, chunks) = mpsc::channel(QUEUE);
        thread::spawn(move || read_all(io::stdin().lock(), &sender));
        Input::new(chunks)
    }

    fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Input {
        Input { chunks, has_ended: false, unsent: None }
    }

    /// The next bytes, or `None` at the end. After an error there is no end, but an error again. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(chunk) = self.unsent.take() {
            return Some(Ok(chunk));
        }
        if self.has_ended {
            return None;
        }
        match self.chunks.recv().await {
            Some(Ok(chunk)) if chunk.is_empty() => {
                self.has_ended = true;
                None
            }
            None => Some(Err(io::Error::other("it has broken off before"))),
            next => next,
        }
    }

    /// Keeps a chunk to be the next again, until it is [`sent`](Input::sent).
    pub(crate) fn keep(&mut self, chunk: Bytes) {
        self.unsent = Some(chunk);
    }

    /// What was kept is sent.
    pub(crate) fn sent(&mut self) {
        self.unsent = None;
    }
}

fn read_all(mut input: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = BytesMut::new();
    loop {
        // Small reads share a buffer.
        if buffer.len() < CHUNK / 4 {
            buffer = BytesMut::zeroed(CHUNK);
        }
        let chunk = match input.read(&mut buffer) {
            Ok(0) => {
                // Nobody waits for it when the program ends.
                let _ = sender.blocking_send(Ok(Bytes::new()));
                return;
            }
            Ok(n) => Ok(buffer.split_to(n).freeze()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

/// What goes out.
#[derive(Debug)]
pub(crate) struct Output {
    chunks: Option<mpsc::Sender<Bytes>>,
    /// `None` when it has been told.
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Output {
    pub(crate) fn stdout() -> Output {
        let (chunks, receiver) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let written = write_all(receiver);
            // Nobody listens when the program ends by something else.
            let _ = end.send(written);
        });
        Output { chunks: Some(chunks), ended: Some(ended) }
    }

    /// Writes all of `chunk`, soon.
    ///
    /// # Errors
    ///
    /// That of an earlier write, once. Of kind `BrokenPipe` where the reader has gone.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let sent = match &self.chunks {
            Some(chunks) => chunks.send(chunk).await.is_ok(),
            None => false,
        };
        match sent {
            true => Ok(()),
            false => self.finish().await.and(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits until everything is written, or cannot be. An error is told once.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.chunks = None;
        match self.ended.take() {
            // The thread ends without a word only by a panic, which has said enough.
            Some(ended) => ended.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

fn write_all(mut chunks: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut output = stdout();
    while let Some(chunk) = chunks.blocking_recv() {
        output.write_all(&chunk)?;
        output.flush()?;
    }
    Ok(())
}

/// Past the buffer of `io::stdout`, which looks for the ends of lines in everything.
#[cfg(unix)]
fn stdout() -> impl Write {
    use std::fs::File;
    use std::os::fd::AsFd;

    let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match file {
        Ok(file) => Box::new(file) as Box<dyn Write>,
        Err(_) => Box::new(io::stdout()),
    }
}

#[cfg(not(unix))]
fn stdout() -> impl Write {
    io::stdout()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    /// Gives one byte at a time, and then fails.
    struct Trickle(u8);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::ErrorKind::PermissionDenied.into()),
                n => {
                    buffer[0] = n;
                    self.0 -= 1;
                    Ok(1)
                }
            }
        }
    }

    #[tokio::test]
    async fn input_comes_in_order_and_its_error_comes_last() {
        let (sender, chunks) = mpsc::channel(QUEUE);
        let reader = thread::spawn(move || read_all(Trickle(40), &sender));
        let mut input = Input::new(chunks);
        let mut got = Vec::new();
        let error = loop {
            match input.next().await.unwrap() {
                Ok(chunk) => got.extend_from_slice(&chunk),
                Err(error) => break error,
            }
        };
        assert!(got.iter().copied().eq((1..=40).rev()));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        reader.join().unwrap();
        // The next connection must not take it for an end.
        for _ in 0..2 {
            assert!(input.next().await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn an_end_of_the_input_is_one_each_time() {
        let (sender, chunks) = mpsc::channel(QUEUE);
        let reader = thread::spawn(move || read_all(&b"all"[..], &sender));
        let mut input = Input::new(chunks);
        assert_eq!(input.next().await.unwrap().unwrap(), "all");
        reader.join().unwrap();
        for _ in 0..2 {
            assert!(input.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_is_no_end_of_the_input() {
        let (sender, chunks) = mpsc::channel(QUEUE);
        drop(sender);
        assert!(Input::new(chunks).next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_is_kept_comes_again_until_it_is_sent() {
        let (sender, chunks) = mpsc::channel(QUEUE);
        let mut input = Input::new(chunks);
        sender.send(Ok(Bytes::from_static(b"second"))).await.unwrap();
        input.keep(Bytes::from_static(b"first"));
        assert_eq!(input.next().await.unwrap().unwrap(), "first");
        input.keep(Bytes::from_static(b"gone"));
        input.sent();
        assert_eq!(input.next().await.unwrap().unwrap(), "second");
    }
}
