//! The pool over memory, with dials that the test controls.

use std::future::pending;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::client::policy::LinkPolicy;
use crate::config::Config;
use crate::conn::{Addr, Conn, LinkInfo, Transport};
use crate::link::{Backlog, Budget, Entrance, backlog};
use crate::listener::Incoming;
use crate::observe::Side;

fn origin() -> Origin {
    Origin { tls: false, host: "memory".to_owned(), port: 80 }
}

fn info(side: Side) -> LinkInfo {
    LinkInfo::new(side, Addr::Other, Addr::Other)
}

/// A server of links over memory, and a pool of links to it.
struct Site {
    pool: Pool,
    client: Config,
    server: Config,
    offers: Arc<Entrance>,
    incoming: Backlog,
}

impl Site {
    fn new(rules: Rules, client: Config, max_conns: u32) -> Site {
        let (offers, incoming) = backlog(20_000, 1 << 20);
        let offers = Arc::new(offers);
        let server = Config { max_conns, ..Config::default() };
        Site { pool: Pool::new(rules, None), client, server, offers, incoming }
    }

    async fn dial(&self, terms: Terms) -> Result<(Link, Lease)> {
        let (client, server) = duplex(64 << 10);
        let (config, offers) = (self.server.clone(), Arc::clone(&self.offers));
        tokio::spawn(async move {
            let budget = Budget::new(config.max_memory);
            let (io, info) = (Box::new(server), info(Side::Server));
            let link = Link::server(io, Bytes::new(), info, &config, &offers, &budget);
            // A listener keeps its links for as long as they live.
            let _ = link.ended().await;
        });
        let config = Config { pace: terms.pace, ..self.client.clone() };
        let info = info(Side::Client);
        Ok(Link::client(Box::new(client), info, &config, terms.places))
    }

    async fn place(&self) -> Result<Lease> {
        self.pool.place(&origin(), |terms| self.dial(terms)).await
    }

    async fn open(&self) -> Conn {
        open(self.place().await.expect("a place"))
    }

    /// The server's end of the next connection.
    async fn accept(&mut self) -> Conn {
        let offer = self.incoming.next().await.expect("a request");
        Incoming::new(offer).accept().expect("its client is there")
    }

    fn stats(&self) -> OriginStats {
        self.pool.slot(&origin()).expect("open").stats(String::new())
    }
}

