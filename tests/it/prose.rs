//! Checks the prose of the project for the habits that `CONTRIBUTING.md` rules out: documents and comments.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Words, and what to write instead.
const WORDS: [(&str, &str); 6] = [
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("whoever", "the user, the peer, the task that …"),
    ("whosoever", "the user, the peer, the task that …"),
];

/// Statements must not begin with these. Questions may.
const BEGINNINGS: [&str; 3] = ["Who", "Whoever", "What"];

/// Before "to" and a verb these say neither "must" nor "will".
const VERBS: [&str; 4] = ["is", "are", "was", "were"];
const ADVERBS: [&str; 5] = ["not", "never", "only", "all", "both"];

/// Folders without prose of ours.
const SKIPPED: [&str; 5] = ["target", "node_modules", ".venv", ".git", "corpus"];

#[test]
fn statements_have_a_subject_and_duties_a_must() -> Result<()> {
    let mut files = Vec::new();
    find(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files)?;
    ensure!(files.len() > 300, "only {} files have prose", files.len());
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for (line, paragraph) in paragraphs(&text, Kind::of(&file)) {
            let found =
                sentences(&paragraph).filter_map(|sentence| Some((fault(sentence)?, sentence)));
            faults.extend(found.map(|(fault, sentence)| {
                format!("{}:{line}: {fault}: {sentence}", file.display())
            }));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn each_habit_is_found() {
    for sentence in [
        "What a peer sends is counted.",
        "Who reads first wins.",
        "The caller is to wait.",
        "They were not to be told.",
        "Whatever whoever does.",
        "This mends it.",
    ] {
        assert!(fault(sentence).is_some(), "{sentence}");
    }
    for sentence in
        ["What does a peer send?", "The answer is to the point.", "Whatever comes is read."]
    {
        assert!(fault(sentence).is_none(), "{sentence}");
    }
    let code = "//! Head.\n//! What follows\n//! is.\n//!\n//! ```\n//! // What is code.\n//! ```\nlet x; // What is not a line.\n";
    let found: Vec<_> = paragraphs(code, Kind::Slashes).collect();
    assert_eq!(found, [(1, "Head. What follows is.".to_owned())]);
    let document = "# What is a heading\n\n* What is a\n  bullet.\n\n| What is a cell | 1 |\n\n```rust\n// What is code.\n```\n";
    let found: Vec<_> = paragraphs(document, Kind::Markdown).map(|(_, text)| text).collect();
    assert_eq!(found, ["What is a bullet.", "What is a cell", "1"]);
}

/// The fault of a sentence, and what helps.
fn fault(sentence: &str) -> Option<String> {
    let words: Vec<&str> = sentence.split_whitespace().map(bare).collect();
    let first = words.first()?;
    // A link can be the name of a heading.
    if BEGINNINGS.contains(first) && !sentence.starts_with('[') && !sentence.ends_with('?') {
        return Some(format!("it begins with {first:?}: name the subject"));
    }
    if let Some((word, better)) =
        WORDS.iter().find(|(word, _)| words.iter().any(|w| w.eq_ignore_ascii_case(word)))
    {
        return Some(format!("it has {word:?}: write {better:?}"));
    }
    let duty = (0..words.len()).find_map(|at| {
        let adverb = words.get(at + 1).filter(|word| ADVERBS.contains(word));
        let to = at + 1 + usize::from(adverb.is_some());
        let is_duty = VERBS.contains(&words[at])
            && words.get(to) == Some(&"to")
            && words.get(to + 1).is_some_and(|verb| is_verb(verb));
        is_duty.then(|| words[at..=to].join(" "))
    });
    duty.map(|duty| format!("it has {duty:?}: write \"must\" or \"will\""))
}

/// Articles and the like are none.
fn is_verb(word: &str) -> bool {
    !["", "the", "a", "an", "this", "that", "its", "their"].contains(&word)
        && word.chars().all(|c| c.is_ascii_lowercase())
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn sentences(paragraph: &str) -> impl Iterator<Item = &str> {
    let ends = paragraph.match_indices([' ']).filter_map(|(at, _)| {
        let before = paragraph[..at].trim_end_matches(['*', ')', '"', '”']);
        before.ends_with(['.', '!', '?', ':']).then_some(at + 1)
    });
    let mut from = 0;
    ends.chain([paragraph.len()]).collect::<Vec<_>>().into_iter().map(move |to| {
        let sentence = paragraph[from..to].trim();
        from = to;
        sentence
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Markdown,
    /// Comments begin with `//`.
    Slashes,
    /// Comments begin with `#`.
    Hashes,
}

impl Kind {
    fn of(file: &Path) -> Kind {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => Kind::Markdown,
            Some("rs" | "go" | "js" | "mjs") => Kind::Slashes,
            _ => Kind::Hashes,
        }
    }

    /// The prose of a line, if it is a line of prose.
    fn prose(self, line: &str) -> Option<&str> {
        let line = line.trim();
        match self {
            Kind::Markdown => Some(line),
            Kind::Slashes => Some(line.strip_prefix("//")?.trim_start_matches(['/', '!']).trim()),
            Kind::Hashes => Some(line.strip_prefix('#')?.trim_start_matches('#').trim()),
        }
    }
}

/// The paragraphs of a file, each with the number of its first line. A bullet is a paragraph, and so is a cell of a
/// table. Headings and code are none.
fn paragraphs(text: &str, kind: Kind) -> impl Iterator<Item = (usize, String)> {
    let mut found = vec![(0, String::new())];
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        let prose = kind.prose(line);
        let is_fence = prose.is_some_and(|prose| prose.starts_with("```"));
        in_code = in_code != is_fence && (matches!(kind, Kind::Markdown) || prose.is_some());
        let prose = prose
            .filter(|prose| !(in_code || is_fence || prose.starts_with('#')))
            .unwrap_or_default();
        if let Some(row) = prose.strip_prefix('|') {
            found.extend(row.split('|').map(|cell| (number, cell.trim().to_owned())));
            found.push((number, String::new()));
            continue;
        }
        let bullet = ["* ", "- "].iter().find_map(|mark| prose.strip_prefix(mark));
        if prose.is_empty() || bullet.is_some() {
            found.push((number, String::new()));
        }
        let prose = bullet.unwrap_or(prose);
        if let Some((first, paragraph)) = found.last_mut() {
            if paragraph.is_empty() {
                *first = number;
            } else if !prose.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(prose);
        }
    }
    found.into_iter().filter(|(_, paragraph)| !paragraph.is_empty())
}

/// All files that have prose.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let has_prose = ["md", "rs", "go", "js", "mjs", "py", "sh", "toml"]
            .iter()
            .any(|extension| path.extension().is_some_and(|e| e == *extension));
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                find(&path, files)?;
            }
        } else if has_prose || path.ends_with(".ci/run") {
            files.push(path);
        }
    }
    Ok(())
}
