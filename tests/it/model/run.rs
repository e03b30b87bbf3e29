//! The two ends of a connection, the operations on them, and the expected results.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use h2conn::testing::Pair;
use h2conn::{ReadHalf, Reason, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use crate::support::trickle::Trickle;

/// The next operation at one of the two ends. Futures are polled once and dropped.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write(usize),
    WriteChunk(usize),
    Read(usize),
    ReadChunk,
    Flush,
    Sent,
    Shutdown,
    DropReader,
    DropWriter,
    Reset,
    ReadDeadline(bool),
    WriteDeadline(bool),
    /// Lets the drivers run.
    Yield(usize),
}

/// The path between the two ends.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) window: u32,
    pub(crate) send_queue: usize,
    pub(crate) pipe: usize,
    pub(crate) step: usize,
}

impl Setting {
    fn most(&self) -> usize {
        let narrowest = (self.window as usize).min(self.send_queue).min(self.pipe);
        narrowest.saturating_mul(20).max(20)
    }
}

/// The byte at a position of a direction. Runs of these bytes repeat only far apart.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// One end, and its expected state.
struct End {
    reader: Option<ReadHalf>,
    writer: Option<WriteHalf>,
    /// Bytes that this end has written, and bytes that it has read.
    written: usize,
    read: usize,
    /// This end will send no more, and has ended its direction.
    finished: bool,
    read_late: bool,
    write_late: bool,
}

impl End {
    fn new((reader, writer): (ReadHalf, WriteHalf)) -> End {
        End {
            reader: Some(reader),
            writer: Some(writer),
            written: 0,
            read: 0,
            finished: false,
            read_late: false,
            write_late: false,
        }
    }
}

/// Polls once. A future that is not ready is dropped.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

struct Model {
    ends: [End; 2],
    /// The most bytes of one write. Through a very narrow pipe they are fewer.
    most: usize,
    /// One end has reset the stream: errors must follow, and bytes may be lost.
    reset: bool,
}

