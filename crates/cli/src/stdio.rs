//! Standard input and output as chunks of bytes. Each has a thread of its own, because no system
//! call waits for files, terminals and pipes alike.

use std::io::{self, Read, Write};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

/// The capacity of a pipe on Linux.
const CHUNK: usize = 64 * 1024;

/// How many chunks wait between a thread and the runtime. With this many, neither side waits for
/// the other all the time.
const QUEUE: usize = 8;

/// The input. It outlives connections: the next connection continues where the last one ended.
#[derive(Debug)]
pub(crate) struct Input {
    /// An empty chunk is the end. If the channel closes without an empty chunk, the input has
    /// broken off: an error was reported before, or the thread is gone.
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    has_ended: bool,
    /// A chunk that was read, and that no connection has taken.
    unsent: Option<Bytes>,
}

impl Input {
    /// Standard input. Its thread ends with the process, because a read cannot be cancelled.
    pub(crate) fn stdin() -> Input {
        let (sender, chunks) = mpsc::channel(QUEUE);
        thread::spawn(move || read_all(io::stdin().lock(), &sender));
        Input::new(chunks)
    }

    fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Input {
        Input { chunks, has_ended: false, unsent: None }
    }

    /// The next bytes, or `None` at the end. After an error no end follows, but another error.
    /// Dropping the future loses nothing.
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

    /// Keeps a chunk, to return it again until it is [`sent`](Input::sent).
    pub(crate) fn keep(&mut self, chunk: Bytes) {
        self.unsent = Some(chunk);
    }

    /// The chunk that was kept is sent.
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
                // At the end of the program nothing receives it.
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

/// The output.
#[derive(Debug)]
pub(crate) struct Output {
    chunks: Option<mpsc::Sender<Piece>>,
    /// `None` once the result has been returned.
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

/// A message to the thread of the output.
#[derive(Debug)]
enum Piece {
    Chunk(Bytes),
    /// The question whether all chunks before it are written.
    Question(oneshot::Sender<()>),
}

impl Output {
    pub(crate) fn stdout() -> Output {
        Output::new(stdout)
    }

    fn new<W: Write>(output: impl FnOnce() -> W + Send + 'static) -> Output {
        let (chunks, receiver) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let written = write_all(output(), receiver);
            // If another error ends the program, nothing receives the result.
            let _ = end.send(written);
        });
        Output { chunks: Some(chunks), ended: Some(ended) }
    }

    /// Queues all of `chunk` to be written.
    ///
    /// # Errors
    ///
    /// The error of an earlier write, once. Its kind is `BrokenPipe` if the reader has gone.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        match self.put(Piece::Chunk(chunk)).await {
            true => Ok(()),
            false => Err(self.failure().await),
        }
    }

    /// Waits until all that was queued so far is written.
    ///
    /// # Errors
    ///
    /// Those of [`Output::write`].
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        if self.put(Piece::Question(answer)).await && answered.await.is_ok() {
            return Ok(());
        }
        Err(self.failure().await)
    }

    /// Waits until a write fails, and returns its error. Dropping the future loses nothing.
    pub(crate) async fn failed(&mut self) -> io::Error {
        if let Some(chunks) = &self.chunks {
            chunks.closed().await;
        }
        self.failure().await
    }

    async fn put(&self, piece: Piece) -> bool {
        match &self.chunks {
            Some(chunks) => chunks.send(piece).await.is_ok(),
            None => false,
        }
    }

    /// The error of a thread that takes no more.
    async fn failure(&mut self) -> io::Error {
        self.finish().await.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits until everything is written, or cannot be written. An error is returned once. Dropping
    /// the future loses nothing.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.chunks = None;
        let Some(ended) = &mut self.ended else { return Ok(()) };
        // Only a panic ends the thread without a result, and a panic has printed its own message.
        let result = ended.await.unwrap_or(Ok(()));
        self.ended = None;
        result
    }
}

fn write_all(mut output: impl Write, mut pieces: mpsc::Receiver<Piece>) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Chunk(chunk) => {
                output.write_all(&chunk)?;
                output.flush()?;
            }
            Piece::Question(answer) => {
                // A caller that has gone needs no answer.
                let _ = answer.send(());
            }
        }
    }
    Ok(())
}

/// Writes past the buffer of `io::stdout`, which searches all bytes for line ends.
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
        // The next connection must not take the error for an end.
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

    /// Takes this many bytes, and then has no room left.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.min(bytes.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                n => {
                    self.0 -= n;
                    Ok(n)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_error_of_the_last_write_is_known_without_another_write() {
        let chunk = || Bytes::from_static(b"four");
        let mut output = Output::new(|| Disk(8));
        for _ in 0..2 {
            output.write(chunk()).await.unwrap();
            output.settle().await.unwrap();
        }
        output.write(chunk()).await.unwrap();
        assert_eq!(output.settle().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(output.settle().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        output.finish().await.unwrap();

        let mut output = Output::new(|| Disk(3));
        output.write(chunk()).await.unwrap();
        assert_eq!(output.failed().await.kind(), io::ErrorKind::StorageFull);
    }
}
