//! Standard error behind a queue. If no process reads the pipe or the terminal, a write to it does
//! not return.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::rate::{self, About, Limiter};
use super::visible::{brief, visible};

/// The most lines that wait in the queue. Further lines are dropped and counted.
const LINES: usize = 1024;

/// The most bytes that wait in the queue.
const BYTES: usize = 256 << 10;

/// How many times its patience a flush lasts, for a reader that reads slowly.
const LONGEST: u32 = 5;

/// How often counts of dropped lines are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// The queue through which all messages leave, in order. Clones share the queue.
///
/// The queue of `tracing-appender` has no bound in bytes, and it prints to standard output when it
/// cannot flush. Here standard output carries data.
#[derive(Clone, Debug)]
pub(super) struct Stderr(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// A line was written.
    drained: Condvar,
    /// Writes directly, where there is no thread.
    direct: OnceLock<Direct>,
}

struct Direct(Arc<Sink>);

/// Writes a line.
type Sink = dyn Fn(&[u8]) -> io::Result<()> + Send + Sync;

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Entry>,
    lines: usize,
    bytes: usize,
    /// The thread has taken out an entry that is not written yet.
    writing: bool,
    /// The number of entries that were written.
    written: u64,
    limiter: Limiter,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    /// The number of lines for which there was no room.
    Gap(u64),
}

impl Stderr {
    /// Starts the thread that writes. Each line is one call of `write`.
    pub(super) fn start(write: impl Fn(&[u8]) -> io::Result<()> + Send + Sync + 'static) -> Stderr {
        let (stderr, write) = (Stderr(Arc::default()), Arc::new(write));
        let (its, its_write) = (stderr.clone(), Arc::clone(&write));
        let thread = thread::Builder::new().name("stderr".to_owned());
        match thread.spawn(move || its.run(&*its_write)) {
            Ok(_) => stderr,
            // The system allows no more threads. The user must still get the messages.
            Err(_) => Stderr::without_thread(write),
        }
    }

    /// A queue without a thread: it writes at once, and waits for the reader.
    fn without_thread(
        write: Arc<impl Fn(&[u8]) -> io::Result<()> + Send + Sync + 'static>,
    ) -> Stderr {
        let direct = OnceLock::from(Direct(write));
        Stderr(Arc::new(Shared { direct, ..Shared::default() }))
    }

    /// Prints a line if there is room. A line that is too long is cut.
    pub(super) fn say(&self, line: &str) {
        self.push(&brief(line), false);
    }

    /// Prints a line however full the queue is, and however long the line is. This is for the error
    /// that ends the program, for help, and for backtraces.
    pub(super) fn say_at_any_rate(&self, line: &str) {
        self.push(&visible(line), true);
    }

    /// Prints a line, unless too many lines of its `kind` were printed about the same host.
    pub(super) fn warn(&self, about: About, kind: &'static str, line: impl FnOnce() -> String) {
        let admitted = self.lock().limiter.admit(about, kind, Instant::now());
        match admitted {
            Some(0) => self.say(&line()),
            Some(n) => {
                let said = format!("{} (and {n} more like this before)", brief(&line()));
                self.push(&said, false);
            }
            None => {}
        }
    }

    /// Prints the lines of one message, unless too many of its `kind` were printed about the same host.
    pub(super) fn block(
        &self,
        about: About,
        kind: &'static str,
        lines: impl FnOnce() -> Vec<String>,
    ) {
        let admitted = self.lock().limiter.admit(about, kind, Instant::now());
        let Some(left_out) = admitted else { return };
        if left_out > 0 {
            self.say(&rate::left_out(about, left_out, kind));
        }
        lines().iter().for_each(|line| self.say(line));
    }

