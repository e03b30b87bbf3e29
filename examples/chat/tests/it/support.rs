//! A server for the tests, and members without a terminal.

use std::time::Duration;

use anyhow::{Context, ensure};
use chat::post::Post;
use chat::room::Limits;
use chat::server::Server;
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::Gob;
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, ClientBuilder, Conn};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

/// The result of a test: any error fails the test, and is printed with its whole chain.
pub(crate) type TestResult<T = ()> = anyhow::Result<T>;

/// Fails a test that takes longer than it should.
pub(crate) async fn within<T>(
    seconds: u64,
    test: impl Future<Output = TestResult<T>>,
) -> TestResult<T> {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, test).await.context("not done in time")?
}

/// A chat on a free port of this machine.
pub(crate) struct Site {
    pub(crate) url: String,
    /// The certificate in PEM.
    pub(crate) certificate: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<TestResult>,
}

impl Site {
    pub(crate) fn new(limits: Limits) -> TestResult<Site> {
        let identity = Identity::self_signed(["localhost", "127.0.0.1"])?;
        let certificate = identity.certificate_pem();
        let server = Server::bind("127.0.0.1:0", identity, limits)?;
        let url = server.url()?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.run(async { drop(stopped.await) }));
        Ok(Site { url, certificate, stop, serving })
    }

    /// The settings of a client that trusts this server.
    pub(crate) fn client(&self) -> ClientBuilder {
        Client::builder().tls(ClientTls::new().only_root_certificates(&self.certificate))
    }

    pub(crate) async fn connect(&self) -> TestResult<Conn> {
        Ok(self.client().build()?.connect(&self.url).await?.0)
    }

    pub(crate) async fn join(&self, name: &str) -> TestResult<Guest> {
        let mut guest =
            Guest::login(self.connect().await?, name).await?.map_err(anyhow::Error::msg)?;
        // Read the server's greeting.
        guest.read_until(|post| post.came == name).await?;
        Ok(guest)
    }

    pub(crate) async fn stop(self) -> TestResult {
        let _ = self.stop.send(());
        self.serving.await?
    }
}

/// A member of the room, in gob.
pub(crate) struct Guest(Framed<Conn, Gob<Post>>);

impl Guest {
    /// Sends its name. The inner error is the server's reason for a refusal.
    pub(crate) async fn login(conn: Conn, name: &str) -> TestResult<Result<Guest, String>> {
        let mut conn = conn.framed(Gob::<String>::new());
        conn.send(name.to_owned()).await?;
        let answer = conn.next().await.context("no answer to the name")??;
        if answer != "ok" {
            ensure!(conn.next().await.is_none(), "more after the refusal");
            return Ok(Err(answer));
        }
        Ok(Ok(Guest(conn.map_codec(|_| Gob::new()))))
    }

    pub(crate) async fn post(&mut self, message: &str) -> TestResult {
        Ok(self.0.send(Post::new("", message)).await?)
    }

    /// The next post, or `None` at the end.
    pub(crate) async fn next(&mut self) -> TestResult<Option<Post>> {
        Ok(self.0.next().await.transpose()?)
    }

    pub(crate) async fn read_until(&mut self, wanted: impl Fn(&Post) -> bool) -> TestResult<Post> {
        loop {
            let post = self.next().await?.context("the server ended the connection")?;
            if wanted(&post) {
                return Ok(post);
            }
        }
    }

    pub(crate) fn conn(&self) -> &Conn {
        self.0.get_ref()
    }
}
