//! The state of the screen, and the effect of keys and events on it, without a terminal and a
//! network.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::time::Instant;
use tui_input::{Input, InputRequest};

use super::history::{By, Entry, History};
use super::session::Event;
use super::talk::{MAX_MEMBERS, Talk};
use super::text::one_line;
use crate::post::{MAX_CHARS, Post, SYSTEM};

/// The state of the screen.
#[derive(Debug)]
pub struct Model {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) history: History,
    /// The members of the room, if the server lists them.
    pub(crate) members: Option<BTreeSet<String>>,
    pub(crate) input: Input,
    pub(crate) link: Link,
    pub(crate) talk: Talk,
    pub(crate) zone: TimeZone,
    pub(crate) has_colors: bool,
    /// The room ends when this user leaves.
    is_host: bool,
    /// The last key asked to leave, and the program asked the host to confirm it.
    is_asked: bool,
}

/// The state of the connection to the server.
#[derive(Debug)]
pub(crate) enum Link {
    Joining,
    Joined,
    Lost { why: String, next: Instant },
    Dismissed,
}

/// A request of the user to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To leave.
    Quit,
    /// To connect again at once.
    Again,
    /// To redraw the whole screen: terminals do not agree on the width of some emoji.
    Redraw,
}

impl Model {
    /// An empty screen. It shows times in `zone`.
    pub fn new(url: &str, name: &str, zone: TimeZone) -> Model {
        Model {
            url: one_line(url),
            name: one_line(name),
            history: History::default(),
            members: None,
            input: Input::default(),
            link: Link::Joining,
            talk: Talk::new(name),
            zone,
            has_colors: true,
            is_host: false,
            is_asked: false,
        }
    }

    /// Asks before leaving while others are in the room, which ends with this user.
    pub fn as_host(self) -> Model {
        Model { is_host: true, ..self }
    }

    /// Shows everything in the terminal's own colour.
    pub fn without_colors(self) -> Model {
        Model { has_colors: false, ..self }
    }

    /// Adds a line of this program to the history.
    pub fn note(&mut self, text: &str) {
        self.history.push(Entry { time: Timestamp::now(), by: By::Client, text: one_line(text) });
    }

    /// Applies an event of the session. The last events do not concern the screen.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Joined(lines) => {
                if !matches!(self.link, Link::Joining) {
                    self.note("connected again");
                }
                self.link = Link::Joined;
                self.talk.joined(lines);
            }
            Event::Post(post) => self.post(post),
            Event::Lost(why, pause) => {
                let why = one_line(&why);
                if matches!(self.link, Link::Joined) {
                    self.note(&format!("the connection is lost: {why}"));
                }
                self.link = Link::Lost { why, next: Instant::now() + pause };
                self.talk.lost();
            }
            Event::Dismissed => {
                self.note("the server has ended the connection; Enter connects again");
                self.link = Link::Dismissed;
                self.talk.lost();
            }
            Event::Left | Event::Failed(_) => {}
        }
    }

    /// Handles a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let is_asked = std::mem::take(&mut self.is_asked);
        // Both together are AltGr on Windows, which types characters.
        let both = KeyModifiers::CONTROL | KeyModifiers::ALT;
        let is_plain = key.modifiers.contains(both) || !key.modifiers.intersects(both);
        let ctrl = !is_plain && key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = !is_plain && key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Esc => return self.quit(is_asked),
            KeyCode::Char('c') if ctrl => return self.quit(is_asked),
            KeyCode::Char('d') if ctrl && self.input.value().is_empty() => {
                return self.quit(is_asked);
            }
            KeyCode::Char('l') if ctrl => return Some(Wish::Redraw),
            KeyCode::Enter => return self.enter(),
            KeyCode::Up => self.history.scroll_up(1),
            KeyCode::Down => self.history.scroll_down(1),
            KeyCode::PageUp => self.history.page_up(),
            KeyCode::PageDown => self.history.page_down(),
            KeyCode::Home if ctrl => self.history.scroll_to_top(),
            KeyCode::End if ctrl => self.history.scroll_to_end(),
            KeyCode::Char(c) if is_plain => self.insert(c),
            code => {
                if let Some(request) = edit(code, ctrl, alt) {
                    self.input.handle(request);
                }
            }
        }
        None
    }

    /// Handles pasted text as one line.
    pub fn paste(&mut self, text: &str) {
        let text = text.trim_end_matches(['\r', '\n']).replace("\r\n", "\n");
        one_line(&text).chars().for_each(|c| self.insert(c));
    }

    /// Leaves the room. Returns whether there is a connection that must end.
    pub fn leave(&mut self) -> bool {
        self.talk.lost();
        matches!(self.link, Link::Joined)
    }

    /// How long the screen stays correct without any event.
    pub fn stays_for(&self) -> Option<Duration> {
        matches!(self.link, Link::Lost { .. }).then_some(Duration::from_millis(500))
    }

    fn quit(&mut self, is_asked: bool) -> Option<Wish> {
        let is_other = |name: &&String| **name != self.name;
        let others = self.members.iter().flatten().filter(is_other).count();
        let is_open = self.is_host && others > 0 && matches!(self.link, Link::Joined);
        if is_asked || !is_open {
            return Some(Wish::Quit);
        }
        let members = if others == 1 { "member" } else { "members" };
        self.note(&format!(
            "you host this room, and it ends for {others} other {members} when you leave: press the \
             key again to leave"
        ));
        self.history.scroll_to_end();
        self.is_asked = true;
        None
    }

    fn insert(&mut self, c: char) {
        if !c.is_control() && self.input.value().chars().count() < MAX_CHARS {
            self.input.handle(InputRequest::InsertChar(c));
        }
    }

    fn enter(&mut self) -> Option<Wish> {
        self.history.scroll_to_end();
        if self.talk.say(self.input.value()) {
            self.input.reset();
        } else {
            self.note("too many lines wait to be sent; this one stays here");
        }
        matches!(self.link, Link::Lost { .. } | Link::Dismissed).then_some(Wish::Again)
    }

    fn post(&mut self, post: Post) {
        let Some(post) = self.talk.hear(post) else { return };
        if !post.here.is_empty() {
            self.members = Some(post.here.iter().take(MAX_MEMBERS).cloned().collect());
        }
        if let Some(members) = &mut self.members {
            if !post.came.is_empty() && members.len() < MAX_MEMBERS {
                members.insert(post.came.clone());
            }
            members.remove(&post.went);
        }
        let time = post.timestamp();
        let by = if post.user == SYSTEM { By::System } else { By::User(post.user) };
        self.history.push(Entry { time, by, text: post.message });
    }
}

