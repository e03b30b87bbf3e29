//! tonic: bidirectional streaming of gRPC, with a codec that leaves messages unchanged.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc as ClientGrpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc as ServerGrpc, StreamingService};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use super::{Link, Peer, STREAMS, spawn_service};
use crate::pipe::{Rx, Tx};
use crate::secure::{self, Identity, Io, Trust, dial};

#[derive(Debug)]
pub(crate) struct Tonic;

#[derive(Clone, Debug)]
pub(crate) struct Calls(Channel);

/// How many messages may wait for tonic.
const WAITING: usize = 32;

impl Peer for Tonic {
    type Link = Calls;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let identity = identity.map(|identity| identity.alpn(b"h2"));
        let (sockets, incoming) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(io) = secure::accept(socket, identity.as_ref()).await {
                    let _ = sockets.send(Ok::<_, Infallible>(Socket(io))).await;
                }
            }
        });
        let service = service_fn(async |request| {
            let response = ServerGrpc::new(Raw).streaming(Serve, request).await;
            Ok::<_, Infallible>(response)
        });
        let server = Server::builder().max_concurrent_streams(STREAMS);
        tokio::spawn(server.serve_with_incoming(service, ReceiverStream::new(incoming)));
        Ok(addr)
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Calls> {
        let connect = service_fn(move |_| {
            let trust = trust.clone();
            async move { dial(addr, trust.as_ref(), b"h2").await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        Ok(Calls(endpoint.connect_with_connector(connect).await?))
    }
}

impl Link for Calls {
    type Tx = Sender;
    type Rx = Receiver;

    async fn open(&self) -> Result<(Sender, Receiver)> {
        let (tx, messages) = mpsc::channel(WAITING);
        let mut grpc = ClientGrpc::new(self.0.clone());
        grpc.ready().await?;
        let path = PathAndQuery::from_static("/peers.Pipe/Open");
        let request = Request::new(ReceiverStream::new(messages));
        let response = grpc.streaming(request, path, Raw).await?;
        Ok((Sender(Send::Request(tx)), Receiver::new(response.into_inner())))
    }
}

struct Serve;

impl StreamingService<Bytes> for Serve {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + std::marker::Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (tx, messages) = mpsc::channel(WAITING);
        spawn_service(Sender(Send::Response(tx)), Receiver::new(request.into_inner()));
        let messages: Self::ResponseStream = Box::pin(ReceiverStream::new(messages));
        std::future::ready(Ok(Response::new(messages)))
    }
}

enum Send {
    Request(mpsc::Sender<Bytes>),
    Response(mpsc::Sender<Result<Bytes, Status>>),
}

pub(crate) struct Sender(Send);

impl Tx for Sender {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        match &self.0 {
            Send::Request(tx) => tx.send(message.clone()).await?,
            Send::Response(tx) => tx.send(Ok(message.clone())).await?,
        }
        Ok(())
    }
}

pub(crate) struct Receiver {
    messages: Streaming<Bytes>,
    piece: Bytes,
}

impl Receiver {
    fn new(messages: Streaming<Bytes>) -> Receiver {
        Receiver { messages, piece: Bytes::new() }
    }
}

impl Rx for Receiver {
    async fn recv(&mut self) -> Result<usize> {
        self.piece = match self.messages.next().await.transpose()? {
            Some(piece) => piece,
            None => return Ok(0),
        };
        Ok(self.piece.len())
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}

/// Messages are plain bytes.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// tonic asks for a socket's addresses; this type reports none.
struct Socket(Io);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
