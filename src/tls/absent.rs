//! Stands for TLS in a crate that is built without it (neither feature `ring` nor `aws-lc-rs`).
//!
//! The names are those of `tls`, so that `client` and `listener` are the same in both builds. Types
//! that only a handshake would make have no values.

use bytes::Bytes;
use http::Version;

use crate::error::{Error, ErrorKind, Result};

/// The TLS settings of a client, of which there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientTls;

impl ClientTls {
    /// # Errors
    ///
    /// `InvalidInput`, always: `https://` cannot be connected to.
    pub(crate) fn build(&self) -> Result<Connector> {
        Err(Error::new(
            ErrorKind::InvalidInput,
            "https:// needs TLS, which this program was built without: enable the feature `ring` or \
             `aws-lc-rs` of h2conn, or use http:// if the server speaks cleartext HTTP/2",
        ))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Connector {}

impl Connector {
    pub(crate) async fn connect<T>(
        &self,
        _version: Version,
        _host: &str,
        _io: T,
    ) -> Result<(T, Session)> {
        match *self {}
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ServerTls {}

impl ServerTls {
    pub(crate) fn build(&self) -> Result<Acceptor> {
        match *self {}
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Acceptor {}

impl Acceptor {
    pub(crate) async fn accept<T>(&self, _io: T) -> Result<(T, Session)> {
        match *self {}
    }
}

/// There is no TLS with a socket below it.
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(crate) fn tcp_below(_io: &dyn std::any::Any) -> Option<&tokio::net::TcpStream> {
    None
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer_certificates: Vec<Bytes>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::error::ErrorKind;
    use crate::{Client, Listener};

    /// Sends a message through `client` to `listener`, and back.
    async fn echo(client: &Client, url: &str, listener: &mut Listener) {
        let server = async {
            let mut conn = listener.accept().await.unwrap().accept().unwrap();
            let mut said = Vec::new();
            conn.read_to_end(&mut said).await.unwrap();
            conn.write_all(&said).await.unwrap();
            conn.close().await.unwrap();
        };
        let user = async {
            let (mut conn, response) = client.connect(url).await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(conn.peer_certificates().is_empty());
            conn.write_all(b"in the clear").await.unwrap();
            conn.shutdown().await.unwrap();
            let mut heard = Vec::new();
            conn.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"in the clear");
        };
        tokio::join!(server, user);
    }

    #[tokio::test]
    async fn cleartext_connections_work_without_tls() {
        let mut listener = Listener::builder().bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().socket_addr().unwrap());
        let client = Client::builder().build().unwrap();
        echo(&client, &url, &mut listener).await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn unix_sockets_work_without_tls() {
        let name = format!("h2conn-without-tls-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut listener = Listener::builder().bind_unix(&path).await.unwrap();
        let client = Client::builder().unix_socket(&path).build().unwrap();
        echo(&client, "http://behind.example/", &mut listener).await;
    }

    /// Only the program knows its transport, which may be another library's TLS.
    #[tokio::test]
    async fn a_transport_of_the_programs_own_takes_any_scheme() {
        for url in ["http://pipe/", "https://pipe/"] {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let mut listener = Listener::builder().build_over(far).unwrap();
            let client = Client::builder().build_over(near).await.unwrap();
            echo(&client, url, &mut listener).await;
        }
    }

    #[tokio::test]
    async fn https_names_the_features_that_it_needs() {
        let client = Client::builder().build().unwrap();
        let error = client.connect("https://localhost:1/").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.was_not_processed());
        for part in ["https://", "`ring`", "`aws-lc-rs`", "http://"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
