//! h2conn at both ends: with `AsyncRead` and `AsyncWrite`, and with chunks.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use h2conn::tls::{ClientTls, Identity as Pem};
use h2conn::{Client, Conn, Listener, ReadHalf, WriteHalf};

use super::{Link, Peer, spawn_service};
use crate::pipe::{Reader, Rx, Tx, Writer, bytes_pipe};
use crate::secure::{Identity, NAME, Trust};

#[derive(Debug)]
pub(crate) struct H2conn;

/// The Conns of one link (an HTTP/2 connection).
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

    async fn halves(&self) -> Result<(ReadHalf, WriteHalf)> {
        let (conn, _) = self.client.connect(&self.url).await?;
        Ok(conn.into_split())
    }
}

impl Peer for H2conn {
    type Link = Conns;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, |conn| {
            let (read, write) = conn.into_split();
            let (tx, rx) = bytes_pipe(read, write, false);
            spawn_service(tx, rx);
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Conns> {
        Conns::new(addr, trust)
    }
}

async fn listen(
    identity: Option<Identity>,
    serve: impl Fn(Conn) + Send + 'static,
) -> Result<SocketAddr> {
    let mut builder = Listener::builder();
    if let Some(Identity { certificate, key, .. }) = identity {
        builder = builder.tls(Pem::from_pem(certificate, key)?);
    }
    let mut listener = builder.bind("127.0.0.1:0").await?;
    let addr = listener.local_addr().to_string().parse()?;
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            // The client may have left already.
            let Ok(conn) = incoming.accept() else { continue };
            serve(conn);
        }
    });
    Ok(addr)
}

impl Link for Conns {
    type Tx = Writer<WriteHalf>;
    type Rx = Reader<ReadHalf>;

    async fn open(&self) -> Result<(Self::Tx, Self::Rx)> {
        let (read, write) = self.halves().await?;
        Ok(bytes_pipe(read, write, false))
    }
}

/// The same, with `write_chunk` and `read_chunk`, which move large `Bytes` without a copy.
#[derive(Debug)]
pub(crate) struct Chunks;

#[derive(Clone, Debug)]
pub(crate) struct ChunkConns(Conns);

impl Peer for Chunks {
    type Link = ChunkConns;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, |conn| {
            let (read, write) = conn.into_split();
            spawn_service(ChunkWriter(write), ChunkReader { read, piece: Bytes::new() });
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<ChunkConns> {
        Ok(ChunkConns(Conns::new(addr, trust)?))
    }
}

impl Link for ChunkConns {
    type Tx = ChunkWriter;
    type Rx = ChunkReader;

    async fn open(&self) -> Result<(ChunkWriter, ChunkReader)> {
        let (read, write) = self.0.halves().await?;
        Ok((ChunkWriter(write), ChunkReader { read, piece: Bytes::new() }))
    }
}

pub(crate) struct ChunkWriter(WriteHalf);

impl Tx for ChunkWriter {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.write_chunk(message.clone()).await?)
    }
}

pub(crate) struct ChunkReader {
    read: ReadHalf,
    piece: Bytes,
}

impl Rx for ChunkReader {
    async fn recv(&mut self) -> Result<usize> {
        self.piece = self.read.read_chunk().await?.unwrap_or_default();
        Ok(self.piece.len())
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}
