//! The members of the room, their posts, and the dismissal of members that do not read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::post::{Post, SYSTEM, TAKEN, harmless};

/// The most characters of a name.
pub const MAX_NAME_CHARS: usize = 32;

/// The most names that the greeting of a newcomer lists.
const NAMES_IN_GREETING: usize = 10;

/// The limits of a room.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many posts may wait for one member. A member that leaves more unread is dismissed.
    pub queue: usize,
    /// How many of the last posts a newcomer gets. They must fit into the queue.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { queue: 1024, history: 100 }
    }
}

/// A room. Clones share it.
///
/// All members get all posts in the same order. Posts are shared, so a member that does not read
/// costs a queue of pointers. It also keeps posts alive that the others have already read, until it
/// is dismissed.
#[derive(Clone, Debug)]
pub struct Room {
    limits: Limits,
    state: Arc<Mutex<State>>,
}

/// A member's place. Dropping it leaves the room.
#[derive(Debug)]
pub struct Member {
    room: Room,
    name: String,
}

/// The output of the room for a member.
#[derive(Debug)]
pub struct Mail {
    /// The posts. The channel ends with the membership.
    pub posts: mpsc::Receiver<Delivery>,
    /// Resolves to a reason when the member must leave.
    pub dismissal: oneshot::Receiver<String>,
}

/// A post on its way to one member. Dropping it means that the post was sent.
#[derive(Debug)]
pub struct Delivery {
    /// The post, which all members share.
    pub post: Arc<Post>,
    _receipt: Option<oneshot::Sender<()>>,
}

impl Room {
    /// An empty room.
    pub fn new(limits: Limits) -> Room {
        Room { limits, state: Arc::default() }
    }

    /// Takes a place with this name, or returns the reason of a refusal for the user.
    pub fn join(&self, name: &str) -> Result<(Member, Mail), String> {
        check(name)?;
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        if state.seats.contains_key(&key(name)) {
            return Err(TAKEN.to_owned());
        }
        let (sender, posts) = mpsc::channel(self.limits.queue);
        let (dismiss, dismissal) = oneshot::channel();
        let mail = Some((sender, dismiss));
        let mut seat = Seat { name: name.to_owned(), mail, unread: 0 };
        for post in &state.history {
            seat.take(post, None);
        }
        let greeting = state.greeting(name);
        seat.take(&state.stamp(greeting), None);
        state.seats.insert(key(name), seat);
        state.say(Post { came: name.to_owned(), ..Post::system(format!("{name} logged in")) });
        Ok((Member { room: self.clone(), name: name.to_owned() }, Mail { posts, dismissal }))
    }

    /// Dismisses all members, and admits no more.
    pub fn close(&self, reason: &str) {
        let mut state = self.lock();
        state.closed = Some(reason.to_owned());
        for mut seat in std::mem::take(&mut state.seats).into_values() {
            seat.dismiss(reason.to_owned());
        }
    }

    /// Code under this lock cannot panic in the middle of a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts a message to all members, and waits until it has been sent to its author too. No
    /// member can therefore post faster than it reads. Returns whether there is anything to post.
    pub async fn post(&self, message: &str) -> bool {
        let message: String = message.trim().chars().map(harmless).collect();
        if message.is_empty() {
            return false;
        }
        let (receipt, out) = oneshot::channel();
        {
            let mut state = self.room.lock();
            // A member that was dismissed may not post.
            if state.seats.get(&key(&self.name)).is_none_or(|seat| seat.mail.is_none()) {
                return true;
            }
            let post = state.stamp(Post::new(&self.name, message));
            state.keep(&post, self.room.limits.history);
            state.spread(&post, Some(receipt));
        }
        // The other end is dropped, never used.
        let _ = out.await;
        true
    }

    /// Tells this member alone something, and waits until it has been sent.
    pub async fn tell(&self, message: &str) {
        let (receipt, out) = oneshot::channel();
        {
            let mut state = self.room.lock();
            let post = state.stamp(Post::system(message));
            if let Some(seat) = state.seats.get_mut(&key(&self.name)) {
                seat.take(&post, Some(receipt));
            }
        }
        // The other end is dropped, never used.
        let _ = out.await;
    }
}

/// The others learn of a dismissal only here, after the lock was released. They may be as slow
/// themselves, and if a room announced many dismissals at once, it would fill the queues of members
/// that are not slow.
impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        // A closed room has no seats.
        let Some(seat) = state.seats.remove(&key(&self.name)) else { return };
        let text = match seat.unread {
            0 => format!("{} logged out", self.name),
            unread => format!("{} was dismissed: left {unread} posts unread", self.name),
        };
        state.say(Post { went: self.name.clone(), ..Post::system(text) });
    }
}

#[derive(Debug, Default)]
struct State {
    /// Indexed by [`key`].
    seats: BTreeMap<String, Seat>,
    history: VecDeque<Arc<Post>>,
    /// The time of the last post.
    time: Timestamp,
    /// The reason why no member can join any more.
    closed: Option<String>,
}

