//! The client, on a terminal or for scripts.
//!
//! A [`session`] makes one connection after another; [`talk`] is the state that outlives them.
//! [`model`] is the state of the screen.

mod draw;
mod history;
mod lines;
pub mod model;
mod screen;
pub mod session;
pub mod talk;
mod text;

use std::env;
use std::io::{IsTerminal, stdin, stdout};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;

use model::Model;
use session::{Event, Login, Session, Timing};
use text::one_line;

/// Joins a room until the user leaves. The user who hosts the room first sees `host_note`.
///
/// On a terminal it takes the whole screen, otherwise it reads and prints lines.
///
/// # Errors
///
/// If the room cannot be joined, or if some of the user's lines may be lost.
pub async fn run(login: Login, host_note: Option<&str>) -> Result<()> {
    let (url, name) = (login.url.clone(), login.name.clone());
    let mut session = Session::start(login, Timing::default());
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return lines::run(&name, session, host_note).await;
    }
    let mut model = Model::new(&url, &name, TimeZone::system());
    if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        model = model.without_colors();
    }
    if let Some(note) = host_note {
        model = model.as_host();
        model.note(note);
    }
    // Print the reason of a failure to join in the user's own terminal, not on the screen of the
    // chat.
    match session.event().await.context("the session has failed")? {
        Event::Failed(why) => bail!(one_line(&why)),
        event => model.event(event),
    }
    screen::run(model, session).await
}
