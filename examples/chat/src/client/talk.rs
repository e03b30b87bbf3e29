//! The lines that were received and the lines that are yet to be posted, across connections.

use std::collections::VecDeque;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::text::one_line;
use crate::post::Post;

/// How many lines may be on their way.
pub const MAX_UNSAID: usize = 64;

/// The most members that a room is believed to have.
pub(crate) const MAX_MEMBERS: usize = 10_000;

/// One user's side of the room. A line of the user is kept until it comes back from the room. If
/// the connection is lost first, the line is sent again on the next one, unless it is among the
/// posts that the server repeats there.
#[derive(Debug)]
pub struct Talk {
    name: String,
    /// The time of the last post.
    heard: Timestamp,
    unsaid: VecDeque<String>,
    /// How many of these, from the front, have been sent.
    sent: usize,
    link: Link,
}

#[derive(Debug)]
enum Link {
    Down,
    /// The server still repeats earlier posts, and they may include lines that were sent.
    Repeating(mpsc::Sender<String>),
    Up(mpsc::Sender<String>),
}

impl Talk {
    /// The side of the user with this name, without any lines yet.
    pub fn new(name: impl Into<String>) -> Talk {
        Talk {
            name: name.into(),
            heard: Timestamp::MIN,
            unsaid: VecDeque::new(),
            sent: 0,
            link: Link::Down,
        }
    }

    /// There is a connection. Its [`session`](super::session) takes lines through this sender,
    /// which has room for at least [`MAX_UNSAID`].
    pub fn joined(&mut self, lines: mpsc::Sender<String>) {
        self.link = if self.sent == 0 { Link::Up(lines) } else { Link::Repeating(lines) };
        self.send();
    }

    /// There is no connection any more, or none is wanted.
    pub fn lost(&mut self) {
        self.link = Link::Down;
    }

    /// Takes a line to post, unless too many wait.
    pub fn say(&mut self, line: &str) -> bool {
        if self.is_full() {
            return false;
        }
        let line = one_line(line);
        if !line.trim().is_empty() {
            self.unsaid.push_back(line.trim().to_owned());
            self.send();
        }
        true
    }

    /// Takes a post that arrived. If it is new, returns it in a form that is safe for a terminal.
    pub fn hear(&mut self, post: Post) -> Option<Post> {
        let time = post.timestamp();
        if post.earlier && time <= self.heard {
            return None;
        }
        self.heard = self.heard.max(time);
        let post = Post {
            user: one_line(&post.user),
            message: one_line(&post.message),
            came: one_line(&post.came),
            went: one_line(&post.went),
            here: post.here.iter().take(MAX_MEMBERS).map(|name| one_line(name)).collect(),
            ..post
        };
        let is_own = post.user == self.name;
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Repeating(lines) if post.earlier => {
                self.link = Link::Repeating(lines);
                let mut sent = self.unsaid.iter().take(self.sent);
                if is_own && let Some(at) = sent.position(|line| *line == post.message) {
                    self.unsaid.remove(at);
                    self.sent -= 1;
                }
            }
            Link::Repeating(lines) => {
                self.link = Link::Up(lines);
                self.sent = 0;
                self.send();
            }
            link => {
                self.link = link;
                if is_own && !post.earlier && self.sent > 0 {
                    self.unsaid.pop_front();
                    self.sent -= 1;
                }
            }
        }
        Some(post)
    }

    /// The number of lines that have not come back yet.
    pub fn unsaid(&self) -> usize {
        self.unsaid.len()
    }

    /// Whether no line waits for a connection.
    pub fn is_sent(&self) -> bool {
        matches!(self.link, Link::Up(_)) && self.sent == self.unsaid.len()
    }

    /// Whether [`say`](Talk::say) takes no more for now.
    pub fn is_full(&self) -> bool {
        self.unsaid.len() >= MAX_UNSAID
    }

    fn send(&mut self) {
        let Link::Up(lines) = &self.link else { return };
        while let Some(line) = self.unsaid.get(self.sent) {
            // It is never full. If it is closed, the event that the link is down is on its way.
            if lines.try_send(line.clone()).is_err() {
                return;
            }
            self.sent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, post: Post) -> Post {
        post.at(Timestamp::from_second(second).expect("a time"))
    }

    fn link() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
        mpsc::channel(MAX_UNSAID)
    }

    fn sent(lines: &mut mpsc::Receiver<String>) -> Vec<String> {
        std::iter::from_fn(|| lines.try_recv().ok()).collect()
    }

    #[test]
    fn what_did_not_come_back_is_said_again_unless_it_is_repeated() {
        let mut talk = Talk::new("ada");
        let (link_1, mut lines) = link();
        talk.joined(link_1);
        for line in ["one", "two", "three", " "] {
            assert!(talk.say(line));
        }
        assert_eq!(sent(&mut lines), ["one", "two", "three"]);
        talk.hear(at(1, Post::new("ada", "one"))).expect("new");
        talk.hear(at(2, Post::new("bob", "two"))).expect("new, and of another");
        assert_eq!(talk.unsaid(), 2);
        talk.lost();
        assert!(talk.say("four"));

        let (link_2, mut lines) = link();
        talk.joined(link_2);
        let earlier = |second, post| Post { earlier: true, ..at(second, post) };
        assert_eq!(talk.hear(earlier(1, Post::new("ada", "one"))), None);
        assert_eq!(talk.hear(earlier(2, Post::new("bob", "two"))), None);
        talk.hear(earlier(3, Post::new("ada", "two"))).expect("new");
        assert_eq!(sent(&mut lines), [""; 0]);
        talk.hear(at(4, Post::system("here: bob"))).expect("new");
        assert_eq!(sent(&mut lines), ["three", "four"]);
        talk.hear(at(5, Post::new("ada", "three"))).expect("new");
        talk.hear(at(6, Post::new("ada", "four"))).expect("new");
        assert_eq!(talk.unsaid(), 0);
    }

    #[test]
    fn no_more_is_taken_than_can_be_on_its_way() {
        let mut talk = Talk::new("ada");
        for n in 0..MAX_UNSAID {
            assert!(talk.say(&n.to_string()));
        }
        assert!(!talk.say("one more"));
        let (link, mut lines) = link();
        talk.joined(link);
        assert_eq!(sent(&mut lines).len(), MAX_UNSAID);
    }
}
