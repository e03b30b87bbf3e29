//! The terminal client.

use anyhow::Result;
use h2conn::tls::ClientTls;

/// Joins the room at `url`, until the user has enough.
pub async fn run(url: &str, name: &str, tls: ClientTls) -> Result<()> {
    anyhow::bail!("{url} {name} {tls:?}: not there yet")
}
