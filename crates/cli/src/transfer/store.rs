//! The server's files: one directory, and nothing outside of it.

mod digests;
mod give;
mod quota;
mod secrets;
mod take;
mod tidy;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use h2conn::Incoming;
use h2conn::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, sleep};

use super::access::Mode;
use super::digest::Digest;
use super::given::Given;
use super::partial::{Busy, Partial};
use super::patience::Patience;
use super::send::parse_have;
use super::step::step;
use super::{RECV, SEND, name};
use crate::places::{Full, Peer, Places};
use crate::report::{About, warn};
use digests::{Digests, Turns};
use quota::{Quota, Share};
use secrets::Named;
pub(crate) use secrets::Secrets;

/// A directory whose files are offered, and that accepts files if this is allowed. No name and no
/// link leads out of it: each part of a path is looked up beneath the open directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: Arc<Dir>,
    /// Windows tells the free space of a path only.
    #[cfg(not(unix))]
    path: Arc<Path>,
    takes: bool,
    patience: Patience,
    places: Places<Turns>,
    digests: Digests,
    quota: Quota,
    asked_quota: Option<u64>,
    secrets: Secrets,
}

/// The limits for clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Whether clients may send files.
    pub(crate) takes: bool,
    /// The most transfers at once.
    pub(crate) most: usize,
    /// How long a client may let nothing move.
    pub(crate) idle: Option<Duration>,
    /// The most bytes of all partial files, or `None` if the file system decides.
    pub(crate) quota: Option<u64>,
}

/// The refusal of a request for a file.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    text: String,
    /// The time after which the client may try again, in seconds.
    retry_after: Option<&'static str>,
    /// Another transfer has the file.
    is_busy: bool,
}

/// How long a transfer that was broken off may take to notice it, and to let go of its file.
const LETTING_GO: Duration = Duration::from_secs(5);

/// The time between two attempts to open such a file.
const PAUSE: Duration = Duration::from_millis(50);

/// The purpose of a request.
enum Wish {
    /// To receive the file, of which the client has a part with this length and digest.
    Recv(u64, Digest),
    /// To send a file of this size with these permission bits.
    Send(u64, Option<Mode>),
}

impl Store {
    /// Opens the directory `path`.
    pub(crate) fn open(path: &Path, limits: Limits) -> io::Result<Store> {
        let Limits { takes, most, idle, quota: asked_quota } = limits;
        let dir = Arc::new(Dir::open_ambient_dir(path, ambient_authority())?);
        let patience = Patience::new(idle);
        let store = Store {
            dir,
            #[cfg(not(unix))]
            path: path.into(),
            takes,
            patience,
            places: Places::new(most, "transfers", "--max-transfers"),
            digests: Digests::new(),
            quota: Quota::new(asked_quota.unwrap_or(u64::MAX)),
            asked_quota,
            secrets: Secrets::default(),
        };
        store.renew_quota();
        Ok(store)
    }

    /// The same store, of which no client can read or replace these files.
    pub(crate) fn without(self, secrets: Secrets) -> Store {
        Store { secrets, ..self }
    }

    /// Answers a request for `path`, and does what it asks for.
    ///
    /// # Errors
    ///
    /// The failure, for the server's own log. The client has been told.
    pub(crate) async fn serve(&self, incoming: Incoming, peer: Peer, path: &str) -> Result<String> {
        let wish = match wish(incoming.headers()) {
            Ok(wish) => wish,
            Err(error) => {
                return Err(refuse(incoming, Refused::new(StatusCode::BAD_REQUEST, error)));
            }
        };
        let place = match self.places.take(peer) {
            Ok(place) => place,
            Err(full) => return Err(refuse(incoming, Refused::without_place(full))),
        };
        match wish {
            Wish::Recv(len, digest) => {
                let opened = self.blocking(path, |store, path| store.open_to_give(&path)).await;
                match opened {
                    Ok(given) => give::serve(incoming, given, (len, digest), self, &place).await,
                    Err(refused) => Err(refuse(incoming, refused)),
                }
            }
            Wish::Send(size, mode) => match self.take_over(path, size, peer).await {
                Ok(partial) => take::serve(incoming, partial, size, mode, self, &place).await,
                Err(refused) => Err(refuse(incoming, refused)),
            },
        }
    }

    /// Opens the partial file for `path`. The transfer that has it may be one that was broken off, which the same client
    /// goes on with.
    async fn take_over(
        &self,
        path: &str,
        size: u64,
        peer: Peer,
    ) -> Result<(Partial, Share), Refused> {
        let until = Instant::now() + LETTING_GO;
        loop {
            let open = move |store: Store, path: String| store.open_to_take(&path, size, peer);
            match self.blocking(path, open).await {
                Err(refused) if refused.is_busy && Instant::now() < until => sleep(PAUSE).await,
                opened => return opened,
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        path: &str,
        open: impl FnOnce(Store, String) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let (store, path) = (self.clone(), path.to_owned());
        let opened = step(move || open(store, path)).await;
        opened.unwrap_or_else(|error| {
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.into()))
        })
    }

