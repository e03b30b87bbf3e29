//! h2conn, both ends.

use std::net::SocketAddr;

use anyhow::Result;
use h2conn::tls::{ClientTls, Identity as Pem};
use h2conn::{Client, Incoming, Listener, ReadHalf, WriteHalf};

use super::{Link, Peer, spawn_service};
use crate::pipe::{Reader, Writer, bytes_pipe};
use crate::secure::{Identity, NAME, Trust};

#[derive(Debug)]
pub(crate) struct H2conn;

/// Conns of one link.
#[derive(Clone, Debug)]
pub(crate) struct Conns {
    client: Client,
    url: String,
}

impl Conns {
    pub(super) fn new(addr: SocketAddr, trust: Option<Trust>) -> Result<Conns> {
        let (builder, scheme) = match trust {
            None => (Client::builder(), "http"),
            Some(Trust(certificate)) => {
                let tls = ClientTls::new().only_root_certificates(certificate).server_name(NAME);
                (Client::builder().tls(tls), "https")
            }
        };
        Ok(Conns { client: builder.build()?, url: format!("{scheme}://{addr}/") })
    }
}

impl Peer for H2conn {
    type Link = Conns;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        let mut builder = Listener::builder();
        if let Some(Identity { certificate, key, .. }) = identity {
            builder = builder.tls(Pem::from_pem(certificate, key)?);
        }
        let mut listener = builder.bind("127.0.0.1:0").await?;
        let addr = listener.local_addr().to_string().parse()?;
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                take(incoming);
            }
        });
        Ok(addr)
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Conns> {
        Conns::new(addr, trust)
    }
}

fn take(incoming: Incoming) {
    // The client may have left already.
    let Ok(conn) = incoming.accept() else { return };
    let (read, write) = conn.into_split();
    let (tx, rx) = bytes_pipe(read, write, false);
    spawn_service(tx, rx);
}

impl Link for Conns {
    type Tx = Writer<WriteHalf>;
    type Rx = Reader<ReadHalf>;

    async fn open(&self) -> Result<(Self::Tx, Self::Rx)> {
        let (conn, _) = self.client.connect(&self.url).await?;
        let (read, write) = conn.into_split();
        Ok(bytes_pipe(read, write, false))
    }
}
