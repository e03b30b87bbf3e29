//! The texts of a page of HTML, as far as an error needs them.

/// Elements without text for people.
const SILENT: [&str; 3] = ["script", "style", "noscript"];

/// Characters that pages write as references, beside those with a number.
const REFERENCES: [(&str, &str); 6] = [
    ("&nbsp;", " "),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    // The last one, because each of the others may follow it.
    ("&amp;", "&"),
];

/// The texts between the tags, with single spaces, in their order. The title is usually the first.
pub(super) fn texts(page: &str) -> impl Iterator<Item = String> {
    let mut rest = page;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('<') {
                rest = behind_tag(behind);
                continue;
            }
            let (text, behind) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            rest = behind;
            let text =
                REFERENCES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
            let words: Vec<&str> = text.split_whitespace().collect();
            if !words.is_empty() {
                return Some(words.join(" "));
            }
        }
        None
    })
}

/// The page behind the tag that begins here, and behind its element if that has no text.
fn behind_tag(tag: &str) -> &str {
    let end_of = |text: &str, mark: &str| text.find(mark).map_or(text.len(), |at| at + mark.len());
    if tag.starts_with("!--") {
        return &tag[end_of(tag, "-->")..];
    }
    let name = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let behind = &tag[end_of(tag, ">")..];
    if !SILENT.contains(&&*name) {
        return behind;
    }
    let ends = |at: &usize| {
        let tag = behind.as_bytes().get(at + 2..at + 2 + name.len());
        tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
    };
    let end = behind.match_indices("</").map(|(at, _)| at).find(ends);
    &behind[end.unwrap_or(behind.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_page_are_those_that_a_reader_sees() {
        for (page, expected) in [
            ("", &[][..]),
            ("plain", &["plain"]),
            ("<html><head><title>\n Gone\n away </title>", &["Gone away"]),
            ("<!DOCTYPE html><!-- a > b --><p>x &amp;lt; y&nbsp;&#39;z&#39;", &["x &lt; y 'z'"]),
            ("<STYLE>p { }</Style ><script>if (a < b) {}</script>text", &["text"]),
            ("<h1 class='a'>502</h1><hr/>of <b>it</b>", &["502", "of", "it"]),
            ("<", &[]),
            ("<script>never ends", &[]),
            ("<style>a</b></STYLE>text</style>", &["text"]),
            ("a<b", &["a"]),
        ] {
            assert_eq!(texts(page).collect::<Vec<_>>(), expected, "{page}");
        }
    }
}