fn open(lease: Lease) -> Conn {
    let request = http::Request::post("http://memory/").body(()).expect("a plain request");
    Conn::new(lease.open(request.into_parts().0, Transport::Request))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

const fn rules(policy: LinkPolicy, max_links: usize) -> Rules {
    Rules { policy, max_links, patience: Duration::from_secs(5) }
}

const SHARED: Rules = rules(LinkPolicy::Shared, 16);

#[tokio::test(start_paused = true)]
async fn a_link_ends_when_it_was_idle_for_the_whole_time_and_no_earlier() {
    let idle = Duration::from_secs(90);
    let config = Config { link_idle_timeout: Some(idle), ..Config::default() };
    let mut site = Site::new(SHARED, config, 10);
    for pause in [0, 30, 89] {
        let conn = site.open().await;
        let served = site.accept().await;
        // The time in use does not count as idle.
        tokio::time::sleep(2 * idle).await;
        assert_eq!(site.stats().conns(), 1);
        conn.reset(crate::Reason::CANCEL);
        drop((conn, served));
        tokio::time::sleep(Duration::from_secs(pause)).await;
        assert_eq!(site.stats().links_open(), 1, "after {pause} s");
    }
    // The last pause was 89 seconds, so the link lived.
    assert_eq!(site.pool.stats().dials, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(site.stats().links_open(), 0);
    // A link with a place given out is not idle, even though no stream is open.
    let lease = site.place().await.expect("a place");
    tokio::time::sleep(3 * idle).await;
    assert_eq!((site.stats().links_open(), site.stats().conns()), (1, 1));
    drop(lease);
    tokio::time::sleep(idle + Duration::from_secs(1)).await;
    assert_eq!(site.stats().links.len(), 0, "the driver hears of a place that was given back");
}

#[tokio::test]
async fn a_link_whose_stream_ids_are_nearly_used_up_is_replaced_unnoticed() {
    const SPARE: u32 = 1 << 16;
    // The third stream has the identifier 5.
    let config = Config { last_stream_id: 2 * SPARE + 5, ..Config::default() };
    let mut site = Site::new(SHARED, config, 1000);
    // Two streams before the limit, and one that reaches it.
    let mut conns = Vec::new();
    for _ in 0..3 {
        let conn = site.open().await;
        conns.push((conn, site.accept().await));
    }
    let stats = site.stats();
    assert_eq!((stats.links_open(), stats.links_going_away()), (0, 1), "{stats:?}");
    for _ in 0..3 {
        let conn = site.open().await;
        conns.push((conn, site.accept().await));
    }
    for (conn, _) in &conns {
        conn.response().await.expect("all are answered");
    }
    assert_eq!(site.pool.stats().dials, 2);
}

#[tokio::test]
async fn one_link_is_made_until_the_limit_is_known_and_then_as_many_as_it_takes() {
    for (limit, conns) in [(1, 16_usize), (7, 30), (30, 30), (100, 30)] {
        let site = Arc::new(Site::new(SHARED, Config::default(), limit));
        let mut places = JoinSet::new();
        for _ in 0..conns {
            let site = Arc::clone(&site);
            places.spawn(async move {
                let dial = |terms| async {
                    let stats = site.stats();
                    assert!(stats.limit.is_some() || stats.dialing == 1, "{stats:?}");
                    site.dial(terms).await
                };
                site.pool.place(&origin(), dial).await.expect("a place")
            });
        }
        let leases = timeout(Duration::from_secs(10), places.join_all()).await;
        let leases = leases.expect("all get one");
        let links = conns.div_ceil(limit as usize);
        let stats = site.stats();
        assert_eq!((stats.links_open(), stats.conns()), (links, conns), "{limit}: {stats:?}");
        drop(leases);
        assert_eq!(site.stats().conns(), 0);
    }
}

#[tokio::test]
async fn a_dial_that_is_dropped_or_fails_is_followed_by_that_of_the_next() {
    let site = Site::new(SHARED, Config::default(), 10);
    let origin = origin();
    let mut stuck = Box::pin(site.pool.place(&origin, |_| pending()));
    assert!(poll(stuck.as_mut()).is_pending());
    let fails = |_| async { Err(Error::new(ErrorKind::Connect, "nobody there")) };
    let mut failing = pin!(site.pool.place(&origin, fails));
    let mut waiting = pin!(site.place());
    assert!(poll(failing.as_mut()).is_pending());
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!((site.stats().dialing, site.stats().waiting), (1, 2));
    drop(stuck);
    assert_eq!(failing.await.expect_err("its own dial").kind(), ErrorKind::Connect);
    waiting.await.expect("its own dial");
    let stats = site.pool.stats();
    assert_eq!((stats.dials, stats.failed_dials), (3, 2));
}

/// Callers come all the time, and every dial hangs for a while. A dial then begins with the time
/// that its caller has left.
#[tokio::test(start_paused = true)]
async fn callers_that_waited_long_do_not_spoil_the_dials_of_those_behind_them() {
    let site = Arc::new(Site::new(SHARED, Config::default(), 1_000));
    let began = tokio::time::Instant::now();
    let hole = Duration::from_secs(25);
    let mut callers = JoinSet::new();
    for _ in 0..500 {
        let site = Arc::clone(&site);
        callers.spawn(async move {
            let dial = |terms| async {
                if began.elapsed() < hole {
                    pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                site.dial(terms).await
            };
            let origin = origin();
            let place = site.pool.place(&origin, dial);
            let lease = timeout(Duration::from_secs(10), place).await;
            (began.elapsed(), lease.is_ok_and(|lease| lease.is_ok()))
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut first = Duration::MAX;
    for (time, served) in callers.join_all().await {
        if served {
            first = first.min(time);
        }
        assert!(served || time < hole + Duration::from_secs(13), "not served at {time:?}");
    }
    // A dial that was begun in the hole uses up its time, and the next one takes two seconds.
    assert!(first < hole + Duration::from_secs(13), "served at {first:?} at first");
}

#[tokio::test]
async fn who_is_given_a_place_and_leaves_without_it_leaves_it_to_the_next() {
    let site = Site::new(rules(LinkPolicy::Shared, 1), Config::default(), 1);
    let lease = site.place().await.expect("a place");
    let mut first = Box::pin(site.place());
    let mut second = Box::pin(site.place());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    // The first has been given the place, and has not looked.
    drop(lease);
    assert_eq!((site.stats().waiting, site.stats().conns()), (1, 1));
    drop(first);
    assert_eq!((site.stats().waiting, site.stats().conns()), (0, 1));
    second.await.expect("it is there");
    assert_eq!(site.stats().conns(), 0);
}

#[tokio::test]
async fn those_who_wait_when_the_client_is_closed_are_told() {
    let site = Site::new(rules(LinkPolicy::Shared, 1), Config::default(), 1);
    let lease = site.place().await.expect("a place");
    let mut waiting = pin!(site.place());
    assert!(poll(waiting.as_mut()).is_pending());
    let links = site.pool.close();
    assert_eq!(links.len(), 1);
    let error = waiting.await.expect_err("it is closed");
    assert_eq!(error.kind(), ErrorKind::Aborted);
    drop(lease);
    links[0].shut_down();
    links[0].ended().await.expect("nothing was sent");
}

#[tokio::test]
async fn a_link_that_ends_waits_for_those_who_have_a_place() {
    let mut site = Site::new(SHARED, Config::default(), 10);
    let lease = site.place().await.expect("a place");
    let [link] = &site.pool.close()[..] else { panic!("one link") };
    link.shut_down();
    // Give the driver time to take note.
    timeout(Duration::from_millis(50), link.ended()).await.expect_err("not yet");
    let conn = open(lease);
    site.accept().await;
    conn.response().await.expect("it was sent");
}
