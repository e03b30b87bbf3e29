//! JSON, gob and buffers of a fixed size with Go (`interop/go/formats.go`): each alone, and one
//! after another.

use std::fmt::Debug;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::Conn;
use h2conn::codec::{CodecError, Fixed, Gob, Json};
use serde_json::{Value, json};
use tokio_util::codec::{Decoder, Encoder, Framed};

use super::peer::with_go;
use super::{EVERYWHERE, meet};
use crate::support::{TestResult, noise};

const BUFFER: usize = 100;
const BUFFERS: usize = 1000;
/// How many numbers follow each other in one format when everything arrives at once.
const IN_A_ROW: i64 = 3;

type Buffer = [u8; BUFFER];

/// A number whose lowest byte is a line feed. Its gob begins with one.
fn number(step: i64) -> i64 {
    0x0020_0d0a_7b0a_220a + (step << 24)
}

fn buffer(step: i64) -> Buffer {
    let mut buffer = [b'\n'; BUFFER];
    buffer[..8].copy_from_slice(&number(step).to_le_bytes());
    buffer
}

async fn hear<C, T>(conn: &mut Framed<&Conn, C>, expected: T) -> TestResult
where
    C: Decoder<Item = T, Error = CodecError>,
    T: Debug + PartialEq,
{
    let heard = conn.next().await.with_context(|| format!("the end, for {expected:?}"))?;
    let heard = heard.with_context(|| format!("for {expected:?}"))?;
    ensure!(heard == expected, "{heard:?}, and not {expected:?}");
    Ok(())
}

/// Sends one value each way.
async fn swap<C, T>(conn: &mut Framed<&Conn, C>, begin: bool, values: [T; 2]) -> TestResult
where
    C: Decoder<Item = T, Error = CodecError> + Encoder<T, Error = CodecError>,
    T: Debug + PartialEq,
{
    let [first, second] = values;
    if begin {
        conn.send(first).await?;
        hear(conn, second).await
    } else {
        hear(conn, first).await?;
        Ok(conn.send(second).await?)
    }
}

#[test]
fn numbers_go_both_ways_in_json_then_gob_then_buffers_of_one_conn() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            for (theirs, we_begin) in [("formats-2nd", true), ("formats-1st", false)] {
                let meeting = meet(go, place, theirs).await?;
                let spoken = speak_in_turns(&meeting.conn, we_begin).await;
                spoken.with_context(|| format!("{place:?} {theirs}"))?;
                meeting.part().await?;
            }
        }
        Ok(())
    })
}

async fn speak_in_turns(conn: &Conn, begin: bool) -> TestResult {
    let mut json = Framed::new(conn, Json::<i64>::new().newline_terminated());
    swap(&mut json, begin, [number(0), number(1)]).await.context("JSON")?;
    let mut gob = json.map_codec(|_| Gob::<i64>::new());
    swap(&mut gob, begin, [number(2), number(3)]).await.context("gob")?;
    let mut fixed = gob.map_codec(|_| Fixed::<BUFFER>::new());
    swap(&mut fixed, begin, [buffer(4), buffer(5)]).await.context("buffers")?;
    ensure!(fixed.read_buffer().is_empty(), "{:?} is left", fixed.read_buffer());
    Ok(())
}

#[test]
fn numbers_in_three_formats_that_arrive_at_once_are_all_heard() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let meeting = meet(go, place, "formats").await?;
            let spoken = speak_at_once(&meeting.conn).await;
            spoken.with_context(|| format!("{place:?}"))?;
            meeting.part().await?;
        }
        Ok(())
    })
}

async fn speak_at_once(conn: &Conn) -> TestResult {
    let steps = |format| format * IN_A_ROW..(format + 1) * IN_A_ROW;
    let mut json = Framed::new(conn, Json::<i64>::new());
    for step in steps(0) {
        json.feed(number(step)).await?;
    }
    let mut gob = json.map_codec(|_| Gob::<i64>::new());
    for step in steps(1) {
        gob.feed(number(step)).await?;
    }
    let mut fixed = gob.map_codec(|_| Fixed::<BUFFER>::new());
    for step in steps(2) {
        fixed.feed(buffer(step)).await?;
    }
    fixed.flush().await?;

    let mut json = fixed.map_codec(|_| Json::<i64>::new().newline_terminated());
    for step in steps(0) {
        hear(&mut json, number(step)).await?;
    }
    // Go writes everything with one call, so the JSON reader must have taken all of it.
    let ahead = json.read_buffer().len();
    ensure!(ahead > IN_A_ROW as usize * BUFFER, "only {ahead} bytes were read ahead");
    let mut gob = json.map_codec(|_| Gob::<i64>::new());
    for step in steps(1) {
        hear(&mut gob, number(step)).await?;
    }
    let ahead = gob.read_buffer().len();
    ensure!(ahead == IN_A_ROW as usize * BUFFER, "{ahead} bytes are left for the buffers");
    let mut fixed = gob.map_codec(|_| Fixed::<BUFFER>::new());
    for step in steps(2) {
        hear(&mut fixed, buffer(step)).await?;
    }
    ensure!(fixed.read_buffer().is_empty(), "{:?} is left", fixed.read_buffer());
    Ok(())
}

#[test]
fn json_values_are_the_same_in_go_and_here() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let meeting = meet(go, place, "json").await?;
            let mut conn = Framed::new(&meeting.conn, Json::<Value>::new());
            for value in values() {
                hear(&mut conn, value.clone()).await.with_context(|| format!("{place:?}"))?;
                conn.send(value).await?;
            }
            meeting.part().await?;
        }
        Ok(())
    })
}

/// Go's `jsonRows` in JSON.
fn values() -> Vec<Value> {
    let entry = json!({
        "ID": 7, "name": "<a> & \"b\" \\ \n \u{2028} wörld 🦀", "at": "2026-02-28T12:00:00.000000005Z",
        "blob": "AP8=", "tags": { "-1": "x", "2": "" }, "raw": [1, {}], "text": {},
    });
    let nested = json!({
        "ID": 0, "name": "", "at": "0001-01-01T00:00:00Z", "blob": null, "tags": null,
        "next": entry, "raw": null, "text": null,
    });
    vec![
        json!(null),
        json!([true, false]),
        json!(0),
        json!([-1, i64::MAX, i64::MIN]),
        json!(u64::MAX),
        json!([1.5, 1e21, 1e-7, f64::MAX, 5e-324, 0.1, 0.15100216327808003]),
        json!([1.5, 3.402_823_5e38, 0.1]),
        json!("long".repeat(50_000)),
        json!(""),
        json!([]),
        json!({}),
        // Go writes 1.0 as 1, and treats both as the same.
        json!([1, "two", null, { "three": [3] }]),
        entry,
        nested,
    ]
}

#[test]
fn buffers_of_a_fixed_size_are_the_same_in_go_and_here() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let meeting = meet(go, place, "fixed").await?;
            let mut conn = Framed::new(&meeting.conn, Fixed::<BUFFER>::new());
            let mut heard: Vec<Buffer> = Vec::new();
            while heard.len() < BUFFERS {
                heard.push(conn.next().await.context("the end came early")??);
            }
            ensure!(heard.concat() == noise(BUFFERS * BUFFER, 4), "{place:?}: other buffers came");
            for buffer in heard {
                conn.feed(buffer).await?;
            }
            conn.flush().await?;
            ensure!(conn.read_buffer().is_empty(), "bytes after the last buffer");
            meeting.part().await?;
        }
        Ok(())
    })
}
