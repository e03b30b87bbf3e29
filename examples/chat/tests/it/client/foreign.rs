//! Servers that the client must cope with.

use anyhow::Context;
use chat::post::{Post, WELCOME};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Gob;
use h2conn::tls::Identity;
use h2conn::{Conn, Listener};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::support::TestResult;

/// Text that would harm a user's terminal.
const HARM: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}";

/// The behaviour of a server towards its clients.
#[derive(Clone, Copy)]
pub(crate) enum Manners {
    /// Lets them in, and then dismisses them.
    Dismiss,
    /// Posts text that would control a terminal.
    Harm,
    /// Refuses them with such text.
    HarmAtOnce,
}

/// Serves connections as long as the test runs, and returns the URL.
pub(crate) async fn server(manners: Manners) -> TestResult<String> {
    let identity = Identity::self_signed(["localhost"])?;
    let mut listener = Listener::builder().tls(identity).bind("127.0.0.1:0").await?;
    let addr = listener.local_addr().socket_addr().context("it is TCP")?;
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            let conn = incoming.accept().expect("a connection");
            tokio::spawn(async move { serve(&conn, manners).await.expect("a client that stays") });
        }
    });
    Ok(format!("https://localhost:{}/", addr.port()))
}

async fn serve(conn: &Conn, manners: Manners) -> TestResult {
    FramedRead::new(conn, Gob::<String>::new()).next().await.context("a name")??;
    let mut answer = FramedWrite::new(conn, Gob::<String>::new());
    if let Manners::HarmAtOnce = manners {
        answer.send(HARM.to_owned()).await?;
        return Ok(conn.close().await?);
    }
    answer.send(WELCOME.to_owned()).await?;
    let mut posts = answer.map_encoder(|_| Gob::<Post>::new());
    match manners {
        Manners::Dismiss => posts.send(Post::system("you were dismissed: no reason")).await?,
        _ => {
            posts.send(Post { here: vec![HARM.to_owned()], ..Post::system(HARM) }).await?;
            posts.send(Post { came: HARM.to_owned(), ..Post::new(HARM, HARM) }).await?;
        }
    }
    Ok(conn.close().await?)
}
