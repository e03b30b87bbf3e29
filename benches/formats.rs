//! Messages per second in each format, over a `Conn` and over plain TCP, with the same codec.
//!
//! Both ends are in this process, on the threads of one runtime, and use the loopback interface.
//! The received messages are compared with the sent ones.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::{Fixed, Gob, Json, Postcard};
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Conn, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec, LinesCodec};

use support::{Message, Rounds};

/// The number of messages between two looks at the clock. They all differ.
const BATCH: u64 = 64;

#[derive(Parser)]
struct Options {
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many milliseconds each measurement takes. A round has 54 measurements.
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Given by `cargo bench`. Without it, as with `cargo test`, this program only checks that it
    /// runs.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The way in which messages are sent.
#[derive(Clone, Copy)]
enum Way {
    /// One after another, flushed when the codec's buffer is full, and at the end.
    Feed,
    /// One after another, each flushed.
    Send,
    /// Each after the one before has come back.
    RoundTrips,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { rounds, millis, bench } = Options::parse();
    let (rounds, millis) = if bench { (rounds.max(1), millis) } else { (1, 1) };
    println!("medians of {rounds} rounds of {millis} ms each (least to most)\n");
    let mut bench = Bench {
        time: Duration::from_millis(millis),
        tcp: TcpListener::bind("127.0.0.1:0").await?,
        conns: Link::new(false).await?,
        tls: Link::new(true).await?,
        table: BTreeMap::new(),
    };
    let structs: Vec<Message> = (0..BATCH).map(Message::new).collect();
    let texts: Vec<String> = (0..BATCH).map(|id| format!("{id:064}")).collect();
    let arrays: Vec<[u8; 64]> =
        texts.iter().filter_map(|text| text.as_bytes().try_into().ok()).collect();
    let frames: Vec<Bytes> = arrays.iter().map(|array| Bytes::copy_from_slice(array)).collect();
    for _ in 0..rounds {
        bench.measure("Json", Json::<Message>::new, &structs).await?;
        bench.measure("Gob", Gob::<Message>::new, &structs).await?;
        bench.measure("Postcard", Postcard::<Message>::new, &structs).await?;
        bench.measure("Fixed<64>", Fixed::<64>::new, &arrays).await?;
        bench.measure("LengthDelimitedCodec", LengthDelimitedCodec::new, &frames).await?;
        let lines = || LinesCodec::new_with_max_length(1 << 16);
        bench.measure("LinesCodec", lines, &texts).await?;
    }
    bench.print();
    bench.conns.close().await;
    bench.tls.close().await;
    Ok(())
}

struct Bench {
    time: Duration,
    tcp: TcpListener,
    conns: Link,
    tls: Link,
    table: BTreeMap<(&'static str, &'static str), Row>,
}

/// Messages per second.
#[derive(Default)]
struct Row {
    tcp: Rounds,
    conn: Rounds,
    tls: Rounds,
}

impl Bench {
    /// Measures one round: each way over each transport, one right after another.
    async fn measure<C, Out>(
        &mut self,
        format: &'static str,
        codec: impl Fn() -> C,
        messages: &[Out],
    ) -> Result<()>
    where
        C: Codec<Out>,
        Out: Clone + Send + Sync + 'static,
    {
        for (name, way) in
            [("feed", Way::Feed), ("send", Way::Send), ("round trips", Way::RoundTrips)]
        {
            let run = Run { way, time: self.time, messages: messages.to_vec() };
            let row = self.table.entry((format, name)).or_default();
            let (near, far) = tcp_pair(&self.tcp).await?;
            row.tcp.push(run.clone().over(near, far, &codec).await?);
            let (near, far) = self.conns.pair().await?;
            row.conn.push(run.clone().over(near, far, &codec).await?);
            let (near, far) = self.tls.pair().await?;
            row.tls.push(run.over(near, far, &codec).await?);
        }
        Ok(())
    }