impl Model {
    async fn apply(&mut self, side: usize, operation: &Operation) {
        match operation {
            Operation::Write(size) => self.write(side, *size, false).await,
            Operation::WriteChunk(size) => self.write(side, *size, true).await,
            Operation::Read(size) => {
                self.read(side, *size).await;
            }
            Operation::ReadChunk => self.read_chunk(side).await,
            Operation::Flush => {
                if let Some(mut writer) = self.ends[side].writer.as_ref() {
                    let result = once(writer.flush()).await.expect("a flush is ready at once");
                    self.check_write(side, result, true);
                }
            }
            Operation::Sent => {
                if let Some(writer) = self.ends[side].writer.as_ref()
                    && let Some(result) = once(writer.sent()).await
                {
                    self.check_write(side, result.map_err(io::Error::from), true);
                }
            }
            Operation::Shutdown => {
                if let Some(mut writer) = self.ends[side].writer.as_ref() {
                    let result = once(writer.shutdown()).await;
                    self.ends[side].finished = true;
                    if let Some(result) = result {
                        self.check_write(side, result, true);
                    }
                }
            }
            Operation::DropReader => self.ends[side].reader = None,
            Operation::DropWriter => {
                self.ends[side].finished = true;
                self.ends[side].writer = None;
            }
            Operation::Reset => {
                if let Some(writer) = self.ends[side].writer.as_ref() {
                    writer.reset(Reason::CANCEL);
                    self.reset = true;
                }
            }
            Operation::ReadDeadline(past) => {
                if let Some(reader) = self.ends[side].reader.as_ref() {
                    reader.set_read_deadline(past.then(Instant::now));
                    self.ends[side].read_late = *past;
                }
            }
            Operation::WriteDeadline(past) => {
                if let Some(writer) = self.ends[side].writer.as_ref() {
                    writer.set_write_deadline(past.then(Instant::now));
                    self.ends[side].write_late = *past;
                }
            }
            Operation::Yield(times) => {
                for _ in 0..*times {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn write(&mut self, side: usize, size: usize, chunk: bool) {
        let size = size.min(self.most);
        let end = &self.ends[side];
        let Some(mut writer) = end.writer.as_ref() else { return };
        let bytes: Vec<u8> = (end.written..end.written + size).map(byte).collect();
        let result = if chunk {
            let written = once(writer.write_chunk(bytes.into())).await;
            written.map(|result| result.map(|()| size).map_err(io::Error::from))
        } else {
            once(writer.write(&bytes)).await
        };
        if let Some(result) = result {
            if let Ok(n) = &result {
                assert!(*n <= size && (*n > 0 || size == 0), "{n} of {size} bytes were written");
                self.ends[side].written += n;
            }
            self.check_write(side, result, false);
        } else {
            assert!(!self.ends[side].write_late, "it waits past its deadline");
        }
    }

    fn check_write<T>(&self, side: usize, result: io::Result<T>, ends_too: bool) {
        let end = &self.ends[side];
        match result {
            Ok(_) => assert!(!end.write_late, "a write past its deadline"),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => assert!(end.write_late),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !ends_too => {
                assert!(end.finished || self.reset || self.is_let_go(side), "{error}");
            }
            Err(error) => assert!(self.reset || self.is_let_go(side), "{error}"),
        }
    }

    /// Returns whether the stream has ended for this reader.
    async fn read(&mut self, side: usize, size: usize) -> bool {
        let Some(mut reader) = self.ends[side].reader.as_ref() else { return true };
        let mut bytes = vec![0; size];
        match once(reader.read(&mut bytes)).await {
            None => {
                assert!(!self.ends[side].read_late, "it waits past its deadline");
                false
            }
            Some(Ok(n)) if n > 0 || size == 0 => {
                self.check_read(side, &bytes[..n]);
                false
            }
            Some(Ok(_)) => {
                self.check_end(side);
                true
            }
            Some(Err(error)) => self.check_read_error(side, &error),
        }
    }

    async fn read_chunk(&mut self, side: usize) {
        let Some(reader) = self.ends[side].reader.as_ref() else { return };
        match once(reader.read_chunk()).await {
            None => assert!(!self.ends[side].read_late, "it waits past its deadline"),
            Some(Ok(Some(bytes))) => {
                assert!(!bytes.is_empty(), "an empty chunk");
                self.check_read(side, &bytes);
            }
            Some(Ok(None)) => self.check_end(side),
            Some(Err(error)) => {
                self.check_read_error(side, &error.into());
            }
        }
    }

    fn check_read(&mut self, side: usize, bytes: &[u8]) {
        let end = &mut self.ends[side];
        assert!(!end.read_late, "a read past its deadline");
        for (at, got) in bytes.iter().enumerate() {
            assert_eq!(*got, byte(end.read + at), "byte {} at side {side}", end.read + at);
        }
        end.read += bytes.len();
        assert!(self.ends[side].read <= self.ends[1 - side].written, "more than was written");
    }

    fn check_end(&self, side: usize) {
        let (end, other) = (&self.ends[side], &self.ends[1 - side]);
        assert!(!end.read_late, "a read past its deadline");
        assert!(other.finished, "the end of a stream that nobody ended");
        assert_eq!(end.read, other.written, "the end came before all bytes");
    }

    /// Returns whether the error is final.
    fn check_read_error(&self, side: usize, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::TimedOut {
            assert!(self.ends[side].read_late, "{error}");
            return false;
        }
        assert!(self.reset || self.is_let_go(side), "{error}");
        true
    }

    /// Whether the other end has dropped everything: it drains for a while, and then resets.
    fn is_let_go(&self, side: usize) -> bool {
        let other = &self.ends[1 - side];
        other.reader.is_none() && other.finished
    }

    /// Ends everything that has not ended, and reads everything.
    async fn finish(&mut self) {
        for side in 0..2 {
            self.apply(side, &Operation::ReadDeadline(false)).await;
            self.apply(side, &Operation::WriteDeadline(false)).await;
            self.apply(side, &Operation::Shutdown).await;
        }
        let mut ended = [false; 2];
        while ended != [true; 2] {
            for (side, ended) in ended.iter_mut().enumerate() {
                while !*ended {
                    let before = self.ends[side].read;
                    *ended = self.read(side, 100_000).await;
                    if self.ends[side].read == before {
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Performs the operations, each at its side.
pub(crate) fn run(setting: &Setting, operations: &[(usize, Operation)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let (a, b) = duplex(setting.pipe);
        let (a, b) = (Trickle(a, setting.step), Trickle(b, setting.step));
        let builder =
            Pair::builder().initial_window_size(setting.window).send_queue_size(setting.send_queue);
        let mut pair = builder.over(a, b).await.expect("a pair");
        let (client, server) = pair.open().await.expect("a connection");
        let ends = [End::new(client.into_split()), End::new(server.into_split())];
        let mut model = Model { ends, most: setting.most(), reset: false };
        for (side, operation) in operations {
            model.apply(*side, operation).await;
        }
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, model.finish()).await.expect("it hangs");
    });
}
