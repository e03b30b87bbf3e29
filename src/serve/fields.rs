//! The fields of requests as programs want them, and of responses as HTTP/2 wants them.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderValue};

use crate::content::{remove_connection_specific, trim};

/// Joins several fields `cookie` to one, as programs expect it (RFC 9113 §8.2.3).
pub(super) fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(header::COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        joined.set_sensitive(true);
        fields.insert(header::COOKIE, joined);
    }
}

/// Makes the fields of a response fit for HTTP/2.
pub(super) fn prepare(fields: &mut HeaderMap) {
    remove_connection_specific(fields);
    trim(fields);
    if !fields.contains_key(header::DATE) {
        fields.insert(header::DATE, date());
    }
}

/// The present time as a field's value (RFC 9110 §5.6.7).
pub(super) fn date() -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    LAST.with_borrow_mut(|last| match last {
        Some((of, date)) if *of == second => date.clone(),
        _ => {
            let date = HeaderValue::try_from(httpdate::fmt_http_date(now))
                .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
            *last = Some((second, date.clone()));
            date
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in all {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn cookies_are_joined_and_other_fields_are_not() {
        let mut all = fields(&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("x", "2")]);
        join_cookies(&mut all);
        let cookies: Vec<_> = all.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        assert_eq!(all.get_all("x").iter().count(), 2);
        let mut one = fields(&[("cookie", "a=1; b=2")]);
        join_cookies(&mut one);
        assert_eq!(one, fields(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn fields_of_http_1_and_those_that_connection_names_are_removed() {
        let mut all = fields(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x", " a b\t"),
        ]);
        prepare(&mut all);
        assert_eq!(all, fields(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("x", "a b")]));
    }

    #[test]
    fn a_date_is_a_date_of_http() {
        let mut all = HeaderMap::new();
        prepare(&mut all);
        let date = all["date"].to_str().expect("it is ASCII");
        let time = httpdate::parse_http_date(date).expect(date);
        let age = SystemTime::now().duration_since(time).expect("it is not in the future");
        assert!(age.as_secs() < 3600, "{date}");
    }
}
