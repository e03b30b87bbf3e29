use http::Request;

use super::*;
use crate::conn::{Stream, Transport};
use crate::link::Shared as Link;

fn stream(link: &Arc<Link>) -> Arc<Stream> {
    let (request, ()) = Request::new(()).into_parts();
    link.stream(request, Transport::Request, None).0
}

/// A link that makes requests.
struct Asking {
    link: Arc<Link>,
    line: Line,
    next: u32,
    /// The streams of its requests, the oldest first.
    streams: Vec<Arc<Stream>>,
}

impl Asking {
    fn new(entrance: &Entrance) -> Asking {
        Asking { link: Link::alone(), line: entrance.line(), next: 1, streams: Vec::new() }
    }

    /// Makes one request if there is a place, and returns the number of its stream.
    fn ask(&mut self) -> Result<StreamId, NoPlace> {
        self.line.look()?;
        let id = StreamId::new(self.next).expect("more than 0");
        self.next += 2;
        let stream = stream(&self.link);
        self.streams.push(Arc::clone(&stream));
        self.line.push(id, Offer::new(stream), 100);
        Ok(id)
    }

    /// Makes requests until there is no place, and returns how many found one.
    fn ask_for_all(&mut self) -> usize {
        std::iter::from_fn(|| self.ask().ok()).count()
    }

    fn has(&self, offer: &Offer) -> bool {
        self.streams.iter().any(|stream| Arc::ptr_eq(stream, offer.stream()))
    }
}

/// The next request, if one waits.
fn next(backlog: &mut Backlog) -> Option<Offer> {
    poll(backlog).flatten()
}

/// Polls once.
fn poll(backlog: &mut Backlog) -> Option<Option<Offer>> {
    let mut next = std::pin::pin!(backlog.next());
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    match next.as_mut().poll(cx) {
        Poll::Ready(next) => Some(next),
        Poll::Pending => None,
    }
}

#[test]
fn links_share_the_places_and_a_newcomer_always_has_one() {
    let (entrance, mut backlog) = backlog(60, 1 << 20);
    let mut links = [(); 3].map(|()| Asking::new(&entrance));
    assert_eq!(links.each_mut().map(Asking::ask_for_all), [30, 15, 8]);
    assert_eq!(links[0].ask(), Err(NoPlace::Full));
    let mut many = (0..20).map(|_| Asking::new(&entrance)).collect::<Vec<_>>();
    assert!(many.iter_mut().all(|link| link.ask_for_all() >= 1), "also past the last place");
    // As places are freed, the links come to have the same number.
    for _ in 0..2_000 {
        next(&mut backlog).expect("somebody waits").take();
        for link in links.iter_mut().chain(&mut many) {
            link.ask_for_all();
        }
    }
    let own = |link: &Asking| lock(&entrance.0.state).lines[link.line.key].waiting.len();
    assert!(links.iter().chain(&many).map(own).all(|own| own <= 5), "no link has more for long");
}

#[test]
fn links_take_turns() {
    let (entrance, mut backlog) = backlog(100, 1 << 20);
    let mut links = [(); 3].map(|()| Asking::new(&entrance));
    links[0].ask_for_all();
    for _ in 0..3 {
        links[1].ask().expect("a place");
    }
    let mut order = Vec::new();
    for turn in 0..10 {
        if turn == 2 {
            links[2].ask().expect("a place");
        }
        let offer = next(&mut backlog).expect("somebody waits");
        order.push(links.iter().position(|link| link.has(&offer)).expect("one of them"));
        offer.take();
    }
    assert_eq!(order, [0, 1, 0, 1, 2, 0, 1, 0, 0, 0]);
}

#[test]
fn the_requests_of_a_link_come_in_their_order() {
    let (entrance, mut backlog) = backlog(100, 1 << 20);
    let mut link = Asking::new(&entrance);
    for _ in 0..5 {
        link.ask().expect("a place");
    }
    for expected in 0..5 {
        let offer = next(&mut backlog).expect("somebody waits");
        assert!(Arc::ptr_eq(offer.stream(), &link.streams[expected]));
        offer.take();
    }
}

