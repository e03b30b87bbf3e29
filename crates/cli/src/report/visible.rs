//! Text in a form that is safe for a terminal or a log.

use std::borrow::Cow;

/// The text that replaces a password.
const HIDDEN: &str = "(hidden)";

/// A line without characters that control a terminal, and without the passwords of URLs.
///
/// Peers choose much of the text that is shown: subjects of certificates, texts of refusals, names
/// of files. Without escaping, such text could hide lines, forge others, or run commands of the
/// terminal.
pub(crate) fn visible(line: &str) -> Cow<'_, str> {
    let line = without_passwords(line);
    if !line.contains(is_obeyed) {
        return line;
    }
    let mut shown = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The most bytes that are shown of a line, unless the line ends the program.
const LONGEST: usize = 1024;

/// A line that peers can cause often: as [`visible`], and cut if it is too long.
///
/// Paths and header fields can have kilobytes, and logs are kept. The cut comes last, because a
/// password is recognized by the text behind it.
pub(super) fn brief(line: &str) -> Cow<'_, str> {
    let shown = visible(line);
    if shown.len() <= LONGEST {
        return shown;
    }
    let end = (0..=LONGEST).rev().find(|&at| shown.is_char_boundary(at)).unwrap_or(0);
    let (head, rest) = shown.split_at(end);
    Cow::Owned(format!("{head}… ({} bytes more)", rest.len()))
}

/// C0, DEL and C1. Also characters that break a line or reverse the direction of the text
/// (Unicode's Trojan Source, CVE-2021-42574).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with the passwords of its URLs hidden. A user name without a password is hidden too,
/// because it can be a token.
pub(crate) fn without_passwords(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + "://".len());
        shown.push_str(head);
        rest = tail;
        if let Some(at) = end_of_user(tail) {
            let (user, host) = tail.split_at(at);
            if let Some((name, _)) = user.split_once(':') {
                shown.push_str(name);
                shown.push(':');
            }
            shown.push_str(HIDDEN);
            rest = host;
        }
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The position of the `@` behind a user name and password, in the text behind the `://` of a URL.
fn end_of_user(text: &str) -> Option<usize> {
    let end = text.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(text.len());
    let authority = &text[..end];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    // A password that contains a `/` or a space ends the authority early. The sign is a port that
    // is no number.
    let (_, port) =
        authority.trim_end_matches([',', ';', ':', '.', ')', ']', '"']).rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port || authority.starts_with('[') { None } else { text.rfind('@') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_and_all_else_is_as_it_was() {
        let table = [
            ("plain text, ünïcödé, 漢字, and a \\", "plain text, ünïcödé, 漢字, and a \\"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
            ("a\u{202e}b\u{2066}c\u{2028}", "a\\u{202e}b\\u{2066}c\\u{2028}"),
        ];
        for (text, shown) in table {
            assert_eq!(visible(text), shown);
        }
        for c in ('\0'..='\u{ffff}').filter(|c| c.is_control()) {
            assert!(!visible(&c.to_string()).contains(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_and_behind_its_passwords() {
        let most = "x".repeat(LONGEST);
        assert_eq!(brief(&most), most);
        assert_eq!(brief(&format!("{most}yz")), format!("{most}… (2 bytes more)"));
        let odd = &most[1..];
        assert_eq!(brief(&format!("{odd}漢z")), format!("{odd}… (4 bytes more)"));
        let escaped = brief("\x07".repeat(LONGEST).as_str()).into_owned();
        assert!(escaped.len() < LONGEST + 32 && escaped.starts_with("\\u{7}\\u{7}"), "{escaped}");
        let secret = format!("http://u:{}@h", "hunter2".repeat(LONGEST));
        assert_eq!(brief(&secret), "http://u:(hidden)@h");
    }

    #[test]
    fn passwords_of_urls_are_hidden_wherever_they_stand() {
        let table = [
            ("http://u:hunter2@p:3128", "http://u:(hidden)@p:3128"),
            ("see \"https://u:hunter2@h/x\": no", "see \"https://u:(hidden)@h/x\": no"),
            (
                "http://u:hunter2@a and socks5h://v:hunter2@b",
                "http://u:(hidden)@a and socks5h://v:(hidden)@b",
            ),
            ("https://hunter2@h/", "https://(hidden)@h/"),
            ("http://u:hun@ter2@h", "http://u:(hidden)@h"),
            ("http://u:hun/ter2@h: it cannot be read", "http://u:(hidden)@h: it cannot be read"),
            ("http://u:hun ter2@h: it cannot be read", "http://u:(hidden)@h: it cannot be read"),
        ];
        for (text, shown) in table {
            assert_eq!(without_passwords(text), shown);
        }
        for plain in [
            "http://h:80/a@b",
            "https://[::1]/@",
            "https://[::1]:8443, and me@home",
            "https://h/?mail=a@b",
            "http://h:80: refused, says a@b",
            "a@b",
            "://",
        ] {
            assert_eq!(without_passwords(plain), plain);
        }
    }
}
