//! The library's terms in those of the command line: its errors name setters that a program calls, where a user of the
//! tool has options.

use std::borrow::Cow;

/// Parts of the texts of the library, and the words of the tool for them. Earlier lines come first.
const TERMS: [(&str, &str); 18] = [
    ("ClientTls::pinned", "--fingerprint SHA256"),
    ("ClientTls::identity", "--cert FILE and --key FILE"),
    (
        ", or tell that name to ClientTls::server_name",
        " (--resolve HOST:PORT:ADDR gives it an address), or trust this certificate whatever its names are \
         (--fingerprint SHA256)",
    ),
    ("the text given to ClientTls::only_root_certificates", "the file of --cacert"),
    ("given to ClientTls::only_root_certificates", "of --cacert"),
    ("ClientTls::only_root_certificates", "--cacert FILE"),
    ("ClientTls::root_certificates", "--cacert FILE"),
    ("the text given to ServerTls::client_roots", "the file of --client-ca"),
    ("given to ServerTls::client_roots", "of --client-ca"),
    ("those given to ServerTls", "those of --client-ca"),
    (" (Client::open does not wait for the response)", ""),
    (" (Listener: ListenerBuilder::protocols)", ""),
    (
        "the connector that the program has given the client is not done; check what it waits for",
        "the proxy has not made the connection; check that it is the right one, and that it reaches the server (-x, or \
         the variables HTTPS_PROXY, HTTP_PROXY and ALL_PROXY)",
    ),
    // The tool has no options for these.
    (", or, where a peer may be silent for longer, set a longer keep_alive_timeout", ""),
    (", the linger_timeout of this side", ""),
    ("max_links_per_origin or the server's limit", "the server's limit"),
    ("ServerTls::client_roots", "--client-ca FILE"),
    ("ServerTls::optional_client_roots", "--client-ca FILE"),
];

/// Setters, and the options that call them. They stand in texts as whole words.
const SETTERS: [(&str, &str); 5] = [
    ("idle_timeout", "--idle-timeout"),
    ("connect_timeout", "--connect-timeout"),
    ("handshake_timeout", "--connect-timeout"),
    ("response_timeout", "--connect-timeout"),
    ("unix_socket", "--unix-socket"),
];

/// The end of an error of rustls, which is for those who write programs.
const MANUAL_OF_RUSTLS: &str =
    ": https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";

/// The line with options instead of setters.
pub(crate) fn of_the_tool(line: &str) -> Cow<'_, str> {
    let mut line = Cow::Borrowed(line);
    for (library, tool) in TERMS {
        if line.contains(library) {
            line = Cow::Owned(line.replace(library, tool));
        }
    }
    if line.contains(MANUAL_OF_RUSTLS) {
        line = Cow::Owned(line.replace(MANUAL_OF_RUSTLS, ""));
    }
    for (setter, option) in SETTERS {
        if line.contains(setter) {
            line = Cow::Owned(with_word(&line, setter, option));
        }
    }
    line
}

