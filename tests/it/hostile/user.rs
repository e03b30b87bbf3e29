//! The user of a script. Some promises to it must hold whatever the peer does: an error stays,
//! nothing follows an end, and every operation has a result.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use h2conn::http::StatusCode;
use h2conn::{Client, Conn, Error, ErrorKind, Listener, ReadHalf, Reason, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::peer::Ended;
use super::script::Action;

/// The most operations that wait at the same time, and the most other connections.
const WAITING: usize = 50;
const OTHERS: usize = 20;

/// The source of connections.
pub(crate) enum Source {
    Client(Client),
    Listener(Listener),
}

pub(crate) struct User {
    reader: Option<Arc<ReadHalf>>,
    writer: Option<Arc<WriteHalf>>,
    source: Source,
    seen: Arc<Mutex<Seen>>,
    tasks: JoinSet<()>,
    others: usize,
}

/// The results of the operations so far.
#[derive(Default)]
struct Seen {
    read: Vec<u8>,
    written: Vec<u8>,
    /// How reading has ended.
    end: Option<String>,
    to_the_end: bool,
    /// A write has failed, other than by its deadline.
    write_failed: bool,
    /// This side has ended the connection, or may have.
    aborted: bool,
}

type Operation = Pin<Box<dyn Future<Output = ()> + Send>>;

impl User {
    pub(crate) fn new(conn: Conn, source: Source) -> User {
        let (reader, writer) = conn.into_split();
        User {
            reader: Some(Arc::new(reader)),
            writer: Some(Arc::new(writer)),
            source,
            seen: Arc::default(),
            tasks: JoinSet::new(),
            others: 0,
        }
    }

    pub(crate) fn act(&mut self, action: Action, patient: bool) {
        let Some(operation) = self.begin(action) else { return };
        if patient && self.tasks.len() < WAITING {
            self.tasks.spawn(operation);
        } else {
            let _ = operation.now_or_never();
        }
    }

    /// Performs operations that are ready at once. Returns an operation that may have to wait.
    fn begin(&mut self, action: Action) -> Option<Operation> {
        let seen = Arc::clone(&self.seen);
        match action {
            Action::Read(_) | Action::ReadChunk | Action::ReadToEnd => {
                let reader = self.reader.clone()?;
                return Some(Box::pin(async move { read(&reader, action, &seen).await }));
            }
            Action::Write(_)
            | Action::WriteChunk(_)
            | Action::Flush
            | Action::Sent
            | Action::Shutdown
            | Action::Close => {
                lock(&seen).aborted |= matches!(action, Action::Close);
                let writer = self.writer.clone()?;
                return Some(Box::pin(async move { write(&writer, action, &seen).await }));
            }
            Action::Whole => self.look_at_the_whole(),
            Action::Reset(code) => {
                let writer = self.writer.as_ref()?;
                lock(&seen).aborted = true;
                writer.reset(Reason::from_code(code));
            }
            Action::ReadDeadline(time) => self.reader.as_ref()?.set_read_deadline(after(time)),
            Action::WriteDeadline(time) => self.writer.as_ref()?.set_write_deadline(after(time)),
            Action::DropReader => self.reader = None,
            Action::DropWriter => {
                // The setting may be to reset on drop.
                lock(&seen).aborted = true;
                self.writer = None;
            }
            Action::Another => {
                let conn = self.another()?;
                return Some(Box::pin(use_other(conn)));
            }
        }
        None
    }

    /// Another connection, if there is one.
    fn another(&mut self) -> Option<Conn> {
        self.others += 1;
        if self.others > OTHERS {
            return None;
        }
        match &mut self.source {
            Source::Client(client) => client.open("http://raw/other").now_or_never()?.ok(),
            Source::Listener(listener) => {
                let incoming = listener.accept().now_or_never()??;
                match self.others % 4 {
                    0 => incoming.reject(StatusCode::NOT_FOUND),
                    1 => drop(incoming),
                    _ => return incoming.accept().ok(),
                }
                None
            }
        }
    }

    fn look_at_the_whole(&mut self) {
        let Some(conn) = self.whole() else { return };
        let _ = (conn.response().now_or_never(), conn.ping().now_or_never());
        let _ = (conn.closed().now_or_never(), conn.draining().now_or_never());
        self.split(conn);
    }

    /// The connection, if no other task uses its halves now.
    fn whole(&mut self) -> Option<Conn> {
        let reader = self.reader.take().map(Arc::try_unwrap);
        let writer = self.writer.take().map(Arc::try_unwrap);
        match (reader, writer) {
            (Some(Ok(reader)), Some(Ok(writer))) => {
                return Some(Conn::reunite(reader, writer).expect("the halves of one connection"));
            }
            (reader, writer) => {
                self.reader = reader.map(|half| half.map_or_else(|shared| shared, Arc::new));
                self.writer = writer.map(|half| half.map_or_else(|shared| shared, Arc::new));
            }
        }
        None
    }

    fn split(&mut self, conn: Conn) {
        let (reader, writer) = conn.into_split();
        (self.reader, self.writer) = (Some(Arc::new(reader)), Some(Arc::new(writer)));
    }

    /// After the end of the transport: all operations that wait, and all new operations, must have
    /// a result.
    pub(crate) async fn settle(mut self, ended: &Ended) {
        if let Some(reader) = &self.reader {
            reader.set_read_deadline(None);
        }
        if let Some(writer) = &self.writer {
            writer.set_write_deadline(None);
        }
        while let Some(result) = self.tasks.join_next().await {
            result.expect("an operation panicked");
        }
        if let Some(reader) = &self.reader {
            for _ in 0..3 {
                read(reader, Action::ReadToEnd, &self.seen).await;
            }
        }
        if let Some(writer) = &self.writer {
            write_to_the_end(writer, &self.seen).await;
        }
        if let Some(conn) = self.whole() {
            ask_the_whole(&conn).await;
        }
        {
            let seen = lock(&self.seen);
            ended.check_read(&seen.read, seen.to_the_end);
            ended.check_written(&seen.written);
        }
        self.source.settle().await;
    }
}

impl Source {
    async fn settle(self) {
        match self {
            Source::Client(client) => {
                if let Ok(conn) = client.open("http://raw/late").await {
                    let answer = conn.response().await;
                    assert!(answer.is_err(), "an answer after the end of the transport");
                }
                let _ = client.close().await;
            }
            Source::Listener(mut listener) => {
                while let Some(incoming) = listener.accept().await {
                    if let Ok(conn) = incoming.accept() {
                        use_other(conn).await;
                    }
                }
                listener.drain(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Seen {
    /// Returns whether there may be more to read.
    fn after_read(&mut self, result: io::Result<impl AsRef<[u8]>>, asked: bool) -> bool {
        match result.as_ref().map(AsRef::as_ref) {
            Ok([]) if !asked => return false,
            Ok([]) => {
                self.to_the_end = true;
                self.ended("the end".to_owned());
            }
            Ok(bytes) => {
                assert_eq!(self.end, None, "{} bytes come after the end", bytes.len());
                self.read.extend_from_slice(bytes);
                return true;
            }
            Err(error) if is_late(error) => {}
            Err(error) => {
                self.judge(error);
                self.ended(error.to_string());
            }
        }
        false
    }

    fn ended(&mut self, how: String) {
        // An end that this side has caused replaces an earlier result.
        if !self.aborted
            && let Some(before) = &self.end
        {
            assert_eq!(*before, how, "the end of reading has changed");
        }
        self.end = Some(how);
    }

    fn after_write(&mut self, result: io::Result<usize>, bytes: &[u8]) {
        match result {
            Ok(n) => {
                assert!(!self.write_failed, "a write after one that failed");
                assert!(n > 0 || bytes.is_empty(), "nothing of {} bytes was written", bytes.len());
                self.written.extend_from_slice(&bytes[..n]);
            }
            Err(error) if is_late(&error) => {}
            Err(error) => {
                self.judge(&error);
                self.write_failed = true;
            }
        }
    }

    /// An error must not claim that this side has ended the connection if it has not.
    fn judge(&self, error: &io::Error) {
        let text = error.to_string();
        if error.kind() == io::ErrorKind::ConnectionAborted && !self.aborted {
            assert!(text.contains("lie unread"), "{text}");
        }
    }
}

async fn read(mut reader: &ReadHalf, action: Action, seen: &Mutex<Seen>) {
    if let Action::Read(size) = action {
        let mut bytes = vec![0; size];
        let result = reader.read(&mut bytes).await;
        lock(seen).after_read(result.map(|n| &bytes[..n]), size > 0);
        return;
    }
    loop {
        let result = reader.read_chunk().await.map(Option::unwrap_or_default);
        let more = lock(seen).after_read(result.map_err(io::Error::from), true);
        if !more || matches!(action, Action::ReadChunk) {
            return;
        }
    }
}

async fn write(mut writer: &WriteHalf, action: Action, seen: &Mutex<Seen>) {
    match action {
        Action::Write(size) => {
            let bytes = some_bytes(size, seen);
            let result = writer.write(&bytes).await;
            lock(seen).after_write(result, &bytes);
        }
        Action::WriteChunk(size) => {
            let bytes = some_bytes(size, seen);
            let result = writer.write_chunk(bytes.clone().into()).await;
            lock(seen).after_write(result.map(|()| size).map_err(io::Error::from), &bytes);
        }
        Action::Flush => drop(writer.flush().await),
        Action::Sent => drop(writer.sent().await),
        Action::Close => drop(writer.close().await),
        _ => drop(writer.shutdown().await),
    }
}

/// Bytes that differ from one write to the next.
fn some_bytes(size: usize, seen: &Mutex<Seen>) -> Vec<u8> {
    let begin = lock(seen).written.len();
    (begin..begin + size).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// Writes until they fail, and checks that they then always fail in the same way.
async fn write_to_the_end(mut writer: &WriteHalf, seen: &Mutex<Seen>) {
    while !lock(seen).write_failed {
        write(writer, Action::Write(10_000), seen).await;
    }
    // This side's own error, for example after a shutdown, is replaced by the one that ends the
    // stream.
    let _ = writer.close().await;
    let mut before = None;
    for _ in 0..3 {
        let written = writer.write(b"x").await.map_err(|error| error.to_string());
        assert!(written.is_err(), "a write after one that failed");
        let sent = writer.sent().await.map_err(|error| error.to_string());
        let shut = writer.shutdown().await.map_err(|error| error.to_string());
        let flushed = writer.flush().await.map_err(|error| error.to_string());
        let now = (written, sent, shut, flushed);
        if let Some(before) = before.replace(now.clone()) {
            assert_eq!(before, now, "the end of writing has changed");
        }
    }
}

/// The operations that only a whole connection has.
async fn ask_the_whole(conn: &Conn) {
    for _ in 0..2 {
        // Whether there was a drain before the end, the script decides.
        let _ = conn.draining().now_or_never();
        assert!(conn.ping().await.is_err(), "a PING was answered after the end");
        let response = [conn.response().await.map(drop), conn.response().await.map(drop)];
        assert_eq!(text(&response[0]), text(&response[1]));
        let closed = [conn.closed().await, conn.closed().await];
        assert_eq!(text(&closed[0]), text(&closed[1]));
        let _ = conn.close().await;
        assert_eq!(text(&conn.closed().await), text(&closed[0]));
    }
}

async fn use_other(conn: Conn) {
    let (mut reader, mut writer) = (&conn, &conn);
    let mut bytes = Vec::new();
    let _ = tokio::join!(
        reader.read_to_end(&mut bytes),
        writer.write_all(&[b'o'; 1_000]),
        conn.response(),
        conn.ping(),
        conn.closed(),
    );
    let _ = conn.draining().now_or_never();
}

fn text(result: &h2conn::Result<()>) -> String {
    format!("{result:?}")
}

fn after(time: Option<u64>) -> Option<Instant> {
    time.map(|time| Instant::now() + Duration::from_millis(time))
}

/// Whether only a deadline has passed, so that the connection goes on.
fn is_late(error: &io::Error) -> bool {
    Error::from_io(error).is_some_and(|error| error.kind() == ErrorKind::TimedOut)
        && error.to_string().contains("deadline")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
