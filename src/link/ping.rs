//! One PING at a time: h2 lets its user have one, so everyone who wants to know the round trip
//! shares it.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) type Answer = oneshot::Sender<Duration>;

#[derive(Debug)]
pub(super) struct Pinger {
    ping_pong: Option<PingPong>,
    /// The PING on its way, and who waits for it.
    in_flight: Option<(Instant, Vec<Answer>)>,
    waiting: Vec<Answer>,
}

impl Pinger {
    pub(super) fn new(ping_pong: Option<PingPong>) -> Pinger {
        Pinger { ping_pong, in_flight: None, waiting: Vec::new() }
    }

    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Sends what is asked for, and hands out what has come. An error is the link's, which ends
    /// in its own way: dropping the askers tells them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(ping_pong) = &mut self.ping_pong else {
            self.waiting.clear();
            return;
        };
        loop {
            if let Some((sent, askers)) = &mut self.in_flight {
                match ping_pong.poll_pong(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(_)) => {
                        let time = sent.elapsed();
                        for asker in askers.drain(..) {
                            let _ = asker.send(time);
                        }
                        self.in_flight = None;
                    }
                    Poll::Ready(Err(_)) => {
                        self.in_flight = None;
                        self.waiting.clear();
                        self.ping_pong = None;
                        return;
                    }
                }
            }
            self.waiting.retain(|asker| !asker.is_closed());
            if self.waiting.is_empty() || ping_pong.send_ping(Ping::opaque()).is_err() {
                return;
            }
            self.in_flight = Some((Instant::now(), std::mem::take(&mut self.waiting)));
        }
    }
}
