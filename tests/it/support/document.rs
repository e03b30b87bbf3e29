//! A table in a document, which the tests of two crates compare with the source.

/// A number with a comma before every three digits.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let rest = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    rest.fold(first.to_owned(), |all, three| format!("{all},{three}"))
}

/// Fails unless the table between `<!-- marker -->` and `<!-- end -->` in the document at `path` is
/// `right`.
#[track_caller]
pub(crate) fn compare(path: &str, marker: &str, right: &str) {
    let document = std::fs::read_to_string(path).expect("the document is there");
    let begin = format!("<!-- {marker} -->\n");
    let (_, rest) = document.split_once(&begin).expect("the table has a beginning");
    let (documented, _) = rest.split_once("<!-- end -->\n").expect("the table has an end");
    assert!(documented == right, "{path} must have:\n{right}");
}

#[test]
fn numbers_are_grouped_by_threes() {
    for (plain, grouped) in
        [(0, "0"), (999, "999"), (1_000, "1,000"), (20_050, "20,050"), (1_000_000, "1,000,000")]
    {
        assert_eq!(number(plain), grouped);
    }
}
