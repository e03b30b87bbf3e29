//! Connections through real proxies. Each proxy runs the configuration of `interop/proxies` that
//! `docs/proxies.md` shows.

mod backend;
mod boxes;
mod cells;
mod doctor;
mod kinds;
mod ready;
mod speed;
mod table;
mod tool;

use std::fs;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;

use self::cells::{Way, bounded};
use self::kinds::{Form, Kind};
use self::table::{Cell, expected};
use self::tool::Tools;
use crate::support::TestResult;
use crate::tools;

/// Whether the tests that need minutes run, too.
fn is_long() -> bool {
    std::env::var_os("H2CONN_LONG").is_some()
}

/// Compares what is seen through a proxy with the table.
async fn through(kind: Kind, form: Form) -> TestResult {
    let Some(program) = kind.program()? else {
        return Ok(());
    };
    let mut seen: Vec<(Cell, String)> = Vec::new();

    let mut way = Way::start(kind, form, &program).await?;
    let tools = Tools::start(kind, form, &program).await?;
    let slow = if is_long() { &Cell::SLOW[..] } else { &[] };
    let auto = if form == Form::WebSocket { &Cell::AUTO[..] } else { &[] };
    let cells: Vec<Cell> = Cell::QUICK.iter().chain(slow).chain(auto).copied().collect();
    let talking = join_all(cells.iter().map(|cell| way.see(*cell)));
    let (outcomes, tunnel, files) =
        tokio::join!(talking, bounded(tools.see_tunnel()), bounded(tools.see_files()));
    seen.extend(cells.into_iter().zip(outcomes));
    if form == Form::Http2 {
        seen.push((Cell::Streams, bounded(tools.see_streams()).await));
    }
    seen.push((Cell::Tunnel, tunnel));
    seen.push((Cell::Files, files));
    // Alone, because it takes all that the proxy has.
    seen.push((Cell::Many, way.see(Cell::Many).await));
    seen.push((Cell::Reload, way.see_reload().await));
    drop(way);
    seen.push((
        Cell::ServerKilled,
        Way::start(kind, form, &program).await?.see_server_killed().await,
    ));
    seen.push((
        Cell::ProxyKilled,
        Way::start(kind, form, &program).await?.see_proxy_killed().await,
    ));

    let wrong: Vec<String> = seen
        .into_iter()
        .filter(|(cell, seen)| expected(*cell, kind, form) != seen)
        .map(|(cell, seen)| format!("{cell:?}: {seen:?}, not {:?}", expected(cell, kind, form)))
        .collect();
    ensure!(wrong.is_empty(), "{}:\n{}", kind.name(), wrong.join("\n"));
    Ok(())
}

macro_rules! through {
    ($($name:ident: $kind:expr;)*) => {
        mod http2 {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> TestResult {
                through($kind, Form::Http2).await
            })*
        }

        mod websocket {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> TestResult {
                through($kind, Form::WebSocket).await
            })*
        }
    };
}

/// `docs/proxies.md`.
fn document() -> Result<String> {
    let path = tools::interop("proxies")?.join("../../docs/proxies.md");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn the_document_shows_the_configurations_that_were_run() -> TestResult {
    let document = document()?;
    for form in Form::BOTH {
        for kind in Kind::ALL {
            for (name, text) in kind.files(form)? {
                let is_shown = document.contains(&format!("\n{text}```\n"));
                ensure!(is_shown, "{name} ({form:?}) is not in it as it is");
            }
        }
    }
    Ok(())
}

#[test]
fn the_document_shows_what_is_expected() -> TestResult {
    let document = document()?;
    let (first, second) = document.split_once("\n## WebSockets\n").context("a section")?;
    let mut missing = Vec::new();
    for (form, part) in [(Form::Http2, first), (Form::WebSocket, second)] {
        missing.extend(table::lines(form).into_iter().filter(|line| !part.contains(line.as_str())));
    }
    ensure!(missing.is_empty(), "it lacks these lines:\n{}", missing.concat());
    Ok(())
}

through! {
    nginx_1_22: Kind::OldNginx;
    nginx_1_31: Kind::Nginx;
    haproxy_2_6: Kind::OldHaproxy;
    haproxy_2_8: Kind::Haproxy;
    envoy: Kind::Envoy;
    caddy: Kind::Caddy;
    traefik: Kind::Traefik;
    apache: Kind::Apache;
    nghttpx: Kind::Nghttpx;
}