#[test]
fn a_request_that_is_withdrawn_leaves_its_place() {
    let (entrance, mut backlog) = backlog(2, 1 << 20);
    let mut link = Asking::new(&entrance);
    let first = link.ask().expect("a place");
    assert_eq!(link.ask(), Err(NoPlace::Full));
    assert!(link.line.withdraw(first));
    assert!(!link.line.withdraw(first), "only once");
    let second = link.ask().expect("a place");
    assert!(Arc::ptr_eq(next(&mut backlog).expect("one").stream(), &link.streams[1]));
    assert!(!link.line.withdraw(second), "it was taken");
    assert!(poll(&mut backlog).is_none(), "nobody waits, and more can come");
}

#[test]
fn of_a_link_that_has_ended_only_complete_requests_can_be_accepted() {
    let (entrance, mut backlog) = backlog(100, 1 << 20);
    let mut link = Asking::new(&entrance);
    for _ in 0..3 {
        link.ask().expect("a place");
    }
    link.streams[1].inbox.finish(Ok(()));
    let Asking { line, streams, .. } = link;
    drop(line);
    let offer = next(&mut backlog).expect("it is complete");
    assert!(Arc::ptr_eq(offer.stream(), &streams[1]));
    offer.take();
    assert!(poll(&mut backlog).is_none());
    let state = lock(&entrance.0.state);
    assert!(state.lines.is_empty() && state.turns.is_empty() && state.waiting == 0);
}

#[test]
fn links_that_come_and_go_leave_nothing() {
    let (entrance, _backlog) = backlog(10, 1 << 20);
    for _ in 0..1_000 {
        let mut link = Asking::new(&entrance);
        link.ask_for_all();
    }
    let state = lock(&entrance.0.state);
    assert!(state.lines.is_empty() && state.turns.is_empty() && state.waiting == 0);
}

/// The same as [`links_that_come_and_go_leave_nothing`], with complete requests that have this
/// content.
#[track_caller]
fn come_and_go(places: usize, bytes: usize, content: &[u8]) -> (usize, usize) {
    let (entrance, mut backlog) = backlog(places, bytes);
    let mut newcomer = Asking::new(&entrance);
    for _ in 0..1_000 {
        let mut link = Asking::new(&entrance);
        link.ask().expect("a place");
        link.streams[0].inbox.push(content);
        link.streams[0].inbox.finish(Ok(()));
    }
    newcomer.ask().expect("a place");
    let (left, held) = {
        let state = lock(&entrance.0.state);
        assert_eq!((state.lines.len(), state.turns.len(), state.waiting), (1, 2, 1));
        (state.left.len(), state.left_bytes)
    };
    let offers = [(); 2].map(|()| next(&mut backlog).expect("both have a turn"));
    assert!(newcomer.has(&offers[1]), "it waits for one request of all that were left");
    let others = std::iter::from_fn(|| next(&mut backlog)).count();
    assert_eq!(others + 1, left);
    assert_eq!(lock(&entrance.0.state).left_bytes, 0);
    (left, held)
}

#[test]
fn what_links_leave_behind_is_bounded_in_requests_and_in_bytes_and_has_one_turn() {
    assert_eq!(come_and_go(100, 1 << 20, b"x").0, 25);
    assert_eq!(come_and_go(10_000, 10_000, &[7; 900]), (10, 10_000));
}

#[test]
fn the_end_comes_when_no_link_can_come_or_nothing_is_accepted_any_more() {
    let (entrance, mut one) = backlog(10, 1 << 20);
    let mut link = Asking::new(&entrance);
    drop(entrance);
    assert!(poll(&mut one).is_none(), "there is a link");
    link.ask().expect("a place");
    link.streams[0].inbox.finish(Ok(()));
    drop(link);
    next(&mut one).expect("it is complete").take();
    assert!(matches!(poll(&mut one), Some(None)));

    let (entrance, mut other) = backlog(10, 1 << 20);
    let mut link = Asking::new(&entrance);
    link.ask().expect("a place");
    other.close();
    assert_eq!(link.ask(), Err(NoPlace::Closed));
    assert!(next(&mut other).is_some(), "it had come before");
    assert!(matches!(poll(&mut other), Some(None)));
}

#[test]
fn dropping_the_backlog_refuses_who_waits() {
    let (entrance, backlog) = backlog(10, 1 << 20);
    let mut link = Asking::new(&entrance);
    link.ask().expect("a place");
    drop(backlog);
    let wish = link.streams[0].wish();
    assert_eq!(wish, crate::conn::Wish::Reset(crate::error::Reason::REFUSED_STREAM));
    assert_eq!(link.ask(), Err(NoPlace::Closed));
}