/// The effect of a key on the line, as in shells.
fn edit(code: KeyCode, ctrl: bool, alt: bool) -> Option<InputRequest> {
    Some(match (code, ctrl, alt) {
        (KeyCode::Backspace, _, true) | (KeyCode::Char('w'), true, _) => {
            InputRequest::DeletePrevWord
        }
        (KeyCode::Backspace, ..) | (KeyCode::Char('h'), true, _) => InputRequest::DeletePrevChar,
        (KeyCode::Delete, ..) | (KeyCode::Char('d'), true, _) => InputRequest::DeleteNextChar,
        (KeyCode::Left, true, _) | (KeyCode::Char('b'), _, true) => InputRequest::GoToPrevWord,
        (KeyCode::Right, true, _) | (KeyCode::Char('f'), _, true) => InputRequest::GoToNextWord,
        (KeyCode::Left, ..) | (KeyCode::Char('b'), true, _) => InputRequest::GoToPrevChar,
        (KeyCode::Right, ..) | (KeyCode::Char('f'), true, _) => InputRequest::GoToNextChar,
        (KeyCode::Home, ..) | (KeyCode::Char('a'), true, _) => InputRequest::GoToStart,
        (KeyCode::End, ..) | (KeyCode::Char('e'), true, _) => InputRequest::GoToEnd,
        (KeyCode::Char('k'), true, _) => InputRequest::DeleteTillEnd,
        (KeyCode::Char('u'), true, _) => InputRequest::DeleteLine,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::client::talk::MAX_UNSAID;

    fn model() -> Model {
        let mut model = Model::new("https://localhost:8000/", "ada", TimeZone::UTC);
        model.history.resize(80, 100);
        model
    }

    /// Connects, and returns the lines that the model sends.
    fn join(model: &mut Model) -> mpsc::Receiver<String> {
        let (sender, lines) = mpsc::channel(MAX_UNSAID);
        model.event(Event::Joined(sender));
        lines
    }

    fn post(model: &mut Model, post: Post) {
        model.event(Event::Post(post.at(Timestamp::now())));
    }

    fn press(model: &mut Model, code: KeyCode, modifiers: KeyModifiers) -> Option<Wish> {
        model.key(KeyEvent::new(code, modifiers))
    }

    fn enter(model: &mut Model, line: &str) -> Option<Wish> {
        for c in line.chars() {
            press(model, KeyCode::Char(c), KeyModifiers::NONE);
        }
        press(model, KeyCode::Enter, KeyModifiers::NONE)
    }

    fn history(model: &Model) -> Vec<&str> {
        model.history.view().iter().map(|row| row.text).collect()
    }

    #[test]
    fn who_is_here_follows_who_comes_and_goes() {
        let mut model = model();
        let _lines = join(&mut model);
        post(&mut model, Post { came: "eve".to_owned(), ..Post::system("eve logged in") });
        assert_eq!(model.members, None);
        let here = vec!["bob".to_owned(), "ada".to_owned()];
        post(&mut model, Post { here, ..Post::system("here: bob") });
        post(&mut model, Post { came: "Åsa".to_owned(), ..Post::system("Åsa logged in") });
        post(&mut model, Post { went: "bob".to_owned(), ..Post::system("bob logged out") });
        let members: Vec<_> = model.members.iter().flatten().collect();
        assert_eq!(members, ["ada", "Åsa"]);
    }

    #[test]
    fn a_line_without_a_connection_is_kept_and_asks_for_one() {
        let mut model = model();
        drop(join(&mut model));
        model.event(Event::Lost("gone\u{1b}[2J".to_owned(), Duration::from_secs(8)));
        assert_eq!(enter(&mut model, "hello"), Some(Wish::Again));
        assert_eq!(model.input.value(), "");
        // Further failures of the same outage are not shown.
        model.event(Event::Lost("gone".to_owned(), Duration::from_secs(8)));
        let mut lines = join(&mut model);
        assert_eq!(lines.try_recv().as_deref(), Ok("hello"));
        assert_eq!(history(&model), ["the connection is lost: gone [2J", "connected again"]);
        assert_eq!(enter(&mut model, "more"), None);
    }

    #[test]
    fn a_line_too_many_stays_where_it_is() {
        let mut model = model();
        for n in 0..MAX_UNSAID {
            enter(&mut model, &n.to_string());
        }
        enter(&mut model, "one more");
        assert_eq!(model.input.value(), "one more");
        assert_eq!(model.talk.unsaid(), MAX_UNSAID);
    }

    #[test]
    fn after_a_dismissal_only_enter_connects() {
        let mut model = model();
        let _lines = join(&mut model);
        post(&mut model, Post::system("you were dismissed: left 4 posts unread"));
        model.event(Event::Dismissed);
        assert_eq!(history(&model)[0], "you were dismissed: left 4 posts unread");
        assert_eq!(press(&mut model, KeyCode::Char('x'), KeyModifiers::NONE), None);
        let wish = press(&mut model, KeyCode::Enter, KeyModifiers::NONE);
        assert_eq!(wish, Some(Wish::Again));
    }

    #[test]
    fn a_host_is_asked_before_the_room_ends_for_others() {
        let esc = |model: &mut Model| press(model, KeyCode::Esc, KeyModifiers::NONE);
        let mut model = model().as_host();
        let _lines = join(&mut model);
        let here = vec!["ada".to_owned()];
        post(&mut model, Post { here, ..Post::system("nobody else is here") });
        assert_eq!(esc(&mut model), Some(Wish::Quit), "alone");
        post(&mut model, Post { came: "bob".to_owned(), ..Post::system("bob logged in") });
        assert_eq!(esc(&mut model), None);
        let shown = history(&model).concat();
        assert!(shown.contains("ends for 1 other member when you leave"), "{shown}");
        // Any other key is an answer too.
        assert_eq!(press(&mut model, KeyCode::Char('x'), KeyModifiers::NONE), None);
        assert_eq!(press(&mut model, KeyCode::Char('c'), KeyModifiers::CONTROL), None);
        assert_eq!(esc(&mut model), Some(Wish::Quit), "asked");
        assert_eq!(esc(&mut model), None);
        model.event(Event::Lost("gone".to_owned(), Duration::from_secs(8)));
        assert_eq!(esc(&mut model), Some(Wish::Quit), "without a room");
    }

    #[test]
    fn keys_edit_the_line_as_in_shells() {
        let mut model = model();
        model.paste("one two\r\n日本 \u{1b}[31mthree\n");
        assert_eq!(model.input.value(), "one two 日本  [31mthree");
        let ctrl = KeyModifiers::CONTROL;
        press(&mut model, KeyCode::Char('w'), ctrl);
        press(&mut model, KeyCode::Backspace, KeyModifiers::NONE);
        for key in ['a', 'f', 'd'] {
            press(&mut model, KeyCode::Char(key), ctrl);
        }
        assert_eq!(model.input.value(), "oe two 日本  ");
        press(&mut model, KeyCode::Char('k'), ctrl);
        assert_eq!(model.input.value(), "o");
        assert_eq!(press(&mut model, KeyCode::Char('d'), ctrl), None);
        press(&mut model, KeyCode::Char('@'), ctrl | KeyModifiers::ALT);
        press(&mut model, KeyCode::Char('u'), ctrl);
        assert_eq!(press(&mut model, KeyCode::Char('d'), ctrl), Some(Wish::Quit));
        assert_eq!(press(&mut model, KeyCode::Char('c'), ctrl), Some(Wish::Quit));
        assert_eq!(press(&mut model, KeyCode::Esc, KeyModifiers::NONE), Some(Wish::Quit));
        model.paste(&"日".repeat(MAX_CHARS + 1));
        assert_eq!(model.input.value().chars().count(), MAX_CHARS);
    }
}
