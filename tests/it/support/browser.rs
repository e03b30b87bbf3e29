//! The scripts of `interop/browser`. The tests of `examples/browser` and `examples/chat` include this
//! file too, so it must use no other file than `tools.rs`.

use std::env::var_os;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Command;

use super::tools::{interop, skipped};

/// The scripts that drive Chromium. Prints a message if something that they need is missing.
pub(crate) async fn browser_scripts() -> Result<Option<PathBuf>> {
    let scripts = interop("browser")?;
    let node = Command::new("node").arg("--version").output().await;
    let chromium = var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    let missing = [
        (node.is_ok_and(|output| output.status.success()), "program `node`"),
        (Path::new(&chromium).exists(), "Chromium at /usr/bin/chromium or $CHROMIUM"),
        (
            scripts.join("node_modules/playwright-core").exists(),
            "Playwright, which `npm ci` gets in interop/browser",
        ),
    ]
    .into_iter()
    .find_map(|(here, what)| (!here).then_some(what));
    Ok(match missing {
        None => Some(scripts),
        Some(what) => {
            skipped(format!("no browser: there is no {what}"));
            None
        }
    })
}
