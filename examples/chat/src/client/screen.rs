//! The client on a terminal.

use std::io::stdout;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::layout::{Position, Rect};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::model::{Model, Wish};
use super::session::{Event, Session};

/// The most events that are handled between two drawings.
const AT_ONCE: usize = 64;

/// How long leaving may take. The server needs less, unless the link is slow or gone.
const LEAVING: Duration = Duration::from_secs(2);

/// Shows a session until the user leaves, or until another process ends this one.
pub(crate) async fn run(mut model: Model, mut session: Session) -> Result<()> {
    let mut screen = Screen::take()?;
    let mut keys = keys();
    let mut end = end_signal()?;
    loop {
        screen.0.draw(|frame| model.draw(frame))?;
        let stale = model.stays_for();
        tokio::select! {
            event = session.event() => {
                model.event(event.context("the session has failed")?);
                // Handle all events that are there before drawing, but not without limit: a server
                // that never stops sending must not lock out the user.
                let more = std::iter::from_fn(|| session.try_event()).take(AT_ONCE);
                more.for_each(|event| model.event(event));
            }
            input = keys.recv() => match input.context("the terminal is gone")?? {
                event::Event::Key(key) => match model.key(key) {
                    Some(Wish::Redraw) => screen.clear()?,
                    Some(Wish::Quit) => break,
                    Some(Wish::Again) => session.again(),
                    None => {}
                },
                event::Event::Paste(text) => model.paste(&text),
                // Drawing asks for the size.
                _ => {}
            },
            _ = end.recv() => break,
            () = sleep(stale.unwrap_or_default()), if stale.is_some() => {}
        }
    }
    drop(screen);
    leave(model, session).await
}

/// Sends the lines that are still unsent.
async fn leave(mut model: Model, mut session: Session) -> Result<()> {
    if model.leave() {
        let over = async {
            while let Some(event) = session.event().await {
                match event {
                    Event::Lost(..) | Event::Dismissed => break,
                    event => model.event(event),
                }
            }
        };
        // Lines that are unsent after this time stay unsent.
        let _ = timeout(LEAVING, over).await;
    }
    match model.talk.unsaid() {
        0 => Ok(()),
        1 => bail!("a line did not come back from the room, and may be lost"),
        n => bail!("{n} lines did not come back from the room, and may be lost"),
    }
}

/// The terminal in the mode that this program needs. Dropping it restores the earlier mode.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> Result<Screen> {
        let screen = Screen(ratatui::try_init().context("cannot use the terminal")?);
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }

    /// Makes the next drawing a complete one. `Terminal::clear` would ask for the cursor's
    /// position, and the thread that reads keys would get the answer.
    fn clear(&mut self) -> io::Result<()> {
        let size = self.0.size()?;
        self.0.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, nothing needs to be restored.
        let _ = execute!(stdout(), DisableBracketedPaste);
        let _ = ratatui::try_restore();
    }
}

/// Reads the terminal in a thread of its own, which ends with the process.
fn keys() -> mpsc::Receiver<io::Result<event::Event>> {
    let (sender, receiver) = mpsc::channel(64);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// Signals that ask the process to end. It must then restore the terminal. Ctrl-C is a key here.
fn end_signal() -> Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    #[cfg(unix)]
    for kind in [
        tokio::signal::unix::SignalKind::terminate(),
        tokio::signal::unix::SignalKind::hangup(),
        tokio::signal::unix::SignalKind::interrupt(),
    ] {
        let (sender, mut signal) = (sender.clone(), tokio::signal::unix::signal(kind)?);
        tokio::spawn(async move {
            signal.recv().await;
            sender.send(()).await
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        tokio::signal::ctrl_c().await.ok();
        sender.send(()).await
    });
    Ok(receiver)
}