    /// Waits until all lines are written, or until the reader has read nothing for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let counts = self.lock().limiter.counts(Instant::now(), true);
        counts.iter().for_each(|count| self.say(count));
        let began = Instant::now();
        let mut state = self.lock();
        let (mut written, mut moved) = (state.written, began);
        while state.writing || !state.waiting.is_empty() {
            if state.written != written {
                (written, moved) = (state.written, Instant::now());
            }
            let left = patience.saturating_sub(moved.elapsed());
            if left.is_zero() || began.elapsed() > patience * LONGEST {
                return;
            }
            let waited = self.0.drained.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line in the form in which it is shown.
    fn push(&self, shown: &str, at_any_rate: bool) {
        let line = format!("{shown}\n");
        if let Some(Direct(write)) = self.0.direct.get() {
            // If standard error is closed, no one can be told.
            let _ = write(line.as_bytes());
            return;
        }
        let mut state = self.lock();
        if at_any_rate || state.lines < LINES && state.bytes + line.len() <= BYTES {
            state.lines += 1;
            state.bytes += line.len();
            state.waiting.push_back(Entry::Line(line));
        } else if let Some(Entry::Gap(lines)) = state.waiting.back_mut() {
            *lines += 1;
        } else {
            state.waiting.push_back(Entry::Gap(1));
        }
        drop(state);
        self.0.filled.notify_one();
    }

    fn run(&self, write: &Sink) {
        loop {
            let line = match self.next() {
                Entry::Line(line) => line,
                Entry::Gap(lines) => format!(
                    "h2conn: {lines} lines were dropped here, for standard error was not read\n"
                ),
            };
            // If standard error is closed, no one can be told.
            let _ = write(line.as_bytes());
            let mut state = self.lock();
            state.writing = false;
            state.written += 1;
            drop(state);
            self.0.drained.notify_all();
        }
    }

    fn next(&self) -> Entry {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.waiting.pop_front() {
                if let Entry::Line(line) = &entry {
                    state.lines -= 1;
                    state.bytes -= line.len();
                }
                state.writing = true;
                return entry;
            }
            if state.limiter.owes_counts() {
                let waited = self.0.filled.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                let counts = state.limiter.counts(Instant::now(), false);
                for count in counts {
                    let line = format!("{count}\n");
                    state.lines += 1;
                    state.bytes += line.len();
                    state.waiting.push_back(Entry::Line(line));
                }
            } else {
                let waited = self.0.filled.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Writes a line, also to a standard error that another process has made non-blocking.
pub(super) fn write(mut line: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr();
    while !line.is_empty() {
        match stderr.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => line = &line[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            #[cfg(unix)]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                use rustix::event::{PollFd, PollFlags, poll};
                poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(600);

    /// A standard error that takes one line each time the test allows it.
    fn held() -> (Stderr, SyncSender<()>, Receiver<String>) {
        let (go, may_go) = sync_channel(1 << 20);
        let (said, lines) = channel();
        let may_go = Mutex::new(may_go);
        let stderr = Stderr::start(move |line| {
            said.send(String::from_utf8(line.to_vec()).unwrap()).map_err(io::Error::other)?;
            may_go.lock().unwrap().recv().map_err(io::Error::other)
        });
        (stderr, go, lines)
    }

    #[test]
    fn lines_leave_in_order_and_a_gap_is_said_where_it_is() {
        let (stderr, go, lines) = held();
        stderr.say("first");
        // This line is being written now, and is no longer in the queue.
        assert_eq!(lines.recv().unwrap(), "first\n");
        for n in 0..LINES + 7 {
            stderr.say(&n.to_string());
        }
        stderr.say_at_any_rate("the last word");
        for _ in 0..LINES + 3 {
            go.send(()).unwrap();
        }
        stderr.flush(WATCHDOG);
        let said: Vec<String> = lines.try_iter().collect();
        assert_eq!(said.len(), LINES + 2);
        assert!((0..LINES).all(|n| said[n] == format!("{n}\n")));
        assert!(said[LINES].contains(": 7 lines were dropped here"), "{}", said[LINES]);
        assert_eq!(said[LINES + 1], "the last word\n");
    }

    #[test]
    fn without_a_thread_lines_are_written_at_once() {
        let (said, lines) = channel();
        let stderr = Stderr::without_thread(Arc::new(move |line: &[u8]| {
            said.send(line.to_vec()).map_err(io::Error::other)
        }));
        stderr.say("first");
        stderr.say_at_any_rate("\x1b");
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [&b"first\n"[..], b"\\u{1b}\n"]);
        stderr.flush(WATCHDOG);
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let (stderr, _go, lines) = held();
        stderr.say("first");
        lines.recv().unwrap();
        let long = "x".repeat(1000);
        for _ in 0..LINES {
            stderr.say(&long);
        }
        let state = stderr.lock();
        assert!(state.bytes <= BYTES && state.lines == BYTES / 1001, "{}", state.waiting.len());
    }

    #[test]
    fn a_long_line_is_cut_unless_the_program_ends_with_it() {
        let (said, lines) = channel();
        let stderr = Stderr::without_thread(Arc::new(move |line: &[u8]| {
            said.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)
        }));
        let long = "x".repeat(12_000);
        stderr.say(&long);
        stderr.warn(About::All, "long", || long.clone());
        stderr.say_at_any_rate(&long);
        let cut = format!("{}… (10976 bytes more)\n", &long[..1024]);
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [cut.clone(), cut, format!("{long}\n")]);
    }

    #[test]
    fn a_flush_gives_up_a_reader_that_does_not_read() {
        let (stderr, _go, lines) = held();
        stderr.say("never taken");
        lines.recv().unwrap();
        stderr.say("never begun");
        stderr.flush(Duration::from_millis(10));
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn the_lines_of_a_message_are_printed_or_left_out_together() {
        let (said, lines) = channel();
        let stderr = Stderr::without_thread(Arc::new(move |line: &[u8]| {
            said.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)
        }));
        let message = || vec!["* first".to_owned(); 30];
        for _ in 0..1000 {
            stderr.block(About::All, "connection", message);
        }
        let said: Vec<String> = lines.try_iter().collect();
        let whole = said.iter().filter(|line| *line == "* first\n").count();
        // One more message for each second that this takes.
        assert!((300..3000).contains(&whole) && whole % 30 == 0, "{whole}");
        assert!(stderr.lock().limiter.owes_counts());
    }

    #[test]
    fn a_peer_that_has_the_same_said_again_and_again_is_counted() {
        let (stderr, go, lines) = held();
        for _ in 0..2001 {
            go.send(()).unwrap();
        }
        for n in 0..2000 {
            stderr.warn(About::All, "refused", || format!("refused {n}"));
        }
        stderr.flush(WATCHDOG);
        let said: Vec<String> = lines.try_iter().collect();
        // One more line for each second that this takes.
        assert!(said.len() >= 11 && said.len() < 1000, "{}", said.len());
        assert!(said.last().unwrap().ends_with(" more lines were left out (refused)\n"));
    }
}