impl State {
    fn say(&mut self, post: Post) {
        let post = self.stamp(post);
        self.spread(&post, None);
    }

    /// Gives a post its time. It is later than all before, even if the clock is set back.
    fn stamp(&mut self, post: Post) -> Arc<Post> {
        let next = self.time.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(self.time);
        self.time = Timestamp::now().max(next);
        Arc::new(post.at(self.time))
    }

    fn keep(&mut self, post: &Post, limit: usize) {
        self.history.push_back(Arc::new(Post { earlier: true, ..post.clone() }));
        let surplus = self.history.len().saturating_sub(limit);
        self.history.drain(..surplus);
    }

    /// Puts a post into every member's queue. Members whose queue is full are dismissed.
    fn spread(&mut self, post: &Arc<Post>, receipt: Option<oneshot::Sender<()>>) {
        let mut receipt = receipt;
        for seat in self.seats.values_mut() {
            let by_itself = seat.name == post.user;
            seat.take(post, if by_itself { receipt.take() } else { None });
        }
    }

    fn greeting(&self, newcomer: &str) -> Post {
        let mut here: Vec<_> = self.seats.values().map(|seat| seat.name.clone()).collect();
        let mut text = match here.len() {
            0 => "nobody else is here".to_owned(),
            _ => format!("here: {}", here[..here.len().min(NAMES_IN_GREETING)].join(", ")),
        };
        if let Some(others @ 1..) = here.len().checked_sub(NAMES_IN_GREETING) {
            text += &format!(" and {others} more");
        }
        here.push(newcomer.to_owned());
        Post { here, ..Post::system(text) }
    }
}

/// The room's part of a member. A name is taken until its [`Member`] is dropped.
#[derive(Debug)]
struct Seat {
    name: String,
    /// The channels for posts and for the dismissal, until there was one.
    mail: Option<(mpsc::Sender<Delivery>, oneshot::Sender<String>)>,
    /// The number of posts that were unread when the member was dismissed.
    unread: usize,
}

impl Seat {
    fn take(&mut self, post: &Arc<Post>, receipt: Option<oneshot::Sender<()>>) {
        let Some((posts, _)) = &self.mail else { return };
        let delivery = Delivery { post: Arc::clone(post), _receipt: receipt };
        if let Err(TrySendError::Full(_)) = posts.try_send(delivery) {
            self.unread = posts.max_capacity();
            self.dismiss(format!("you were dismissed: left {} posts unread", self.unread));
        }
    }

    fn dismiss(&mut self, reason: String) {
        if let Some((_, dismiss)) = self.mail.take() {
            // A member that does not wait for it any more is leaving.
            let _ = dismiss.send(reason);
        }
    }
}

/// Names that differ only in case are the same.
fn key(name: &str) -> String {
    name.to_lowercase()
}

fn check(name: &str) -> Result<(), String> {
    if name.is_empty() || name.trim() != name {
        return Err("a name is needed, without space around it".to_owned());
    }
    let length = name.chars().count();
    if length > MAX_NAME_CHARS {
        return Err(format!("the name has {length} characters, and may have {MAX_NAME_CHARS}"));
    }
    if let Some(odd) = name.chars().find(|&c| harmless(c) != c || is_joiner(c)) {
        return Err(format!("the name has a character that nobody can see: {odd:?}"));
    }
    if key(name) == key(SYSTEM) {
        return Err(format!("the name {SYSTEM} is taken by the room"));
    }
    Ok(())
}

