//! The server's part of each pipe. The client orders it in the first bytes.

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};

use crate::pipe::{Rx, Tx, receive};

/// The services of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Take `count` messages, and answer with one byte.
    Sink,
    /// Send `count` messages.
    Source,
    /// Both at once.
    Both,
    /// Answer each of `count` messages with one of the same size.
    Echo,
}

/// A service, and the number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) service: Service,
    pub(crate) size: usize,
    pub(crate) count: u64,
}

/// The bytes of an order on the wire.
const LEN: usize = 13;

impl Order {
    pub(crate) fn bytes(self) -> u64 {
        self.size as u64 * self.count
    }

    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(LEN);
        bytes.put_u8(self.service as u8);
        bytes.put_u32(self.size as u32);
        bytes.put_u64(self.count);
        bytes.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Order> {
        let bytes: &[u8; LEN] = bytes.try_into().context("an order has 13 bytes")?;
        let service = match bytes[0] {
            0 => Service::Sink,
            1 => Service::Source,
            2 => Service::Both,
            3 => Service::Echo,
            other => bail!("there is no service {other}"),
        };
        let size = u32::from_be_bytes(bytes[1..5].try_into()?) as usize;
        let count = u64::from_be_bytes(bytes[5..].try_into()?);
        Ok(Order { service, size, count })
    }
}

/// A message of `size` bytes.
pub(crate) fn message(size: usize) -> Bytes {
    (0..size).map(|i| i as u8).collect()
}

/// Performs the client's orders one after another, until the client leaves.
pub(crate) async fn serve(mut tx: impl Tx, mut rx: impl Rx) -> Result<()> {
    let mut seen = BytesMut::new();
    loop {
        while seen.len() < LEN {
            if rx.recv().await? == 0 {
                ensure!(seen.is_empty(), "the client left within an order");
                return Ok(());
            }
            seen.extend_from_slice(rx.piece());
        }
        let order = Order::decode(&seen.split_to(LEN))?;
        // The bytes that arrived together with the order.
        let early = seen.split().len() as u64;
        let message = message(order.size);
        match order.service {
            Service::Sink => {
                receive(&mut rx, order.bytes() - early).await?;
                tx.send(&Bytes::from_static(b"!")).await?;
            }
            Service::Source => {
                for _ in 0..order.count {
                    tx.send(&message).await?;
                }
            }
            Service::Both => {
                let sending = async move {
                    for _ in 0..order.count {
                        tx.send(&message).await?;
                    }
                    anyhow::Ok(tx)
                };
                let sending = tokio::spawn(sending);
                receive(&mut rx, order.bytes() - early).await?;
                tx = sending.await??;
            }
            Service::Echo => {
                let mut early = early;
                for _ in 0..order.count {
                    let here = early.min(order.size as u64);
                    early -= here;
                    receive(&mut rx, order.size as u64 - here).await?;
                    tx.send(&message).await?;
                }
            }
        }
    }
}
