//! A member's connection, and the next one when it is lost.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Gob;
use h2conn::tls::ClientTls;
use h2conn::{Backoff, Client, Conn, ErrorKind, OnDrop};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::task::AbortOnDropHandle;

use super::talk::MAX_UNSAID;
use crate::post::{Post, TAKEN, WELCOME};

/// How many events may wait. A post may be large.
const EVENTS: usize = 8;

/// The room to join, and the user's name.
#[derive(Clone, Debug)]
pub struct Login {
    /// The URL of the room.
    pub url: String,
    /// The user's name there.
    pub name: String,
    /// The certificates to trust.
    pub tls: ClientTls,
}

/// The time limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The first pause before a new connection. Each further pause is twice as long, give or take a quarter: see `Backoff`.
    pub pause: Duration,
    /// The longest pause. After a connection that lasted longer, the next pause is the first again.
    pub max_pause: Duration,
    /// How often the server is asked whether it is still there.
    pub ping: Duration,
    /// How long the server may take to answer a ping or a name.
    pub answer: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(8),
            ping: Duration::from_secs(15),
            answer: Duration::from_secs(10),
        }
    }
}

/// An event of a session.
#[derive(Debug)]
pub enum Event {
    /// The session is in the room, and posts the lines that it gets through this sender. Dropping
    /// the sender leaves the room: lines are still sent, and the replies are still received.
    Joined(mpsc::Sender<String>),
    /// A member has posted something.
    Post(Post),
    /// The connection is gone, or could not be made again, for this reason. After the pause there
    /// is another attempt.
    Lost(String, Duration),
    /// The server has ended the connection, and is not going away itself. Its last post may be the
    /// reason. The next attempt waits for [`Session::again`].
    Dismissed,
    /// The user has left. The last event.
    Left,
    /// The first attempt to join has failed, for this reason. The last event.
    Failed(String),
}

/// A place in a room, kept over many connections. Dropping it ends the present connection at once.
#[derive(Debug)]
pub struct Session {
    events: mpsc::Receiver<Event>,
    again: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Session {
    /// Begins to connect.
    pub fn start(login: Login, timing: Timing) -> Session {
        let (sender, events) = mpsc::channel(EVENTS);
        let again = Arc::new(Notify::new());
        let run = Run { login, timing, events: sender, again: Arc::clone(&again) };
        let task = AbortOnDropHandle::new(tokio::spawn(run.run()));
        Session { events, again, _task: task }
    }

    /// The next event, or `None` after the last one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that has already happened, if there is one.
    pub fn try_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Ends the pause before the next attempt.
    pub fn again(&self) {
        self.again.notify_one();
    }
}

struct Run {
    login: Login,
    timing: Timing,
    events: mpsc::Sender<Event>,
    again: Arc<Notify>,
}

enum End {
    Left,
    Dismissed,
}

impl Run {
    async fn run(self) {
        let mut backoff = Backoff::new().min(self.timing.pause).max(self.timing.max_pause);
        let been_in = AtomicBool::new(false);
        loop {
            match self.attend(&been_in).await {
                Ok(End::Left) => return self.tell(Event::Left).await,
                Ok(End::Dismissed) => {
                    self.tell(Event::Dismissed).await;
                    self.again.notified().await;
                    backoff.reset();
                }
                Err(error) if !been_in.load(Ordering::Relaxed) => {
                    return self.tell(Event::Failed(explained(&error))).await;
                }
                Err(error) => {
                    let pause = backoff.pause();
                    self.tell(Event::Lost(error.to_string(), pause)).await;
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.again.notified() => {}
                    }
                }
            }
        }
    }

    async fn tell(&self, event: Event) {
        // If there is no listener, this task is about to be aborted.
        let _ = self.events.send(event).await;
    }

    /// One connection, from its beginning to its end.
    async fn attend(&self, been_in: &AtomicBool) -> Result<End> {
        // Use a new client each time, because a client would keep a link that does not answer.
        let client = Client::builder().tls(self.login.tls.clone()).build()?;
        let (conn, _response) = client.connect(&self.login.url).await?;
        conn.on_drop(OnDrop::Reset);
        let mut incoming = FramedRead::new(&conn, Gob::<String>::new());
        let mut outgoing = FramedWrite::new(&conn, Gob::<String>::new());
        let log_in = async {
            outgoing.send(self.login.name.clone()).await?;
            incoming
                .next()
                .await
                .context("the server left the name unanswered")?
                .map_err(Into::into)
        };
        let answer = timeout(self.timing.answer, log_in).await;
        let answer: Result<String> = answer.context("the server does not answer to the name")?;
        let answer = answer?;
        if answer != WELCOME {
            // Only the answer matters.
            let _ = conn.close().await;
            let hint = if answer == TAKEN { "; --name NAME is another one" } else { "" };
            bail!("the server refuses the name {:?}: {answer:?}{hint}", self.login.name);
        }
        been_in.store(true, Ordering::Relaxed);
        let incoming = incoming.map_decoder(|_| Gob::<Post>::new());
        let outgoing = outgoing.map_encoder(|_| Gob::<Post>::new());
        let end = self.stay(&conn, incoming, outgoing).await?;
        client.close().await?;
        Ok(end)
    }

    async fn stay(
        &self,
        conn: &Conn,
        mut incoming: FramedRead<&Conn, Gob<Post>>,
        mut outgoing: FramedWrite<&Conn, Gob<Post>>,
    ) -> Result<End> {
        let (sender, mut lines) = mpsc::channel::<String>(MAX_UNSAID);
        self.tell(Event::Joined(sender)).await;
        let has_left = AtomicBool::new(false);
        let say = async {
            while let Some(message) = lines.recv().await {
                // A Go server shows the time that the client sends.
                outgoing.send(Post::new("", message).at(Timestamp::now())).await?;
            }
            has_left.store(true, Ordering::Relaxed);
            outgoing.close().await
        };
        let hear = async {
            while let Some(post) = incoming.next().await.transpose()? {
                self.tell(Event::Post(post)).await;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            heard = hear => heard?,
            // A server that takes no more may still send something, at least the reason.
            never = async { drop(say.await); pending().await } => never,
            silent = self.silence(conn) => return Err(silent),
        }
        let has_left = has_left.load(Ordering::Relaxed);
        // A server that stops ends all connections, and can be expected back. It says so while this
        // one is not over.
        let stops = !has_left && timeout(Duration::from_secs(1), conn.draining()).await.is_ok();
        // The server has sent everything. Its reaction to this end does not matter.
        let _ = conn.close().await;
        match (has_left, stops) {
            (true, _) => Ok(End::Left),
            (false, true) => bail!("the server is going away"),
            (false, false) => Ok(End::Dismissed),
        }
    }

    /// Waits until the server does not answer a ping.
    async fn silence(&self, conn: &Conn) -> anyhow::Error {
        let Timing { ping, answer, .. } = self.timing;
        loop {
            sleep(ping).await;
            match timeout(answer, conn.ping()).await {
                Ok(Ok(_)) => {}
                // Reads report the reason.
                Ok(Err(_)) => pending().await,
                Err(_) => return anyhow!("the server has been silent for {answer:?}"),
            }
        }
    }
}

/// Why there is no connection, in terms of this program's options: the library's errors name its own.
fn explained(error: &anyhow::Error) -> String {
    let kind = error.downcast_ref::<h2conn::Error>().map(h2conn::Error::kind);
    let hint = match kind {
        Some(ErrorKind::Tls) => {
            "; --cacert FILE trusts the certificates in a PEM file, and -k any certificate"
        }
        _ => "",
    };
    format!("{error:#}{hint}")
}
