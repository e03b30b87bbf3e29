//! One PING at a time: h2 lets its user have one, so everyone who wants to know the round trip
//! shares it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

/// Peers take many PINGs for an attack, ours included, so they are not sent faster than this.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Duration>;

#[derive(Debug)]
pub(super) struct Pinger {
    /// `None` when the link has ended.
    ping_pong: Option<PingPong>,
    /// The PING on its way, and who waits for it.
    in_flight: Option<(Instant, Vec<Answer>)>,
    waiting: Vec<Answer>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pinger {
    pub(super) fn new(ping_pong: Option<PingPong>) -> Pinger {
        Pinger { ping_pong, in_flight: None, waiting: Vec::new(), pause: None }
    }

    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Sends what is asked for, and hands out what has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if self.poll_pong(cx).is_err() {
            // The link ends in its own way; dropping the askers tells them.
            self.ping_pong = None;
            self.in_flight = None;
        }
        if self.ping_pong.is_none() {
            self.waiting.clear();
        }
        self.send(cx);
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Result<(), h2::Error> {
        let (Some(ping_pong), Some((sent, _))) = (&mut self.ping_pong, &self.in_flight) else {
            return Ok(());
        };
        let (sent, Poll::Ready(pong)) = (*sent, ping_pong.poll_pong(cx)) else { return Ok(()) };
        pong?;
        for asker in self.in_flight.take().into_iter().flat_map(|(_, askers)| askers) {
            let _ = asker.send(sent.elapsed());
        }
        self.pause = Some(Box::pin(sleep_until(sent + PAUSE)));
        Ok(())
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        self.waiting.retain(|asker| !asker.is_closed());
        if self.waiting.is_empty() || self.in_flight.is_some() {
            return;
        }
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
            return;
        }
        self.pause = None;
        let Some(ping_pong) = &mut self.ping_pong else { return };
        if ping_pong.send_ping(Ping::opaque()).is_ok() {
            self.in_flight = Some((Instant::now(), std::mem::take(&mut self.waiting)));
            // Registers for the answer; it cannot be there yet.
            let _ = ping_pong.poll_pong(cx);
        }
    }
}
