//! The library's terms in those of the command line: its errors name setters that a program calls, where a user of the
//! tool has options.
//!
//! Only errors of the library are changed, never paths, header fields or words of peers beside them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

/// Parts of the texts of the library, and the words of the tool for them. Earlier lines come first.
const TERMS: [(&str, &str); 24] = [
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
    (
        "text, or send bytes (without `WebSockets::json_lines` and `WebSockets::text_lines`)",
        "text, or send bytes (--binary)",
    ),
    ("`WebSockets::max_message_size`", "--max-message"),
    (
        "write http:// or https://, and set ClientBuilder::reach",
        "write http:// or https://, and --reach websocket; only `h2conn connect` takes them as they are",
    ),
    // The tool has no options for these.
    (", or, where a peer may be silent for longer, set a longer keep_alive_timeout", ""),
    (", the linger_timeout of this side", ""),
    ("max_links_per_origin or the server's limit", "the server's limit"),
    ("ServerTls::client_roots", "--client-ca FILE"),
    ("ServerTls::optional_client_roots", "--client-ca FILE"),
    ("the idle_timeout of this side", "the --idle-timeout of this side"),
    ("connector is set together with unix_socket", "a proxy is set together with --unix-socket"),
    ("unix_socket is set together with resolve", "--unix-socket is set together with --resolve"),
];

/// The beginnings of texts of the library.
const STARTS: [(&str, &str); 3] = [
    ("idle_timeout is ", "--idle-timeout is "),
    ("handshake_timeout is ", "--connect-timeout is "),
    ("max_message_size is ", "--max-message is "),
];

/// An error and its causes in one line, with options instead of setters where the library speaks.
pub(crate) fn shown(error: &anyhow::Error) -> String {
    let texts = error.chain().map(|cause| {
        let text = cause.to_string();
        if is_of_the_library(cause) { of_the_tool(&text).into_owned() } else { text }
    });
    texts.collect::<Vec<_>>().join(": ")
}

/// An error of the library alone, without its causes, with options instead of setters.
pub(crate) fn brief(error: &h2conn::Error) -> String {
    of_the_tool(&error.to_string()).into_owned()
}