/// Emoji and some scripts need these characters. In a name they could imitate another name.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn room(queue: usize, history: usize) -> Room {
        Room::new(Limits { queue, history })
    }

    /// The messages that wait, in their order.
    fn read(mail: &mut Mail) -> Vec<String> {
        std::iter::from_fn(|| mail.posts.try_recv().ok())
            .map(|delivery| delivery.post.message.clone())
            .collect()
    }

    /// Posts without waiting until the post was sent.
    fn post(member: &Member, message: &str) {
        let _ = member.post(message).now_or_never();
    }

    #[test]
    fn everybody_hears_who_comes_what_they_say_and_who_goes() {
        let room = room(8, 0);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        assert_eq!(read(&mut to_ada), ["nobody else is here", "ada logged in"]);
        let (bob, mut to_bob) = room.join("Bob").expect("another");
        assert_eq!(read(&mut to_bob), ["here: ada", "Bob logged in"]);
        post(&ada, " hi\u{1b}[2J ");
        post(&bob, "  ");
        drop(bob);
        assert_eq!(read(&mut to_ada), ["Bob logged in", "hi [2J", "Bob logged out"]);
        assert_eq!(read(&mut to_bob), ["hi [2J"]);
        assert!(to_bob.posts.is_closed());
    }

    #[test]
    fn a_member_can_be_told_something_that_the_others_do_not_hear() {
        let room = room(8, 8);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        let (_bob, mut to_bob) = room.join("bob").expect("another");
        read(&mut to_ada);
        read(&mut to_bob);
        assert_eq!(ada.post(" ").now_or_never(), Some(false));
        let _ = ada.tell("there was no message").now_or_never();
        assert_eq!(read(&mut to_ada), ["there was no message"]);
        assert_eq!(read(&mut to_bob), [""; 0]);
        let (_eve, mut to_eve) = room.join("eve").expect("a third");
        assert_eq!(read(&mut to_eve), ["here: ada, bob", "eve logged in"]);
    }

    #[test]
    fn a_newcomer_gets_the_last_posts_and_the_names() {
        let room = room(8, 2);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        for message in ["one", "two", "three"] {
            post(&ada, message);
        }
        let (_bob, mut to_bob) = room.join("bob").expect("another");
        let posts: Vec<_> = std::iter::from_fn(|| to_bob.posts.try_recv().ok()).collect();
        let seen: Vec<_> = posts.iter().map(|d| (&*d.post.message, d.post.earlier)).collect();
        let expected =
            [("two", true), ("three", true), ("here: ada", false), ("bob logged in", false)];
        assert_eq!(seen, expected);
        assert_eq!(posts[2].post.here, ["ada", "bob"]);
        assert_eq!(posts[3].post.came, "bob");
        assert!(posts.is_sorted_by(|a, b| a.post.timestamp() < b.post.timestamp()));
        assert_eq!(read(&mut to_ada).len(), 6);
    }

    #[test]
    fn who_does_not_read_is_dismissed_and_the_others_are_told() {
        let room = room(4, 0);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        let (mute, mut to_mute) = room.join("mute").expect("another");
        read(&mut to_ada);
        for message in ["one", "two", "three"] {
            post(&ada, message);
        }
        assert_eq!(read(&mut to_ada), ["one", "two", "three"]);
        let reason = to_mute.dismissal.try_recv().expect("a reason");
        assert_eq!(reason, "you were dismissed: left 4 posts unread");
        // The posts that waited can still be read, but nothing can be posted.
        post(&mute, "but");
        assert_eq!(read(&mut to_mute), ["here: ada", "mute logged in", "one", "two"]);
        assert!(room.join("mute").is_err());
        drop(mute);
        assert_eq!(read(&mut to_ada), ["mute was dismissed: left 4 posts unread"]);
        room.join("mute").expect("the name is free");
    }

    #[test]
    fn many_who_do_not_read_take_nobody_along() {
        let room = room(64, 0);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        let mut mutes = Vec::new();
        for n in 0..80 {
            mutes.push(room.join(&format!("mute {n}")).expect("another"));
            mutes.iter_mut().for_each(|(_, mail)| drop(read(mail)));
            read(&mut to_ada);
        }
        for _ in 0..70 {
            read(&mut to_ada);
            post(&ada, "hi");
        }
        read(&mut to_ada);
        for mute in mutes {
            drop(mute);
            assert_eq!(read(&mut to_ada).len(), 1, "one dismissal at a time");
        }
        assert!(to_ada.dismissal.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_post_waits_until_its_author_has_it() {
        let room = room(8, 0);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        read(&mut to_ada);
        let (_bob, _to_bob) = room.join("bob").expect("another, who reads nothing");
        read(&mut to_ada);
        let mut posting = std::pin::pin!(ada.post("hi"));
        assert!(posting.as_mut().now_or_never().is_none());
        let delivery = to_ada.posts.recv().await.expect("her own");
        assert!(posting.as_mut().now_or_never().is_none());
        drop(delivery);
        posting.await;
    }

    #[test]
    fn names_are_refused_with_a_reason() {
        let room = room(8, 0);
        let _ada = room.join("ada").expect("the first");
        for (name, reason) in [
            ("", "a name is needed, without space around it"),
            (" bob", "a name is needed, without space around it"),
            ("ADA", "user already exists"),
            ("system", "the name System is taken by the room"),
            ("a\u{200b}da", "the name has a character that nobody can see: '\\u{200b}'"),
            ("a\nda", "the name has a character that nobody can see: '\\n'"),
        ] {
            assert_eq!(room.join(name).expect_err(name), reason);
        }
        let long = room.join(&"n".repeat(33)).expect_err("too long");
        assert_eq!(long, "the name has 33 characters, and may have 32");
        room.join("Åsa Öberg 👩\u{fe0f}").expect("a name");
    }

    #[test]
    fn a_closed_room_sends_everybody_away() {
        let room = room(8, 0);
        let (ada, mut to_ada) = room.join("ada").expect("the first");
        room.close("the server is stopping");
        assert_eq!(to_ada.dismissal.try_recv().as_deref(), Ok("the server is stopping"));
        post(&ada, "hi");
        drop(ada);
        assert!(room.lock().history.is_empty());
        assert_eq!(read(&mut to_ada), ["nobody else is here", "ada logged in"]);
        assert_eq!(room.join("bob").expect_err("closed"), "the server is stopping");
    }
}
