//! One member, from the first byte of its connection to the last.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::{CodecError, CodecErrorKind, Gob, Json};
use h2conn::{Conn, OnDrop, Reason};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite};

use crate::post::{MAX_MESSAGE_SIZE, Post, WELCOME};
use crate::room::{Delivery, Mail, Member, Room};

/// How long a client may take to send its name.
const LOGIN: Duration = Duration::from_secs(10);

/// How long a member that leaves, or must leave, may take to read its last posts.
const FAREWELL: Duration = Duration::from_secs(5);

/// The least time between two posts of a member. A client that sends more is read no faster.
const BETWEEN_POSTS: Duration = Duration::from_millis(50);

/// How many posts are sent at once, if that many wait.
const BATCH: usize = 64;

/// The most bytes of one message. Clients accept this much by default.
const MAX_SENT_SIZE: usize = 1 << 20;

/// Descriptions of a valid name and a valid post, for a client that has sent something else.
#[derive(Clone, Copy)]
struct Expected {
    name: &'static str,
    post: &'static str,
}

/// Serves a member whose client speaks gob.
pub async fn in_gob(room: &Room, conn: &Conn) -> Result<()> {
    let expected = Expected {
        name: "the first value in gob is your name, a string",
        post: "a post in gob is a struct with a string named Message",
    };
    let login = |size| Gob::<String>::new().max_message_size(size);
    attend(room, conn, expected, login, |size| Gob::<Post>::new().max_message_size(size)).await
}

/// Serves a member whose client speaks JSON.
pub async fn in_json(room: &Room, conn: &Conn) -> Result<()> {
    let expected = Expected {
        name: r#"the first value in JSON is your name, such as "ada""#,
        post: r#"a post in JSON is an object such as {"message": "hello"}"#,
    };
    let login = |size| Json::<String>::new().max_message_size(size);
    attend(room, conn, expected, login, |size| Json::<Post>::new().max_message_size(size)).await
}

/// Serves a member in any format. One of the two functions makes a codec for the name and the
/// answer to it, the other makes one for posts. Both take the limit of a message in bytes.
async fn attend<L, P>(
    room: &Room,
    conn: &Conn,
    expected: Expected,
    login: impl Fn(usize) -> L,
    posts: impl Fn(usize) -> P,
) -> Result<()>
where
    L: Decoder<Item = String, Error = CodecError> + Encoder<String, Error = CodecError>,
    P: Decoder<Item = Post, Error = CodecError> + Encoder<Post, Error = CodecError>,
{
    // The client must not take a fault of this server for a good end.
    conn.on_drop(OnDrop::Reset);
    let mut incoming = FramedRead::new(conn, login(MAX_MESSAGE_SIZE));
    let mut outgoing = FramedWrite::new(conn, login(MAX_SENT_SIZE));
    let joined = match timeout(LOGIN, incoming.next()).await {
        Ok(Some(Ok(name))) => room.join(&name),
        Ok(Some(Err(error))) => Err(refusal(error, expected.name)?),
        Ok(None) => Err(format!("you left without a name; {}", expected.name)),
        Err(_) => Err(format!("there was no name within {} s", LOGIN.as_secs())),
    };
    let (member, mail) = match joined {
        Ok(joined) => joined,
        Err(reason) => {
            let refused = async {
                outgoing.send(reason.clone()).await?;
                anyhow::Ok(conn.close().await?)
            };
            timeout(FAREWELL, refused).await.context("does not take its refusal")??;
            bail!("refused: {reason}");
        }
    };
    tracing::info!("{} is in", member.name());
    outgoing.feed(WELCOME.to_owned()).await?;
    let incoming = incoming.map_decoder(|_| posts(MAX_MESSAGE_SIZE));
    let outgoing = outgoing.map_encoder(|_| posts(MAX_SENT_SIZE));
    let name = member.name().to_owned();
    stay(member, mail, conn, expected.post, incoming, outgoing).await.context(name)
}

/// Moves posts both ways until one side ends.
async fn stay<P>(
    member: Member,
    mail: Mail,
    conn: &Conn,
    expected: &str,
    incoming: FramedRead<&Conn, P>,
    outgoing: FramedWrite<&Conn, P>,
) -> Result<()>
where
    P: Decoder<Item = Post, Error = CodecError> + Encoder<Post, Error = CodecError>,
{
    let (last_word, to_say) = oneshot::channel();
    let mut delivery = pin!(deliver(mail.posts, to_say, outgoing));
    let dismissed = tokio::select! {
        // Delivery lasts as long as the member has its place, so this is an error.
        delivered = &mut delivery => return delivered,
        Ok(reason) = mail.dismissal => Some(reason),
        heard = listen(incoming, &member, expected) => match heard {
            Ok(()) => None,
            Err(error) => Some(refusal(error, expected)?),
        },
    };
    drop(member);
    match &dismissed {
        Some(reason) => drop(last_word.send(reason.clone())),
        None => drop(last_word),
    }
    let farewell = async {
        delivery.await?;
        anyhow::Ok(conn.close().await?)
    };
    match timeout(FAREWELL, farewell).await {
        Ok(end) => end?,
        // A client that reads again later must see that something is missing.
        Err(_) => conn.reset(Reason::ENHANCE_YOUR_CALM),
    }
    match dismissed {
        Some(reason) => bail!("sent away: {reason}"),
        None => Ok(()),
    }
}

/// Reads the client's posts, until the client ends its direction.
async fn listen<P>(
    mut posts: FramedRead<&Conn, P>,
    member: &Member,
    expected: &str,
) -> Result<(), CodecError>
where
    P: Decoder<Item = Post, Error = CodecError>,
{
    let mut pace = interval(BETWEEN_POSTS);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(post) = posts.next().await.transpose()? {
        pace.tick().await;
        if !member.post(&post.message).await {
            member.tell(&format!("nobody got a post of yours without a message; {expected}")).await;
        }
    }
    Ok(())
}

/// Writes the room's posts for the client. If the member was dismissed, writes the reason at the
/// end.
async fn deliver<P>(
    mut posts: mpsc::Receiver<Delivery>,
    last_word: oneshot::Receiver<String>,
    mut to: FramedWrite<&Conn, P>,
) -> Result<()>
where
    P: Encoder<Post, Error = CodecError>,
{
    let mut batch = Vec::with_capacity(BATCH);
    while posts.recv_many(&mut batch, BATCH).await > 0 {
        for delivery in &batch {
            to.feed(Post::clone(&delivery.post)).await?;
        }
        to.flush().await?;
        batch.clear();
    }
    if let Ok(reason) = last_word.await {
        to.send(Post::system(reason).at(Timestamp::now())).await?;
    }
    Ok(())
}

/// The message for a client that sent something else than what is expected, or the error of a lost
/// connection.
fn refusal(error: CodecError, expected: &str) -> Result<String, CodecError> {
    match error.kind() {
        CodecErrorKind::Io => Err(error),
        _ => Ok(format!("you sent what cannot be read: {error}; {expected}")),
    }
}
