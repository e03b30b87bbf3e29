//! Compares the source with `docs/architecture.md`: the order of imports, the crates that are named, and the files in
//! the list of folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// From left to right. The first three import nothing.
const CORE: [&str; 7] = ["alive", "error", "sync", "observe", "config", "pipe", "conn"];

/// The modules that a module may import in addition to all of [`CORE`].
const ABOVE: [(&str, &[&str]); 12] = [
    ("content", &[]),
    ("tls", &[]),
    ("link", &[]),
    ("client", &["content", "tls", "link", "hosted", "websocket"]),
    ("listener", &["tls", "link", "hosted", "websocket"]),
    ("hosted", &[]),
    ("websocket", &["hosted"]),
    ("accept", &["hosted", "websocket"]),
    ("axum", &["accept"]),
    ("doctor", &["hosted", "listener", "accept"]),
    ("serve", &["content", "tls", "link", "hosted", "listener"]),
    ("testing", &["link", "listener", "hosted", "accept", "axum"]),
];

/// Crates that only some files may name. A file is allowed if its path begins with one of these.
const CRATES: [(&str, &[&str]); 13] = [
    // For the reasons of resets under hyper.
    ("h2", &["hosted/reason.rs"]),
    ("h2conn_engine", &["error.rs", "link.rs", "link/"]),
    (
        "hyper",
        &[
            "client/websocket",
            "listener/http1/drive.rs",
            "listener/websocket.rs",
            "serve/",
            "websocket.rs",
            "websocket/",
            "testing/",
        ],
    ),
    ("tokio_tungstenite", &["client/websocket", "websocket.rs", "websocket/", "testing/websocket"]),
    (
        "http_body",
        &[
            "accept.rs",
            "axum.rs",
            "client/exchange",
            "client/websocket",
            "content/",
            "doctor/hosted.rs",
            "hosted/",
            "listener/http1/body.rs",
            "listener/http1/drive.rs",
            "listener/websocket.rs",
            "serve",
            "testing/hosted",
        ],
    ),
    ("httpdate", &["serve/fields.rs"]),
    ("tokio_rustls", &["tls.rs", "tls/"]),
    ("rustls_platform_verifier", &["tls/client.rs"]),
    ("rcgen", &["tls/identity.rs"]),
    ("der", &["tls/validity.rs"]),
    ("tower_service", &["client/exchange", "serve"]),
    ("tracing", &["observe.rs", "observe/"]),
    ("metrics", &["observe.rs", "observe/"]),
];

/// One file of the library: its path below `src`, its modules, and its text without comments and
/// tests.
struct Source {
    path: String,
    modules: Vec<String>,
    text: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Result<Source> {
        let path = path.strip_prefix(root)?;
        let modules = path.with_extension("");
        let modules = modules.iter().map(|part| part.to_string_lossy().into_owned());
        let text = fs::read_to_string(root.join(path))?;
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        Ok(Source {
            path: path.to_string_lossy().into_owned(),
            modules: modules.collect(),
            text: code.collect::<Vec<_>>().join("\n"),
        })
    }

    fn module(&self) -> &str {
        &self.modules[0]
    }

    /// The modules of the crate's root that the file names, with `crate::` or with as many
    /// `super::` as lead there.
    fn imports(&self) -> BTreeSet<&str> {
        let up = "super::".repeat(self.modules.len());
        let roots = [self.after("crate::"), self.after(&up)].concat();
        let mut imports = BTreeSet::new();
        for rest in roots {
            match rest.strip_prefix('{') {
                Some(group) => imports.extend(firsts(group)),
                None => imports.extend(identifier(rest)),
            }
        }
        imports.retain(|name| {
            CORE.contains(name) || *name == "codec" || ABOVE.iter().any(|(above, _)| above == name)
        });
        imports.remove(self.module());
        imports
    }

    /// The text behind each `word` that is not part of a longer path or name.
    fn after(&self, word: &str) -> Vec<&str> {
        let found = self.text.match_indices(word).filter(|(at, _)| {
            let before = self.text[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !['_', ':'].contains(&c))
        });
        found.map(|(at, _)| &self.text[at + word.len()..]).collect()
    }

    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        !self.after(&path).is_empty()
    }
}

fn identifier(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|name| !name.is_empty())
}

/// The first identifiers of the members of a group, up to its end.
fn firsts(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(identifier(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn may_import(module: &str, name: &str) -> bool {
    if module == "codec" {
        return false;
    }
    let place = |name| CORE.iter().position(|core| *core == name);
    match (place(module), place(name)) {
        (Some(importer), Some(imported)) => imported < importer && importer > 2,
        // A codec's error becomes one of a connection.
        (Some(_), None) => module == "conn" && name == "codec",
        (None, Some(_)) => true,
        (None, None) => {
            ABOVE.iter().any(|(above, others)| *above == module && others.contains(&name))
        }
    }
}

/// All files of the library except the root, which may import everything, and except test files.
fn sources() -> Result<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path: PathBuf = entry?.path();
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            match stem.as_deref() {
                Some("tests" | "loom_tests" | "model" | "lib") => {}
                _ if path.is_dir() => folders.push(path),
                _ => sources.push(Source::read(&root, &path)?),
            }
        }
    }
    ensure!(sources.len() > 100, "{} files are not the whole library", sources.len());
    Ok(sources)
}

