//! Message formats over one connection, in both directions and one after another.

use std::io;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use h2conn::codec::{Fixed, Json, Postcard};
use h2conn::{Conn, ErrorKind, Reason};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio_util::codec::{Framed, FramedParts};

use crate::support::{Over, TestResult, accept, listen, pair, run};

/// JSON values until one that is null, then blocks of this many bytes.
const BLOCK: usize = 1000;

#[test]
fn formats_follow_each_other_over_one_conn_in_both_directions() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (client, server) = pair(over).await?;
            let (near, far) = tokio::join!(
                tokio::spawn(speak_both_formats(client, "client", "server")),
                tokio::spawn(speak_both_formats(server, "server", "client")),
            );
            near?.with_context(|| format!("the client over {over:?}"))?;
            far?.with_context(|| format!("the server over {over:?}"))?;
        }
        Ok(())
    })
}

/// The JSON values of one side, of all shapes and sizes.
fn values(who: &str) -> Vec<Value> {
    vec![
        json!("a string"),
        json!({ "who": who, "list": [1, 2.5, -3, null, true], "text": "wörld \" \\ \n {[" }),
        json!(["x".repeat(40_000), { "deep": { "deeper": [[[]]] } }]),
        json!(42),
        json!({}),
    ]
}

fn block(who: &str, number: usize) -> Vec<u8> {
    crate::support::noise(BLOCK, (who.len() * 100 + usize::from(who.as_bytes()[0]) + number) as u64)
}

async fn speak_both_formats(conn: Conn, me: &'static str, you: &'static str) -> TestResult {
    // JSON, first in turns and then all at once.
    let mut json = Framed::new(conn, Json::<Value>::new());
    for (mine, yours) in values(me).into_iter().zip(values(you)) {
        json.send(mine).await?;
        let heard = json.next().await.context("the end came early")??;
        ensure!(heard == yours, "not what {you} said: {heard}");
    }
    for value in values(me) {
        json.feed(value).await?;
    }
    // The last value and the first blocks leave together, so that the other side's decoder holds
    // bytes that are not its own.
    json.feed(Value::Null).await?;
    for number in 0..3 {
        json.write_buffer_mut().extend_from_slice(&block(me, number));
    }
    json.flush().await?;
    for yours in values(you).into_iter().chain([Value::Null]) {
        let heard = json.next().await.context("the end came early")??;
        ensure!(heard == yours, "not what {you} said: {heard}");
    }

    let FramedParts { io, read_buf, write_buf, .. } = json.into_parts();
    ensure!(write_buf.is_empty(), "everything was flushed");
    let (reader, mut writer) = split(io);
    // The bytes that the decoder has read ahead come first.
    let mut reader = AsyncReadExt::chain(io::Cursor::new(read_buf), reader);
    // The line feed belongs to the last value.
    ensure!(reader.read_u8().await? == b'\n');
    let writing = async {
        for number in 3..50 {
            writer.write_all(&block(me, number)).await?;
        }
        writer.shutdown().await
    };
    let reading = async {
        let mut buffer = vec![0; BLOCK];
        for number in 0..50 {
            reader.read_exact(&mut buffer).await?;
            ensure!(buffer == block(you, number), "block {number} of {you}");
        }
        ensure!(reader.read(&mut buffer).await? == 0, "nothing follows the last block");
        Ok(())
    };
    let (written, read): (_, TestResult) = tokio::join!(writing, reading);
    written?;
    read
}

#[test]
fn a_format_gives_way_to_the_next_with_bytes_already_read() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (client, server) = pair(over).await?;
            let (near, far) = tokio::join!(
                tokio::spawn(speak_three_formats(client)),
                tokio::spawn(speak_three_formats(server)),
            );
            near?.with_context(|| format!("the client over {over:?}"))?;
            far?.with_context(|| format!("the server over {over:?}"))?;
        }
        Ok(())
    })
}

