//! Compares the limits of a listener in `SECURITY.md` with the defaults.

#[path = "../../tests/it/support/document.rs"]
mod document;

use std::time::Duration;

use super::ListenerBuilder;
use super::builder::BACKLOG;
use super::descriptors;
use crate::config::for_sending;
use crate::link::{WASTE, max_fields};
use document::number;

fn bytes(bytes: usize) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(bits, _)| bytes >= 1 << bits) {
        Some((bits, unit)) => {
            assert_eq!(bytes % (1 << bits), 0, "{bytes} is no round number");
            format!("{} {unit}", bytes >> bits)
        }
        None => bytes.to_string(),
    }
}

fn time(time: Option<Duration>) -> String {
    time.map_or("none".to_owned(), |time| format!("{} s", time.as_secs()))
}

fn table() -> String {
    let config = ListenerBuilder::default().config;
    let (slow, most) = WASTE;
    let silence = config.keep_alive_interval.map(|interval| interval + config.keep_alive_timeout);
    let fields =
        format!("{}, {} fields", bytes(config.max_header_list_size as usize), max_fields());
    let links = format!("half of `ulimit -n`, at most {}", number(descriptors::MOST));
    let link_memory = config.link_memory as usize;
    let rows = [
        ("links", links, "`max_links`"),
        (
            "links of one address",
            config.max_links_per_addr.map_or("none".to_owned(), |links| links.to_string()),
            "`max_links_per_addr`",
        ),
        ("time for TLS and SETTINGS", time(Some(config.handshake_timeout)), "`handshake_timeout`"),
        (
            "time until something is accepted on a link",
            time(config.first_conn_timeout),
            "`first_conn_timeout`",
        ),
        ("time of a link without Conns", time(config.link_idle_timeout), "`link_idle_timeout`"),
        (
            "silence of a peer while a Conn is open",
            time(silence),
            "`keep_alive_interval`, `keep_alive_timeout`",
        ),
        ("Conns of a link", number(config.max_conns.into()), "`max_conns_per_link`"),
        (
            "requests that wait for `accept`, and of these one link",
            format!("{}, as many as are left", number(BACKLOG as u64)),
            "–",
        ),
        (
            "requests that come to nothing: then reading pauses, then the link ends",
            format!("{}, {}", number(slow.into()), number(most.into())),
            "–",
        ),
        ("a request's header section; more is answered 431", fields, "–"),
        ("unread bytes and header fields of all links", bytes(config.max_memory), "`max_memory`"),
        ("unread bytes of a link", bytes(link_memory), "`max_link_memory`"),
        ("header fields of a link", bytes(link_memory / 2), "half of `max_link_memory`"),
        (
            "unread bytes of a Conn, and where the path needs more",
            format!("{}, {}", bytes(config.window as usize), bytes(config.max_window as usize)),
            "`initial_window_size`, `max_window_size`",
        ),
        ("bytes of a Conn that wait to be sent", bytes(config.send_queue), "`send_queue_size`"),
        (
            "bytes of a link that wait to be sent",
            bytes(config.send_memory()),
            "half of `max_link_memory`",
        ),
        (
            "bytes of all links that wait to be sent",
            bytes(for_sending(config.max_memory)),
            "half of `max_memory`",
        ),
        (
            "time that a peer has to end a Conn which was closed here",
            time(Some(config.linger_timeout)),
            "`linger_timeout`",
        ),
    ];
    let mut table = "| what | limit | knob |\n|---|---|---|\n".to_owned();
    for (what, limit, knob) in rows {
        table += &format!("| {what} | {limit} | {knob} |\n");
    }
    table
}

#[test]
fn the_limits_of_the_document_are_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    document::compare(path, "limits of a listener: src/listener/documented.rs", &table());
}