#[test]
fn imports_go_one_way() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources()? {
        let module = source.module();
        let known = CORE.contains(&module)
            || module == "codec"
            || ABOVE.iter().any(|(above, _)| *above == module);
        ensure!(known, "{} has no place in the order: give it one", source.path);
        for name in source.imports() {
            if !may_import(module, name) {
                wrong.push(format!("{} imports {name}", source.path));
            }
        }
    }
    ensure!(wrong.is_empty(), "against docs/architecture.md:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn each_crate_is_named_where_it_belongs_only() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources()? {
        for (name, allowed) in CRATES {
            let is_allowed = allowed.iter().any(|path| source.path.starts_with(path));
            if source.names_crate(name) && !is_allowed {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
    }
    ensure!(wrong.is_empty(), "against docs/architecture.md:\n{}", wrong.join("\n"));
    Ok(())
}

/// The columns of the list of folders in which the names stand.
const NAMES: std::ops::Range<usize> = 4..30;

/// The folders of the list and their lines, the first of which names the folder.
fn folders(document: &str) -> Result<Vec<(String, Vec<&str>)>> {
    let (_, list) = document.split_once("## Folders\n\n```text\n").context("a list of folders")?;
    let (list, _) = list.split_once("```").context("the end of the list")?;
    let mut folders: Vec<(String, Vec<&str>)> = Vec::new();
    for line in list.lines() {
        if !line.starts_with(' ') {
            let folder = line.split("  ").next().unwrap_or_default().split(' ').next_back();
            folders
                .push((folder.unwrap_or_default().trim_end_matches(".rs").to_owned(), Vec::new()));
        }
        folders.last_mut().context("a folder")?.1.push(line);
    }
    Ok(folders)
}

/// The files that a folder's lines name, as paths below the folder without their ending. A name
/// behind `a/b` may stand for `a/name`.
fn named(lines: &[&str]) -> Vec<Vec<String>> {
    let mut named = Vec::new();
    for line in &lines[1..] {
        let column: String = line.chars().take(NAMES.end).skip(NAMES.start).collect();
        let mut folder = "";
        for name in column.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.rsplit_once('/') {
                Some((above, _)) => {
                    folder = above;
                    named.push(vec![name.to_owned()]);
                }
                None => named.push(vec![name.to_owned(), format!("{folder}/{name}")]),
            }
        }
    }
    named
}

#[test]
fn each_file_is_in_the_list_of_folders_and_each_name_there_is_a_file() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/architecture.md"))?;
    let folders = folders(&document)?;
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for (folder, lines) in &folders {
        let places = ["src", "", "crates/cli/src"].map(|above| root.join(above).join(folder));
        for names in named(lines).iter().filter(|_| folder.ends_with('/')) {
            let files = places.iter().flat_map(|place| {
                let inside = ["", "src"].map(|inside| place.join(inside));
                inside.into_iter().flat_map(|place| {
                    names.iter().map(move |name| place.join(name).with_extension("rs"))
                })
            });
            match files.into_iter().find(|file| file.exists()) {
                Some(file) => _ = known.insert(file),
                None => wrong.push(format!("no file for {} of {folder}", names[0])),
            }
        }
    }
    for source in sources()? {
        let file = root.join("src").join(&source.path);
        let name = source.modules.last().context("a name")?.to_lowercase();
        let folder = format!("{}/", source.module());
        // A few files are named in the text of their folder.
        let of_folder =
            folders.iter().filter(|(at, lines)| *at == folder || lines[0].contains(&source.path));
        let text: String = of_folder.flat_map(|(_, lines)| lines.iter().copied()).collect();
        let is_told = text
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == name);
        if !known.contains(&file) && !is_told {
            wrong.push(format!("src/{} is not in the list", source.path));
        }
    }
    ensure!(known.len() > 150, "only {} files were found", known.len());
    ensure!(wrong.is_empty(), "docs/architecture.md, folders:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn an_import_is_seen_in_every_form() {
    let source = |modules: &[&str], text: &str| Source {
        path: String::new(),
        modules: modules.iter().map(|module| (*module).to_owned()).collect(),
        text: text.to_owned(),
    };
    let conn = |text| source(&["conn", "stream"], text);
    for (text, expected) in [
        ("use crate::pipe::{Inbox, Outbox};", &["pipe"][..]),
        ("use crate::{link::Link, sync::{lock, Mutex}, error};", &["error", "link", "sync"]),
        ("fn f() -> crate::error::Error", &["error"]),
        ("use super::super::link::Link;", &["link"]),
        ("use super::link::Link;", &[]),
        ("use crate::conn::Conn;", &[]),
        ("use other_crate::link::Link; pub(in crate::conn) fn f()", &[]),
    ] {
        let seen: Vec<_> = conn(text).imports().into_iter().map(str::to_owned).collect();
        assert_eq!(seen, expected, "{text}");
    }
    assert!(source(&["conn"], "use h2::Reason;").names_crate("h2"));
    assert!(!source(&["conn"], "crate::h2::Reason, xh2::y").names_crate("h2"));
}