/// JSON, then postcard, then buffers that begin with the bytes that JSON leaves behind.
async fn speak_three_formats(conn: Conn) -> TestResult {
    const BUFFER: [u8; 5] = *b"\n\r\n {";
    // They follow their length of ten, which is coded as three zeros and a line feed.
    let numbers: Vec<u8> = (1..10).collect();
    let (read, write) = conn.into_split();

    // Everything leaves at once, so that the first decoder also gets the bytes for the others.
    let mut json = write.framed(Json::<Value>::new());
    json.feed(json!({ "next": "postcard" })).await?;
    json.feed(json!(1)).await?;
    let mut postcard = json.map_encoder(|_| Postcard::<Vec<u8>>::new());
    postcard.feed(numbers.clone()).await?;
    let mut fixed = postcard.map_encoder(|_| Fixed::<5>::new());
    for _ in 0..3 {
        fixed.feed(BUFFER).await?;
    }
    fixed.flush().await?;

    let mut json = read.framed(Json::<Value>::new().newline_terminated());
    ensure!(json.next().await.context("a value")?? == json!({ "next": "postcard" }));
    ensure!(json.next().await.context("a value")?? == json!(1));
    ensure!(!json.read_buffer().is_empty(), "nothing was read too far");
    let mut postcard = json.map_decoder(|_| Postcard::<Vec<u8>>::new());
    ensure!(postcard.next().await.context("a value")?? == numbers);
    let mut buffers = postcard.map_decoder(|_| Fixed::<5>::new());
    for _ in 0..3 {
        ensure!(buffers.next().await.context("a buffer")?? == BUFFER);
    }

    // Now with a whole connection again. The other side may already be further.
    let FramedParts { io, read_buf, .. } = buffers.into_parts();
    ensure!(fixed.write_buffer().is_empty(), "everything was flushed");
    let conn = io.reunite(fixed.into_inner())?;
    let mut parts = FramedParts::new::<&str>(conn, Postcard::<&str, String>::new());
    parts.read_buf = read_buf;
    let mut last = Framed::from_parts(parts);
    last.send("bye").await?;
    ensure!(last.next().await.context("a value")?? == "bye");
    last.close().await?;
    ensure!(last.next().await.is_none(), "nothing follows");
    Ok(last.into_inner().close().await?)
}

#[test]
fn a_decoder_gives_back_what_it_has_read_too_much() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let (conn, server) = tokio::join!(site.connect(), accept(&mut listener));
        let (mut conn, server) = (conn?, server?);
        // One write, one frame, one read: the codec must read too much.
        conn.write_all(b"{\"a\":1} [2]\nraw bytes").await?;
        let mut json = Framed::new(server, Json::<Value>::new());
        ensure!(json.next().await.context("a value")?? == json!({"a": 1}));
        ensure!(json.next().await.context("a value")?? == json!([2]));
        let FramedParts { io, read_buf, .. } = json.into_parts();
        ensure!(read_buf == b"\nraw bytes"[..], "{read_buf:?}");
        // There are no other bytes: the connection continues at the next byte.
        conn.write_all(b", and more").await?;
        conn.shutdown().await?;
        let mut rest = String::new();
        { io }.read_to_string(&mut rest).await?;
        ensure!(rest == ", and more", "{rest:?}");
        Ok(())
    })
}

#[test]
fn one_value_goes_to_many_conns_by_reference() -> TestResult {
    run(async {
        let value = json!({ "for": ["all", "of", "them"] });
        let mut heard = Vec::new();
        for _ in 0..3 {
            let (client, server) = pair(Over::Cleartext).await?;
            let mut sink = server.framed(Json::<Value>::new().by_ref());
            sink.feed(&value).await?;
            sink.send(&value).await?;
            sink.close().await?;
            heard.push(client.framed(Json::<Value>::new()));
        }
        for messages in &mut heard {
            for _ in 0..2 {
                ensure!(messages.next().await.context("an end")?? == value);
            }
            ensure!(messages.next().await.is_none());
        }
        Ok(())
    })
}

/// As in programs that use one type of error.
async fn hear(conn: &Conn) -> h2conn::Result<Option<u32>> {
    let mut numbers = Framed::new(conn, Json::<u32>::new());
    numbers.send(1).await?;
    let number = numbers.next().await.transpose()?;
    numbers.close().await?;
    Ok(number)
}

#[test]
fn an_error_of_a_codec_is_one_of_the_connection_by_a_question_mark() -> TestResult {
    run(async {
        let (client, mut server) = pair(Over::Cleartext).await?;
        server.write_all(b"7 ").await?;
        ensure!(hear(&client).await? == Some(7));

        let (client, mut server) = pair(Over::Cleartext).await?;
        server.write_all(b"nonsense ").await?;
        let error = hear(&client).await.err().context("it is not JSON")?;
        ensure!(error.kind() == ErrorKind::Protocol && error.is_by_peer(), "{error:?}");
        let text = crate::support::chain(&error);
        ensure!(text.starts_with("cannot read a message\n  caused by: malformed JSON"), "{text}");
        ensure!(io::Error::from(error).kind() == io::ErrorKind::InvalidData);

        let (client, server) = pair(Over::Cleartext).await?;
        server.reset(Reason::ENHANCE_YOUR_CALM);
        let error = loop {
            match hear(&client).await {
                Ok(number) => ensure!(number.is_none(), "{number:?}"),
                Err(error) => break error,
            }
        };
        ensure!(error.kind() == ErrorKind::Reset, "{error:?}");
        ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
        Ok(())
    })
}
