//! The descriptions of metrics: each metric has one, and recorders get them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use metrics_util::debugging::DebuggingRecorder;

use super::with_server;
use crate::support::{Over, TestResult, checked};

#[tokio::test]
async fn a_recorder_gets_the_descriptions_and_units_when_the_program_asks_for_it() -> TestResult {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    h2conn::describe_metrics();
    checked(30, async {
        with_server(Over::Cleartext, async |site| {
            let client = site.client()?;
            let (conn, _) = client.connect(site.url("/")).await?;
            conn.ping().await?;
            conn.close().await?;
            Ok(client.close().await?)
        })
        .await
    })
    .await?;
    let counted = recorder.snapshotter().snapshot().into_vec();
    assert!(counted.len() >= 10, "{counted:?}");
    for (key, unit, description, _) in counted {
        let name = key.key().name();
        assert!(description.is_some_and(|text| !text.is_empty()), "{name}");
        let bytes = name.contains("_bytes_").then_some(metrics::Unit::Bytes);
        let seconds = name.ends_with("_seconds").then_some(metrics::Unit::Seconds);
        assert_eq!(unit, bytes.or(seconds), "{name}");
    }
    Ok(())
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let after = text.split("\"h2conn_").skip(1);
    after.filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[test]
fn every_metric_that_is_counted_is_described() -> TestResult {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let meters = fs::read_to_string(root.join("observe/meters.rs"))?;
    let (counting, described) = meters.split_once("pub fn describe_metrics()").context("it")?;
    let mut counted = counting.to_owned();
    for file in ["observe.rs", "observe/conn.rs", "observe/link.rs"] {
        counted += &fs::read_to_string(root.join(file))?;
    }
    let (counted, described) = (names(&counted), names(described));
    ensure!(counted.len() >= 18, "{counted:?}");
    ensure!(counted == described, "counted: {counted:#?}; described: {described:#?}");
    Ok(())
}
