//! The screen: a status line, the history with the list of members beside it, and the input line.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders};
use tokio::time::Instant;

use super::history::{By, Entry, Row, TIME_WIDTH};
use super::model::{Link, Model};
use super::text::skip_columns;

/// The columns of the list of members, and the least width of a screen that shows the list.
const MEMBERS_WIDTH: u16 = 20;
const MIN_WIDTH_FOR_MEMBERS: u16 = 60;

/// The least height of a screen whose input line has a frame.
const MIN_HEIGHT_FOR_FRAME: u16 = 8;

const NAME_COLORS: [Color; 6] =
    [Color::Red, Color::Green, Color::Yellow, Color::Blue, Color::Magenta, Color::Cyan];

impl Model {
    /// Draws everything, in any size.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let framed = area.height >= MIN_HEIGHT_FOR_FRAME;
        let (status, rest) = split_rows(area, u16::from(area.height > 1));
        let input_height = if framed { 3 } else { 1 };
        let (middle, input) = split_rows(rest, rest.height.saturating_sub(input_height));
        let has_list = self.members.is_some() && area.width >= MIN_WIDTH_FOR_MEMBERS;
        let list_width = if has_list { MEMBERS_WIDTH } else { 0 };
        let history = Rect { width: middle.width - list_width, ..middle };
        let list = Rect { x: history.right(), width: list_width, ..middle };
        self.draw_status(frame, status);
        self.draw_history(frame, history);
        self.draw_members(frame, list);
        self.draw_input(frame, input, framed);
    }

    fn draw_status(&self, frame: &mut Frame<'_>, area: Rect) {
        let state = match &self.link {
            Link::Joining => "connecting".to_owned(),
            Link::Joined => match &self.members {
                Some(members) => format!("{} here", members.len()),
                None => "connected".to_owned(),
            },
            Link::Lost { why, next } => {
                match next.saturating_duration_since(Instant::now()).as_secs_f32().ceil() {
                    0.0 => format!("reconnecting: {why}"),
                    seconds => format!("reconnecting in {seconds} s: {why}"),
                }
            }
            Link::Dismissed => "not connected; Enter connects again".to_owned(),
        };
        let line = match &self.link {
            // The reason names the server.
            Link::Lost { .. } => format!(" {} | {state} ", self.name),
            _ => format!(" {} | {} | {state} ", self.url, self.name),
        };
        let filled = format!("{line}{}", " ".repeat(usize::from(area.width)));
        let style = Style::new().add_modifier(Modifier::REVERSED);
        set(frame, area, 0, Line::styled(filled, style));
    }

    fn draw_history(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let columns = usize::from(area.width);
        self.history.resize(columns, area.height.into());
        for (y, row) in (0..area.height).zip(self.history.view()) {
            set(frame, area, y, self.line(&row, columns));
        }
        let below = self.history.below();
        if below > 0 && area.height > 1 {
            let note = Span::styled(
                format!(" {below} more below: Ctrl-End "),
                Style::new().add_modifier(Modifier::REVERSED),
            );
            let note = Line::from(note).right_aligned();
            let blank = " ".repeat(columns);
            set(frame, area, area.height - 1, Line::raw(blank));
            set(frame, area, area.height - 1, note);
        }
    }

    fn line<'a>(&self, row: &Row<'a>, columns: usize) -> Line<'a> {
        let dim = Style::new().add_modifier(Modifier::DIM);
        let style = match &row.entry.by {
            By::User(_) => Style::new(),
            By::System | By::Client => dim,
        };
        let text = Span::styled(row.text, style);
        if !row.is_first {
            return Line::from(vec![Span::raw(" ".repeat(Entry::indent(columns))), text]);
        }
        let mark = match &row.entry.by {
            By::User(name) => Span::styled(row.entry.mark(), self.name_style(name)),
            By::System | By::Client => Span::styled(row.entry.mark(), dim),
        };
        let time = format!("{:TIME_WIDTH$}", hour(row.entry.time, &self.zone));
        Line::from(vec![Span::styled(time, dim), mark, text])
    }

    fn draw_members(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(members) = self.members.as_ref().filter(|_| area.width > 0) else { return };
        frame.render_widget(Block::new().borders(Borders::LEFT), area);
        let area = area.inner(Margin::new(1, 0));
        let rows = usize::from(area.height);
        let hidden = if members.len() > rows { members.len() + 1 - rows.max(1) } else { 0 };
        for (y, name) in (0..area.height).zip(members.iter().take(members.len() - hidden)) {
            set(frame, area, y, Line::styled(name.as_str(), self.name_style(name)));
        }
        if hidden > 0 && area.height > 0 {
            set(frame, area, area.height - 1, Line::raw(format!("and {hidden} more")));
        }
    }

    fn draw_input(&self, frame: &mut Frame<'_>, area: Rect, framed: bool) {
        let mut area = area;
        if framed {
            let mut block = Block::bordered();
            let unsaid = self.talk.unsaid();
            if unsaid > 0 && !matches!(self.link, Link::Joined) {
                let lines = if unsaid == 1 { "line waits" } else { "lines wait" };
                block = block.title(format!(" {unsaid} {lines} for the connection "));
            }
            frame.render_widget(block, area);
            area = area.inner(Margin::new(1, 1));
        }
        if area.is_empty() {
            return;
        }
        // The last column is for the cursor.
        let scroll = self.input.visual_scroll(usize::from(area.width) - 1);
        let text = skip_columns(self.input.value(), scroll);
        set(frame, area, 0, Line::raw(text));
        let column = self.input.visual_cursor().saturating_sub(scroll) as u16;
        frame.set_cursor_position((area.x + column.min(area.width - 1), area.y));
    }

    fn name_style(&self, name: &str) -> Style {
        if !self.has_colors {
            return Style::new();
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let color = NAME_COLORS[(hasher.finish() % NAME_COLORS.len() as u64) as usize];
        Style::new().fg(color)
    }
}