fn is_of_the_library(cause: &(dyn StdError + 'static)) -> bool {
    let inside = cause.downcast_ref::<io::Error>().and_then(h2conn::Error::from_io);
    inside.is_some() || cause.is::<h2conn::Error>()
}

/// A text of the library with options instead of setters.
fn of_the_tool(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (library, tool) in STARTS {
        if let Some(rest) = text.strip_prefix(library) {
            text = Cow::Owned(format!("{tool}{rest}"));
        }
    }
    for (library, tool) in TERMS {
        if text.contains(library) {
            text = Cow::Owned(text.replace(library, tool));
        }
    }
    text
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
        "serve",
        "codec",
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

    /// A text for a client that asks for a WebSocket names this setter to those who write the server's program.
    const MODULES: [&str; 1] = ["ListenerBuilder::websockets"];

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

    /// The names of the setters in these sources, of several words.
    fn setters(sources: &[String]) -> BTreeSet<&str> {
        let behind = sources.iter().flat_map(|text| text.split("pub fn ").skip(1));
        let setters = behind.filter(|item| item.contains("(mut self"));
        let names = setters.filter_map(|item| item.split('(').next());
        names.filter(|name| name.contains('_')).collect()
    }

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
    }

    #[test]
    fn each_text_of_the_library_that_the_tool_can_show_names_options() {
        let sources = source("../../src");
        let setters = setters(&sources);
        assert!(setters.len() > 20, "{setters:?}");
        let mut texts = 0;
        for text in sources.iter().flat_map(|text| literals(text)) {
            // A text has several words, or it is a name that is put into one.
            if !text.contains(' ') && !text.contains("::") {
                continue;
            }
            texts += 1;
            let shown = MODULES.iter().fold(text, |text, module| text.replace(module, ""));
            let shown = of_the_tool(&shown);
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

    /// The text with `{}` for all that is put into it.
    fn with_gaps(text: &str) -> String {
        let mut parts = text.split('{');
        let mut all = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            all.push_str("{}");
            all.push_str(part.split_once('}').map_or("", |(_, behind)| behind));
        }
        all
    }

    /// Whether the library says this phrase, as it stands or with the name of a setter put into a text.
    fn is_said(phrase: &str, all: &[String], has: impl Fn(&str, &str) -> bool) -> bool {
        let is_name = |word: &&str| word.contains("::") || word.ends_with("_timeout");
        let name = phrase.split(' ').find(is_name);
        let with_gap = name.map(|name| (name, phrase.replace(name, "{}")));
        all.iter().any(|text| {
            let is_put_in = |(name, phrase): &(&str, String)| {
                has(&with_gaps(text), phrase) && all.iter().any(|text| text == name)
            };
            has(text, phrase) || with_gap.as_ref().is_some_and(is_put_in)
        })
    }

    #[test]
    fn each_phrase_is_one_that_the_library_says() {
        let all: Vec<String> = source("../../src").iter().flat_map(|text| literals(text)).collect();
        for (library, _) in TERMS {
            let is_there = is_said(library, &all, |text, phrase| text.contains(phrase));
            assert!(is_there, "the library no longer says: {library}");
        }
        for (library, _) in STARTS {
            let is_there = is_said(library, &all, |text, phrase| text.starts_with(phrase));
            assert!(is_there, "no text of the library begins with: {library}");
        }
        let no_phrase = "the idle_timeout of that side";
        assert!(!is_said(no_phrase, &all, |text, phrase| text.contains(phrase)));
    }

    /// The name of a setter stands alone in the sources where it is put into a text: `NAME is …, and must be …`.
    #[test]
    fn each_setter_that_the_tool_calls_with_a_value_has_its_option_in_each_text() {
        let tool = source("src");
        let is_called = |setter: &str| {
            let call = format!(".{setter}(");
            let calls = tool.iter().flat_map(|text| text.split(&call).skip(1));
            calls.into_iter().any(|value| !value.starts_with("None)"))
        };
        for setter in UNUSED {
            assert!(!is_called(setter), "{setter} needs an option's name");
        }
        let library = source("../../src");
        let setters = setters(&library);
        let is_time =
            |name: &str| ["_timeout", "_interval", "_age"].iter().any(|end| name.ends_with(end));
        let names = library.iter().flat_map(|text| literals(text));
        for name in names.filter(|name| is_time(name) && setters.contains(&**name)) {
            let has_term = STARTS.iter().any(|(start, _)| *start == format!("{name} is "));
            assert!(has_term || !is_called(&name), "{name} needs an option's name");
        }
    }

    #[test]
    fn only_the_librarys_own_words_are_changed() {
        let library = h2conn::Client::builder().idle_timeout(std::time::Duration::ZERO).build();
        let library = library.map(drop).unwrap_err();
        let beginning = "--idle-timeout is 0ns, and must be ";
        assert!(brief(&library).starts_with(beginning), "{library}");
        let path = "cannot read idle_timeout, the idle_timeout of this side";
        let with_path = |error: anyhow::Error| shown(&error.context(path));
        assert!(with_path(library.clone().into()).starts_with(&format!("{path}: {beginning}")));
        let inside = io::Error::from(library);
        assert!(with_path(inside.into()).starts_with(&format!("{path}: {beginning}")));
        let peers = "the server answered 403: idle_timeout is 0, see ClientTls::pinned";
        assert_eq!(with_path(anyhow::anyhow!(peers)), format!("{path}: {peers}"));
        // It is the beginning of a text alone.
        let other = "link_idle_timeout is 2y, and must be at most 1y";
        assert!(matches!(of_the_tool(other), Cow::Borrowed(same) if same == other));
    }
}