    fn print(&self) {
        println!(
            "{:<33}{:>9}{:>11}  {:<22}{:>11}  to TCP",
            "messages a second", "TCP", "Conn", "to TCP", "with TLS"
        );
        for ((format, way), row) in &self.table {
            println!(
                "{format:<22}{way:<11}{:>9.0}{:>11.0}  {:<22}{:>11.0}  {}",
                row.tcp.median(),
                row.conn.median(),
                row.conn.ratio_to(&row.tcp),
                row.tls.median(),
                row.tls.ratio_to(&row.tcp),
            );
        }
    }
}

/// The traits that all codecs share. An item that was read can be sent back.
trait Codec<Out>:
    Encoder<Out, Error: Error + Send + Sync + 'static>
    + Decoder<Item: PartialEq<Out> + Into<Out> + Send, Error: Error + Send + Sync + 'static>
    + Send
    + 'static
{
}

impl<C, Out> Codec<Out> for C where
    C: Encoder<Out, Error: Error + Send + Sync + 'static>
        + Decoder<Item: PartialEq<Out> + Into<Out> + Send, Error: Error + Send + Sync + 'static>
        + Send
        + 'static
{
}

/// One measurement. The messages are sent again and again.
#[derive(Clone)]
struct Run<Out> {
    way: Way,
    time: Duration,
    messages: Vec<Out>,
}

impl<Out: Clone + Send + Sync + 'static> Run<Out> {
    /// Messages per second, until the last one has arrived.
    async fn over<T, C>(self, near: T, far: T, codec: impl Fn() -> C) -> Result<f64>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C: Codec<Out>,
    {
        let limit = self.time + Duration::from_secs(30);
        let (near, far) = (Framed::new(near, codec()), Framed::new(far, codec()));
        let (way, messages) = (self.way, self.messages.clone());
        let start = Instant::now();
        let far = tokio::spawn(async move {
            match way {
                Way::RoundTrips => echo(far).await,
                Way::Feed | Way::Send => receive(far, &messages).await,
            }
        });
        let near = tokio::spawn(self.send(near));
        let (sent, received) = timeout(limit, async { tokio::join!(near, far) }).await?;
        let (sent, received) = (sent??, received??);
        let time = start.elapsed();
        ensure!(sent == received, "{sent} messages were sent, and {received} received");
        Ok(sent as f64 / time.as_secs_f64())
    }

    async fn send<T, C>(self, mut near: Framed<T, C>) -> Result<u64>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin,
        C: Codec<Out>,
    {
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < self.time {
            for message in &self.messages {
                match self.way {
                    Way::Feed => near.feed(message.clone()).await?,
                    Way::Send => near.send(message.clone()).await?,
                    Way::RoundTrips => {
                        near.send(message.clone()).await?;
                        let answer = near.next().await.context("no answer")??;
                        ensure!(answer == *message, "the answer is another message");
                    }
                }
                sent += 1;
            }
        }
        near.close().await?;
        ensure!(near.next().await.is_none(), "there is more than was asked for");
        Ok(sent)
    }
}

async fn receive<T, C, Out>(mut far: Framed<T, C>, messages: &[Out]) -> Result<u64>
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
    C: Codec<Out>,
{
    let (mut received, mut expected) = (0, messages.iter().cycle());
    while let Some(message) = far.next().await.transpose()? {
        ensure!(expected.next().is_some_and(|expected| message == *expected), "not what was sent");
        received += 1;
    }
    Ok(received)
}

async fn echo<T, C, Out>(mut far: Framed<T, C>) -> Result<u64>
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
    C: Codec<Out>,
{
    let mut received = 0;
    while let Some(message) = far.next().await.transpose()? {
        far.send(message.into()).await?;
        received += 1;
    }
    Ok(received)
}

async fn tcp_pair(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let (far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// A client and a listener. All their `Conn`s are streams of one TCP connection.
struct Link {
    listener: Listener,
    client: Client,
    url: String,
}

impl Link {
    async fn new(with_tls: bool) -> Result<Link> {
        let (listener, client) = (Listener::builder(), Client::builder());
        let (scheme, listener, client) = if with_tls {
            let identity = Identity::self_signed(["127.0.0.1"])?;
            let tls = ClientTls::new().only_root_certificates(identity.certificate_pem());
            ("https", listener.tls(identity), client.tls(tls))
        } else {
            ("http", listener, client)
        };
        let listener = listener.bind("127.0.0.1:0").await?;
        let url = format!("{scheme}://{}/", listener.local_addr());
        Ok(Link { listener, client: client.build()?, url })
    }

    async fn pair(&mut self) -> Result<(Conn, Conn)> {
        let accepted = async {
            let incoming = self.listener.accept().await.context("the listener has ended")?;
            Ok(incoming.accept()?)
        };
        let connected = async { Ok(self.client.connect(&self.url).await?.0) };
        tokio::try_join!(connected, accepted)
    }

    async fn close(self) {
        self.client.close().await.expect("the server is here");
        self.listener.drain(Duration::from_secs(5)).await;
    }
}
