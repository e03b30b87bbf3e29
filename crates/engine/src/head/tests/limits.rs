//! Blocks that are too large (RFC 9113 §10.5.1).

use super::*;

fn trailers_within(limits: Limits, fields: Fields<'_>) -> Result<HeaderMap, Refused> {
    let mut trailers = Trailers::new(limits);
    feed(&[fields], |field| trailers.field(field));
    trailers.finish()
}

#[test]
fn the_size_is_bounded() {
    let fields: Fields<'_> = &[("abc", "de"), ("f", "")];
    let sized = |size| trailers_within(Limits { size, count: 10 }, fields);
    assert!(sized(3 + 2 + 32 + 1 + 32).is_ok());
    assert_eq!(sized(69).unwrap_err(), Refused::TooLarge { size: 70, count: 2 });
    assert_eq!(sized(0).unwrap_err(), Refused::TooLarge { size: 70, count: 2 });
}

#[test]
fn the_number_of_fields_is_bounded() {
    let fields: Fields<'_> = &[("a", ""), ("a", ""), ("b", "")];
    let counted = |count| trailers_within(Limits { size: 1 << 14, count }, fields);
    assert_eq!(counted(3).unwrap().len(), 3);
    assert_eq!(counted(2).unwrap_err(), Refused::TooLarge { size: 99, count: 3 });
}

#[test]
fn pseudo_header_fields_count_too() {
    let mut head = RequestHead::new(Limits { size: 1 << 14, count: 3 }, 20, false);
    feed(&[GET], |field| head.field(field));
    assert!(matches!(head.finish(), Err(Refused::TooLarge { count: 4, .. })));
}

/// Browsers send one crumb for each cookie.
#[test]
fn crumbs_count_as_one_field_of_their_whole_size() {
    let crumbs = [("cookie", "a=b"); 200];
    let limits = Limits { size: 1 << 14, count: 5 };
    let mut head = RequestHead::new(limits, 20, false);
    feed(&[GET, &crumbs], |field| head.field(field));
    assert_eq!(head.finish().unwrap().request.headers()["cookie"].len(), 200 * 5 - 2);
    let mut head = RequestHead::new(limits, 20, false);
    feed(&[GET, &crumbs, &crumbs], |field| head.field(field));
    let Err(Refused::TooLarge { size, count: 5 }) = head.finish() else {
        panic!("{size} bytes were taken", size = 400 * 41);
    };
    assert!(size > 400 * 41);
}

#[test]
fn what_is_too_large_is_not_looked_at_any_more() {
    let fields: Fields<'_> = &[("a", ""), ("b", ""), ("Connection", "\0")];
    let result = trailers_within(Limits { size: 50, count: 10 }, fields);
    assert!(matches!(result, Err(Refused::TooLarge { count: 3, .. })));
}

#[test]
fn a_fault_before_the_limit_counts() {
    let fields: Fields<'_> = &[("A", ""), ("b", "")];
    assert_malformed(trailers_within(Limits { size: 50, count: 10 }, fields), "RFC 9113 §8.2.1");
}

#[test]
fn nothing_is_kept_beyond_the_limit() {
    let mut trailers = Trailers::new(Limits { size: 1000, count: 100 });
    for _ in 0..1000 {
        trailers.field(Field { name: b"x", value: &[b'y'; 100], never_indexed: false });
        assert!(trailers.kept() <= 1000);
    }
    assert_eq!(trailers.kept(), 0);
}

#[test]
fn no_cookie_is_kept_beyond_the_limit() {
    let mut head = RequestHead::new(Limits { size: 1000, count: 100 }, 20, false);
    for _ in 0..1000 {
        head.field(Field { name: b"cookie", value: &[b'y'; 100], never_indexed: false });
    }
    assert_eq!(head.kept(), 0);
}