/// The text with another word instead of `word`, but not where that is a part of a longer one.
fn with_word(text: &str, word: &str, other: &str) -> String {
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let (mut all, mut from) = (String::new(), 0);
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        let is_part = text[..at].ends_with(is_of_a_word) || text[end..].starts_with(is_of_a_word);
        all.push_str(&text[from..at]);
        all.push_str(if is_part { word } else { other });
        from = end;
    }
    all + &text[from..]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Parts of the library without texts for users of the tool: it is built without them, or the compiler shows their
    /// texts, or they are tests.
    const OTHERS: [&str; 10] = [
        "accept",
        "codec",
        "websocket",
        "axum",
        "hosted",
        "testing",
        "tests",
        "documented",
        "absent",
        "deadline",
    ];

    /// Setters that texts name and the tool does not call, so that their texts do not come about; or a server says them
    /// to its clients of its own setters.
    const UNUSED: [&str; 10] = [
        "initial_window_size",
        "max_window_size",
        "max_link_memory",
        "max_memory",
        "send_queue_size",
        "max_links_per_addr",
        "max_links_per_origin",
        "link_policy",
        "stall_timeout",
        "keep_alive_timeout",
    ];

    /// The setter of `serve --max-links`. The text comes from the server, which can be another program.
    const OF_A_SERVER: &str = "max_links";

    fn files(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if OTHERS.contains(&name.trim_end_matches(".rs")) {
                continue;
            }
            match path.is_dir() {
                true => files(&path, found),
                false => found.push(fs::read_to_string(path).unwrap()),
            }
        }
    }

    /// The source of a folder beside this package, without its tests.
    fn source(folder: &str) -> Vec<String> {
        let mut all = Vec::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut all);
        all.iter().map(|text| text.split("\nmod tests {").next().unwrap().to_owned()).collect()
    }

    /// The string literals of a text, lines that go on in the next one put together.
    fn literals(text: &str) -> Vec<String> {
        let whole: Vec<&str> = text.split("\\\n").collect();
        let whole: Vec<&str> = whole.iter().map(|part| part.trim_start()).collect();
        let whole = whole.concat().replace("'\"'", "' '").replace("\\\"", "'");
        let lines = whole.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
    }

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
    }

    #[test]
    fn each_text_of_the_library_that_the_tool_can_show_names_options() {
        let sources = source("../../src");
        let mut setters = BTreeSet::new();
        for text in &sources {
            let behind = text.split("pub fn ").skip(1).filter(|item| item.contains("(mut self"));
            setters.extend(behind.filter_map(|item| item.split('(').next()));
        }
        setters.retain(|name| name.contains('_'));
        assert!(setters.len() > 20, "{setters:?}");
        let mut texts = 0;
        for text in sources.iter().flat_map(|text| literals(text)) {
            // A text has several words, or it is a name that is put into one.
            if !text.contains(' ') && !text.contains("::") {
                continue;
            }
            texts += 1;
            let shown = of_the_tool(&text);
            let is_path = |(at, _)| {
                let (before, behind) = (&shown[..at], &shown[at + 2..]);
                before.ends_with(char::is_alphanumeric) && behind.starts_with(char::is_alphabetic)
            };
            assert!(!shown.match_indices("::").any(is_path), "it names a setter: {shown}");
            for word in words(&shown) {
                let is_known = UNUSED.contains(&word) || word == OF_A_SERVER;
                assert!(!setters.contains(word) || is_known, "{word} is a setter: {shown}");
            }
        }
        assert!(texts > 200, "{texts} texts are too few");
    }

    #[test]
    fn each_term_is_one_of_the_library_and_the_tool_calls_no_setter_that_is_unused() {
        let all: Vec<String> = source("../../src").iter().flat_map(|text| literals(text)).collect();
        for (library, _) in TERMS {
            // The name of a setter can be put into a text.
            let name = library.split(' ').find(|word| word.contains("::")).unwrap_or(library);
            let name = name.trim_matches(['(', ')']);
            let is_there = all.iter().any(|text| text.contains(library) || text.contains(name));
            assert!(is_there, "the library no longer says: {library}");
        }
        for text in source("src") {
            for setter in UNUSED {
                assert!(!text.contains(&format!(".{setter}(")), "{setter} needs an option's name");
            }
        }
    }

    #[test]
    fn a_word_is_another_one_only_as_a_whole() {
        let text = "idle_timeout, link_idle_timeout, (idle_timeout) idle_timeouts idle_timeout";
        let expected =
            "--idle-timeout, link_idle_timeout, (--idle-timeout) idle_timeouts --idle-timeout";
        assert_eq!(of_the_tool(text), expected);
        let peers = "a text without any of these: h2conn::Error, [::1]:80";
        assert!(matches!(of_the_tool(peers), Cow::Borrowed(same) if same == peers));
    }
}
