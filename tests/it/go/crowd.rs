//! More connections than Go's server takes on one link.

use std::collections::HashSet;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::peer::with_go;
use crate::support::{Over, TestResult, check_echo, noise};

#[test]
fn go_gets_as_many_links_as_its_limit_makes_necessary() -> TestResult {
    with_go(|go| async move {
        // The default of net/http is 250.
        for (limit, conns, links) in [("10", 100, 10), ("0", 250, 1), ("0", 251, 2)] {
            let (process, site) = go.serve(Over::Cleartext, &["-limit", limit, "crowd"]).await?;
            let client = site.client()?;
            let mut connecting = JoinSet::new();
            for _ in 0..conns {
                let (client, url) = (client.clone(), site.url("/"));
                connecting.spawn(async move { client.connect(url).await });
            }
            let mut crowd = Vec::new();
            while let Some(conn) = connecting.join_next().await {
                crowd.push(conn??.0);
            }
            let addresses: HashSet<_> =
                crowd.iter().filter_map(|conn| conn.local_addr().socket_addr()).collect();
            ensure!(addresses.len() == links, "{conns} over {} links", addresses.len());
            for (number, conn) in crowd.into_iter().enumerate() {
                check_echo(conn, &noise(1_000, number as u64)).await?;
            }
            ensure!(client.stats().refused == 0, "{:?}", client.stats());
            client.close().await?;
            process.finish().await?;
        }
        Ok(())
    })
}
