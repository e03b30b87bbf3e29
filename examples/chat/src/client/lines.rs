//! The client for scripts: it posts the lines of standard input, and prints all posts.

use std::io::Write;
use std::{io, thread};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::draw::hour;
use super::session::{Event, Session};
use super::talk::Talk;
use super::text::one_line;
use crate::post::{MAX_CHARS, Post, SYSTEM};

/// Talks until the input has ended and all of it has come back, or until the output has no reader.
pub(crate) async fn run(name: &str, mut session: Session, first_note: Option<&str>) -> Result<()> {
    if let Some(note) = first_note {
        eprintln!("{note}");
    }
    let (mut lines, mut talk, zone) = (lines_of_stdin(), Talk::new(name), TimeZone::system());
    let mut has_more = true;
    loop {
        tokio::select! {
            line = lines.recv(), if has_more && !talk.is_full() => {
                match line.transpose().context("cannot read standard input")? {
                    Some(line) => { talk.say(&line); }
                    None => has_more = false,
                }
            }
            event = session.event() => match event.context("the session has failed")? {
                Event::Joined(sender) => talk.joined(sender),
                Event::Post(post) => if let Some(post) = talk.hear(post) {
                    match print(&post, &zone) {
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                        printed => printed.context("cannot print")?,
                    }
                },
                Event::Lost(why, _) if !has_more => bail!(lost(&why, talk.unsaid())),
                Event::Lost(why, pause) => {
                    let pause = pause.as_secs_f32();
                    eprintln!("the connection is lost, next in {pause:.1} s: {}", one_line(&why));
                    talk.lost();
                }
                Event::Dismissed if !has_more && talk.unsaid() == 0 => return Ok(()),
                Event::Dismissed => bail!(lost("the server has ended it", talk.unsaid())),
                Event::Failed(why) => bail!(one_line(&why)),
                Event::Left => return match talk.unsaid() {
                    0 => Ok(()),
                    n => bail!(lost("the server has ended it", n)),
                },
            },
        }
        if !has_more && talk.is_sent() {
            talk.lost();
        }
    }
}

fn lost(why: &str, unsaid: usize) -> String {
    let why = one_line(why);
    match unsaid {
        0 => format!("the connection is lost: {why}"),
        _ => format!("the connection is lost, {unsaid} lines did not come back: {why}"),
    }
}

fn print(post: &Post, zone: &TimeZone) -> io::Result<()> {
    let hour = hour(post.timestamp(), zone);
    match &*post.user {
        SYSTEM => writeln!(io::stdout(), "{hour} * {}", post.message),
        user => writeln!(io::stdout(), "{hour} <{user}> {}", post.message),
    }
}

/// Reads lines in a thread of its own, and splits those that are too long for a post. A task that
/// reads a terminal would keep the process from ending until the user presses Enter.
fn lines_of_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let parts: Vec<_> = match line {
                Ok(line) => parts(&line).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            for part in parts {
                if sender.blocking_send(part).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

fn parts(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    chars.chunks(MAX_CHARS).map(|part| part.iter().collect()).collect()
}