    fn open_to_give(&self, path: &str) -> Result<Given, Refused> {
        let name = name::parse(path).map_err(Refused::by_name)?;
        let by_system = |error| Refused::by_system(path, &error);
        // Check this before opening: to open some devices has effects.
        if !self.dir.metadata(&name).map_err(by_system)?.is_file() {
            return Err(Refused::new(StatusCode::NOT_FOUND, anyhow::anyhow!("{path} is no file")));
        }
        // Links in the path lead to a directory and a name, and those count.
        let real = self.dir.canonicalize(&name).map_err(by_system)?;
        if let Some(name) = real.file_name() {
            let dir = self.dir_of(&real).map_err(by_system)?;
            self.refuse_secret(&dir, name, path, "clients do not get it")?;
        }
        let open = || self.dir.open_with(&name, &Given::options());
        let file = self.secrets.open(|| open().map(cap_std::fs::File::into_std));
        let Some(file) = file.map_err(Refused::unchecked)?.map_err(by_system)? else {
            return Err(Refused::as_a_secret(path, "clients do not get it"));
        };
        Given::of(file).map_err(|error| {
            Refused::new(StatusCode::FORBIDDEN, error.context(format!("{path} cannot be sent")))
        })
    }

    fn open_to_take(&self, path: &str, size: u64, peer: Peer) -> Result<(Partial, Share), Refused> {
        if !self.takes {
            let error =
                anyhow::anyhow!("this server gives files and takes none (--writable is not set)");
            return Err(Refused::new(StatusCode::FORBIDDEN, error));
        }
        let name = name::parse(path).map_err(Refused::by_name)?;
        let dir = self.dir_of(&name).map_err(|error| Refused::by_system(path, &error))?;
        let Some(name) = name.file_name() else {
            return Err(Refused::by_name(anyhow::anyhow!("{path} is no file's name")));
        };
        let by_system = |error| Refused::by_system(path, &error);
        self.secrets.look().map_err(Refused::unchecked)?;
        self.refuse_secret(&dir, name, path, "clients cannot put a file in its place")?;
        match dir.symlink_metadata(name) {
            Ok(_) => {
                let error = anyhow::anyhow!("{path} is there already, and is not replaced");
                return Err(Refused::new(StatusCode::CONFLICT, error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // For example a name that is too long, which would otherwise be found only once all
            // bytes have arrived.
            Err(error) => return Err(by_system(error)),
        }
        let partial = Partial::open(dir, name, None).map_err(|error| {
            // Clients try again only after the first status: the other transfer will end.
            let is_busy = error.is::<Busy>();
            let status = match is_busy {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Refused { is_busy, ..Refused::new(status, error) }
        })?;
        // A secret can have been given the name of the partial file since the start.
        if self.secrets.have(&partial.handle()).map_err(Refused::unchecked)? {
            return Err(Refused::as_a_secret(path, "clients cannot replace it"));
        }
        match self.quota.begin(&partial.handle(), size, peer) {
            Ok(Ok(share)) => Ok((partial, share)),
            Ok(Err(full)) => Err(Refused::new(StatusCode::INSUFFICIENT_STORAGE, full.into())),
            Err(error) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.into())),
        }
    }
}

impl Store {
    /// The directory in which a name is.
    fn dir_of(&self, name: &Path) -> io::Result<Dir> {
        match name.parent().filter(|parent| *parent != Path::new("")) {
            Some(parent) => self.dir.open_dir(parent),
            None => self.dir.try_clone(),
        }
    }

    /// Refuses the name of a secret. Some file systems give no file a number that stays.
    fn refuse_secret(&self, dir: &Dir, name: &OsStr, path: &str, how: &str) -> Result<(), Refused> {
        match self.secrets.named(dir, name) {
            Named::Other => Ok(()),
            Named::Secret => Err(Refused::as_a_secret(path, how)),
            Named::Alike => {
                let error = anyhow::anyhow!(
                    "{path} differs only in the case of letters from a secret of this server (its token or private \
                     key), and {how}"
                );
                Err(Refused::new(StatusCode::FORBIDDEN, error))
            }
        }
    }
}

fn wish(headers: &HeaderMap) -> Result<Wish> {
    let field = |name| headers.get(name).map(|value| value.to_str().context("a field is no text"));
    match (field(RECV).transpose()?, field(SEND).transpose()?) {
        (Some(have), None) => parse_have(have).map(|(len, digest)| Wish::Recv(len, digest)),
        (None, Some(size)) => {
            Ok(Wish::Send(size.parse().context("the size of the file")?, Mode::said(headers)?))
        }
        _ => anyhow::bail!(
            "this is for `h2conn recv` and `h2conn send`: expected the field {RECV} or {SEND}"
        ),
    }
}

/// Tells the client, and returns the error for the log.
fn refuse(incoming: Incoming, refused: Refused) -> anyhow::Error {
    let mut response = Response::new(Bytes::from(format!("{}\n", refused.text)));
    *response.status_mut() = refused.status;
    if let Some(seconds) = refused.retry_after {
        let seconds = HeaderValue::from_static(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    incoming.reject_with(response);
    anyhow::anyhow!("{}: {}", refused.status.as_u16(), refused.text)
}

impl Refused {
    fn without_place(full: Full) -> Refused {
        let text = format!(
            "there is no place for another transfer now: {full}; try again when one of yours has ended"
        );
        Refused {
            retry_after: Some("1"),
            ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, anyhow::anyhow!(text))
        }
    }

    fn new(status: StatusCode, error: anyhow::Error) -> Refused {
        Refused { status, text: format!("{error:#}"), retry_after: None, is_busy: false }
    }

    fn as_a_secret(path: &str, how: &str) -> Refused {
        let text =
            format!("{path} is a secret of this server (its token or private key), and {how}");
        Refused::new(StatusCode::FORBIDDEN, anyhow::anyhow!("{text}"))
    }

    /// The server cannot tell its secrets from other files. The reason names its paths, so it is only for the log.
    fn unchecked(error: anyhow::Error) -> Refused {
        warn(About::All, "secrets", format_args!("h2conn: {error:#}; no file is given or taken"));
        let text = "the server cannot tell its secrets from other files now; its log says why";
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, anyhow::anyhow!("{text}"))
    }

    fn by_name(error: anyhow::Error) -> Refused {
        Refused::new(StatusCode::NOT_FOUND, error)
    }

    fn by_system(path: &str, error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Refused::new(StatusCode::NOT_FOUND, anyhow::anyhow!("there is no file {path}"))
            }
            io::ErrorKind::InvalidFilename => {
                Refused::by_name(anyhow::anyhow!("{path} is no name for a file, or too long"))
            }
            // Links that lead out of the directory are among these.
            _ => Refused::new(StatusCode::FORBIDDEN, anyhow::anyhow!("{path} cannot be opened")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use h2conn::{Client, Listener};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::transfer::patience::Idle;

    const LIMITS: Limits =
        Limits { takes: true, most: 8, idle: Some(Duration::from_secs(60)), quota: None };

    /// Has the store serve one request with this field, to a client that runs the given code.
    async fn serve(
        store: &Store,
        name: &str,
        field: (&'static str, &str),
        client: impl AsyncFnOnce(&h2conn::Conn),
    ) -> Result<String> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut listener = Listener::builder().build_over(far).unwrap();
        let caller = Client::builder().header(field.0, field.1).initial_window_size(1 << 10);
        let caller = caller.build_over(near).await.unwrap();
        let serving =
            async { store.serve(listener.accept().await.unwrap(), Peer::LOCAL, name).await };
        let talking = async {
            let (conn, _) = caller.connect("http://localhost/").await.unwrap();
            client(&conn).await;
            std::future::pending::<()>().await;
        };
        tokio::select! { served = serving => served, () = talking => unreachable!() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_is_cut_off_and_does_not_keep_the_name_of_its_file() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path(), LIMITS).unwrap();
        let begun = tokio::time::Instant::now();
        let stalled = serve(&store, "file", (SEND, "1000"), async |conn| {
            let mut conn = conn;
            conn.write_all(b"from 0\nx").await.unwrap();
        });
        let error = stalled.await.unwrap_err();
        assert!(error.is::<Idle>(), "{error:#}");
        // A byte may arrive between two checks.
        assert!(begun.elapsed() < Duration::from_secs(63), "{:?}", begun.elapsed());
        assert_eq!(std::fs::read(temp.path().join("file.h2conn-part")).unwrap(), b"x");
        store.open_to_take("file", 1000, Peer::LOCAL).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::File::create(temp.path().join("file")).unwrap().set_len(4 << 20).unwrap();
        let store = Store::open(temp.path(), LIMITS).unwrap();
        let have = format!("0 {}", crate::transfer::digest::Hasher::default().digest());
        let error = serve(&store, "file", (RECV, &have), async |_| {}).await.unwrap_err();
        assert!(error.is::<Idle>(), "{error:#}");
    }
}