/// Hours and minutes, by the reader's clock.
pub(crate) fn hour(time: Timestamp, zone: &TimeZone) -> String {
    let time = zone.to_datetime(time);
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// Up to `upper` upper rows, and the rest.
fn split_rows(area: Rect, upper: u16) -> (Rect, Rect) {
    let upper = upper.min(area.height);
    let lower = Rect { y: area.y + upper, height: area.height - upper, ..area };
    (Rect { height: upper, ..area }, lower)
}

fn set(frame: &mut Frame<'_>, area: Rect, y: u16, line: Line<'_>) {
    if y < area.height {
        frame.render_widget(line, Rect { y: area.y + y, height: 1, ..area });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};
    use tokio::sync::mpsc;

    use super::*;
    use crate::client::session::Event;
    use crate::post::Post;

    const ACCENT: char = '\u{301}';
    const FAMILY: &str = "👩\u{200d}👩\u{200d}👧";

    fn model() -> Model {
        let mut model = Model::new("https://localhost:8000/", "ada", TimeZone::UTC);
        model.event(Event::Joined(mpsc::channel(1).0));
        let here = ["ada", "日本太郎", "bob"].map(str::to_owned).to_vec();
        for (minute, post) in (0..).zip([
            Post { here, ..Post::system("here: bob, 日本太郎") },
            Post::new("bob", "a line that is far too long for the room that there is for it"),
            Post::new("日本太郎", format!("日本語のとても長い行です。{FAMILY} e{ACCENT}")),
            Post::new("eve\u{1b}[2J", "\u{1b}]0;owned\u{7}\u{9b}31m"),
        ]) {
            let time = Timestamp::from_second(9 * 3600 + 60 * minute).expect("a time");
            model.event(Event::Post(post.at(time)));
        }
        model
    }

    fn screen(model: &mut Model, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        terminal.draw(|frame| model.draw(frame)).expect("drawing");
        terminal.backend().to_string()
    }

    #[test]
    fn a_screen_has_it_all() {
        let mut model = model();
        model.paste("hello 日本");
        // The backend lists the columns behind wide characters after each row.
        let screen = screen(&mut model, 64, 14);
        let rows: Vec<_> = screen.lines().map(|row| row.split(" Hidden").next()).collect();
        let expected = format!(
            r#"
" https://localhost:8000/ | ada | 3 here                         "
"09:00 * here: bob, 日本太郎                 │ada                "
"09:01 <bob> a line that is far too long for │bob                "
"      the room that there is for it         │日本太郎           "
"09:02 <日本太郎> 日本語のとても長い行です。 │                   "
"      {FAMILY} e{ACCENT}                                  │                   "
"09:03 <eve [2J>  ]0;owned  31m              │                   "
"                                            │                   "
"                                            │                   "
"                                            │                   "
"                                            │                   "
"┌──────────────────────────────────────────────────────────────┐"
"│hello 日本                                                    │"
"└──────────────────────────────────────────────────────────────┘"
"#
        );
        assert_eq!(rows, expected.trim().lines().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_panics_at_any_size_and_nothing_controls_the_terminal() {
        let mut model = model();
        model.paste(&format!("日本語 {FAMILY} and more than fits"));
        for columns in 0..=80 {
            for rows in 0..=30 {
                if rows == 10 {
                    model.history.page_up();
                }
                let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("one");
                terminal.draw(|frame| model.draw(frame)).expect("drawing");
                let cells = terminal.backend().buffer().content();
                let text: String = cells.iter().map(|cell| cell.symbol()).collect();
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
            model.history.scroll_to_end();
        }
    }

    #[test]
    fn a_long_line_moves_under_the_cursor() {
        let mut model = model();
        model.paste(&format!("{}end", "日".repeat(30)));
        let input = |model: &mut Model| screen(model, 20, 2).lines().last().map(str::to_owned);
        let end = input(&mut model).expect("a line");
        assert!(end.starts_with("\"日日日日日日日日end"), "{end}");
        model.key(ratatui::crossterm::event::KeyEvent::new(KeyCode::Home, KeyModifiers::NONE));
        let start = input(&mut model).expect("a line");
        assert!(start.starts_with("\"日日日日日日日日日日\""), "{start}");
    }

    #[test]
    fn the_reader_sees_what_is_below_and_what_waits() {
        let mut model = model();
        screen(&mut model, 40, 6);
        model.history.page_up();
        assert!(screen(&mut model, 40, 6).contains(" more below: Ctrl-End "));
        model.event(Event::Lost("gone".to_owned(), Duration::from_secs(5)));
        model.talk.say("hello");
        let text = screen(&mut model, 70, 12);
        assert!(text.contains("| reconnecting in 5 s: gone"), "{text}");
        assert!(text.contains(" 1 line waits for the connection "), "{text}");
    }

    #[test]
    fn without_colors_nothing_is_colored() {
        let mut terminal = Terminal::new(TestBackend::new(80, 20)).expect("a terminal");
        let mut colors = |model: &mut Model| {
            terminal.draw(|frame| model.draw(frame)).expect("drawing");
            let cells = terminal.backend().buffer().content();
            cells.iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert!(colors(&mut model()) > 0);
        assert_eq!(colors(&mut model().without_colors()), 0);
    }
}
