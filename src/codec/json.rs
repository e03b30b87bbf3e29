//! A sequence of JSON values.

mod scan;

use std::fmt;
use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, CodecErrorKind};
use scan::{Fault, MAX_DEPTH, Scanner, What};

const DEFAULT_MAX_MESSAGE_SIZE: usize = 1 << 20;

/// Room for one read while a value is incomplete: what a `Framed` starts with.
const READ_SIZE: usize = 8 * 1024;

/// A codec for a sequence of JSON values, `Out` those written and `In` those read.
///
/// The format is that of the `Encoder` and `Decoder` in Go's `encoding/json`. A value is written
/// in one line, with a line feed after it. Values are read with or without white space between
/// them, `{"a":1}{"b":2}` as well as one a line, and spread over lines or not. A value is given
/// out as soon as its last byte is there; only a number needs the byte after it, or the end of
/// the stream, to be known to be over.
///
/// Reading takes time in proportion to the bytes, however few arrive at once: a value is parsed
/// only when it is complete, and no byte is searched twice for its end.
///
/// A value to be read may nest 127 deep. That is not checked of one written.
///
/// # Errors
///
/// Decoding fails with a [`CodecError`] of these kinds:
///
/// - [`Malformed`](CodecErrorKind::Malformed): not JSON. A byte order mark, also, is malformed.
/// - [`TooLarge`](CodecErrorKind::TooLarge) and [`TooDeep`](CodecErrorKind::TooDeep): known
///   before the value is complete, so that no more of it is buffered.
/// - [`Truncated`](CodecErrorKind::Truncated): the stream ended inside a value. What had arrived
///   of it was not checked further than to find its end.
/// - [`Mismatch`](CodecErrorKind::Mismatch): JSON, but not an `In`; also half a surrogate pair in
///   a string, for which Go puts U+FFFD.
///
/// After a mismatch, `decode` goes on with the next value. After the others nobody knows where
/// the next value begins, so that each call returns the same error again and discards its input.
///
/// A `Framed` or `FramedRead` ends its stream with `None` after any error. Polled once more, it
/// first waits for more bytes, even if it has a value in its buffer. To outlive values of the
/// wrong shape, read `serde_json::Value`s and convert each with `serde_json::from_value`.
///
/// Encoding fails with `TooLarge`, or with `Mismatch` for what JSON cannot express, such as a map
/// whose keys are lists. Nothing of the value is written then, and the codec remains usable.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2conn::codec::{CodecError, Json};
/// use tokio::io::{AsyncRead, AsyncWrite};
/// use tokio_util::codec::Framed;
///
/// async fn ask<T>(conn: T) -> Result<Option<u64>, CodecError>
/// where
///     T: AsyncRead + AsyncWrite + Unpin,
/// {
///     let mut conn = Framed::new(conn, Json::<(&str, [u64; 2]), u64>::new());
///     conn.send(("add", [1, 2])).await?;
///     conn.next().await.transpose()
/// }
///
/// async fn answer<T>(conn: T) -> Result<(), CodecError>
/// where
///     T: AsyncRead + AsyncWrite + Unpin,
/// {
///     let mut conn = Framed::new(conn, Json::<u64, (String, Vec<u64>)>::new());
///     while let Some((_, numbers)) = conn.next().await.transpose()? {
///         conn.send(numbers.iter().sum()).await?;
///     }
///     Ok(())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (near, far) = tokio::io::duplex(64);
/// let (sum, answered) = tokio::join!(ask(near), answer(far));
/// assert_eq!(sum?, Some(3));
/// # answered
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Json<Out, In = Out> {
    max_message_size: usize,
    scanner: Scanner,
    /// How many bytes were taken from the input, so the position of the next in its stream.
    read: u64,
    written: u64,
    /// What ended the decoding.
    failed: Option<CodecError>,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out, In> Json<Out, In> {
    /// A codec with the default limit, at the beginning of a stream.
    pub fn new() -> Json<Out, In> {
        Json {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            scanner: Scanner::default(),
            read: 0,
            written: 0,
            failed: None,
            types: PhantomData,
        }
    }

    /// How many bytes a value may have, read or written, without the white space around it;
    /// 1 MiB by default.
    ///
    /// A value being read is buffered up to this size, so it is what a peer can make each
    /// connection hold, and as much again for what it is parsed into.
    pub fn max_message_size(self, bytes: usize) -> Json<Out, In> {
        Json { max_message_size: bytes, ..self }
    }

    fn skip_white_space(&mut self, src: &mut BytesMut) {
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let spaces = src.iter().take_while(is_space).count();
        self.consume(src, spaces);
    }

    fn consume(&mut self, src: &mut BytesMut, len: usize) {
        src.advance(len);
        self.read += len as u64;
    }

    fn poison(&mut self, error: CodecError) -> CodecError {
        self.failed.insert(error).clone()
    }

    fn fault(&self, fault: Fault, src: &[u8]) -> CodecError {
        let position = self.read + fault.at as u64;
        match fault.what {
            What::Expected(expected) => {
                let found = src[fault.at].escape_ascii();
                let message = format!(
                    "malformed JSON at byte {position}: expected {expected}, not `{found}`"
                );
                CodecError::new(CodecErrorKind::Malformed, position, message)
            }
            What::TooDeep => {
                let message = format!(
                    "the JSON value at byte {} nests deeper than {MAX_DEPTH}, at byte {position}",
                    self.read
                );
                CodecError::new(CodecErrorKind::TooDeep, position, message)
            }
        }
    }

    fn truncated(&self, src: &[u8]) -> CodecError {
        let position = self.read + src.len() as u64;
        let message = format!(
            "the stream ended at byte {position}, inside the JSON value that began at byte {}",
            self.read
        );
        CodecError::new(CodecErrorKind::Truncated, position, message)
    }

    fn too_large(&self, position: u64) -> CodecError {
        let message = format!(
            "the JSON value at byte {position} is larger than the limit of {} bytes",
            self.max_message_size
        );
        CodecError::new(CodecErrorKind::TooLarge, position, message)
    }
}

impl<Out, In: DeserializeOwned> Json<Out, In> {
    fn take(&mut self, src: &mut BytesMut, len: usize) -> Result<In, CodecError> {
        let result = self.parse(&src[..len]);
        self.consume(src, len);
        self.scanner = Scanner::default();
        result.map_err(|error| match error.kind() {
            CodecErrorKind::Mismatch => error,
            _ => self.poison(error),
        })
    }

    fn parse(&self, value: &[u8]) -> Result<In, CodecError> {
        // serde_json does not check the text of strings that `In` has no use for.
        let text = std::str::from_utf8(value)
            .map_err(|error| self.malformed(error.valid_up_to(), error))?;
        serde_json::from_str(text).map_err(|error| {
            // The error does not tell: a number out of range counts as bad syntax, and a wrong
            // type hides bad syntax after it.
            match serde_json::from_str::<IgnoredAny>(text) {
                Ok(IgnoredAny) => {
                    let message =
                        format!("the JSON value at byte {} does not fit its type", self.read);
                    CodecError::new(CodecErrorKind::Mismatch, self.read, message).with_source(error)
                }
                Err(error) => self.malformed(offset(text, &error), error),
            }
        })
    }

    fn malformed(
        &self,
        at: usize,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> CodecError {
        let position = self.read + at as u64;
        let message = format!("malformed JSON at byte {position}");
        CodecError::new(CodecErrorKind::Malformed, position, message).with_source(source)
    }
}

impl<Out, In: DeserializeOwned> Decoder for Json<Out, In> {
    type Item = In;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        if let Some(error) = &self.failed {
            src.clear();
            return Err(error.clone());
        }
        self.skip_white_space(src);
        // One byte more than is allowed, because a number is over only at the byte after it.
        let limit = self.max_message_size.saturating_add(1);
        let window = &src[..src.len().min(limit)];
        match self.scanner.scan(window) {
            Ok(Some(len)) if len <= self.max_message_size => self.take(src, len).map(Some),
            Ok(None) if src.len() <= self.max_message_size => {
                if !src.is_empty() {
                    src.reserve(READ_SIZE.min(limit - src.len()));
                }
                Ok(None)
            }
            Ok(_) => Err(self.poison(self.too_large(self.read))),
            Err(fault) => Err(self.poison(self.fault(fault, src))),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        match self.decode(src)? {
            None if src.is_empty() => Ok(None),
            None if self.scanner.may_end() => self.take(src, src.len()).map(Some),
            None => Err(self.poison(self.truncated(src))),
            value => Ok(value),
        }
    }
}

impl<Out: Serialize, In> Encoder<Out> for Json<Out, In> {
    type Error = CodecError;

    fn encode(&mut self, item: Out, dst: &mut BytesMut) -> Result<(), CodecError> {
        let start = dst.len();
        let mut writer = Limited { dst, room: self.max_message_size, overflowed: false };
        let result = serde_json::to_writer(&mut writer, &item);
        if writer.overflowed {
            dst.truncate(start);
            return Err(self.too_large(self.written));
        }
        if let Err(error) = result {
            dst.truncate(start);
            let message = format!("the value for byte {} cannot be written as JSON", self.written);
            return Err(
                CodecError::new(CodecErrorKind::Mismatch, self.written, message).with_source(error)
            );
        }
        dst.put_u8(b'\n');
        self.written += (dst.len() - start) as u64;
        Ok(())
    }
}

impl<Out, In> Clone for Json<Out, In> {
    fn clone(&self) -> Json<Out, In> {
        Json {
            max_message_size: self.max_message_size,
            scanner: self.scanner.clone(),
            read: self.read,
            written: self.written,
            failed: self.failed.clone(),
            types: PhantomData,
        }
    }
}

impl<Out, In> Default for Json<Out, In> {
    fn default() -> Json<Out, In> {
        Json::new()
    }
}

impl<Out, In> fmt::Debug for Json<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json")
            .field("max_message_size", &self.max_message_size)
            .field("read", &self.read)
            .field("written", &self.written)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Stops a value that gets too large while it is written, not after.
struct Limited<'a> {
    dst: &'a mut BytesMut,
    room: usize,
    overflowed: bool,
}

impl io::Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.room.checked_sub(bytes.len()) {
            Some(room) => self.room = room,
            None => {
                self.overflowed = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        self.dst.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The byte that a syntax error is about: lines and columns count from one.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::error::Error as _;

    use futures_util::{SinkExt, StreamExt};
    use proptest::prelude::*;
    use serde::{Deserialize, Deserializer};
    use serde_json::{Value, json};
    use tokio_util::codec::Framed;

    use super::*;

    /// What a codec makes of these pieces and the end after them, up to a lasting error.
    fn decode<In: DeserializeOwned>(
        mut codec: Json<(), In>,
        pieces: &[&[u8]],
    ) -> Vec<Result<In, CodecError>> {
        let (mut src, mut out) = (BytesMut::new(), Vec::new());
        let mut drain = |src: &mut BytesMut, eof: bool| {
            loop {
                let next = if eof { codec.decode_eof(src) } else { codec.decode(src) };
                match next.transpose() {
                    None => return true,
                    Some(item) => out.push(item),
                }
                if codec.failed.is_some() {
                    return false;
                }
            }
        };
        for piece in pieces {
            src.extend_from_slice(piece);
            if !drain(&mut src, false) {
                return out;
            }
        }
        drain(&mut src, true);
        out
    }

    fn values(pieces: &[&[u8]]) -> Vec<Value> {
        let values = decode(Json::new(), pieces).into_iter();
        values.map(|value| value.expect("a value")).collect()
    }

    /// The error that comes first, the same however the text is cut.
    fn error<In: DeserializeOwned>(codec: &Json<(), In>, text: impl AsRef<[u8]>) -> CodecError {
        let text = text.as_ref();
        let singles: Vec<&[u8]> = text.chunks(1).collect();
        let whole = decode(codec.clone(), &[text]).into_iter().find_map(Result::err);
        let singly = decode(codec.clone(), &singles).into_iter().find_map(Result::err);
        let (whole, singly) = (whole.expect("an error"), singly.expect("an error"));
        assert_eq!(whole.to_string(), singly.to_string());
        assert_eq!((whole.kind(), whole.position()), (singly.kind(), singly.position()));
        whole
    }

    fn kind_and_position(text: impl AsRef<[u8]>) -> (CodecErrorKind, Option<u64>) {
        let error = error(&Json::<(), Value>::new(), text);
        assert!(error.to_string().contains(&error.position().expect("a place").to_string()));
        (error.kind(), error.position())
    }

    #[test]
    fn values_are_the_same_wherever_their_bytes_are_cut() {
        let table = [
            ("", vec![]),
            (" \t\r\n", vec![]),
            (r#"{"a":1}{"b":2}"#, vec![json!({"a": 1}), json!({"b": 2})]),
            ("1 2", vec![json!(1), json!(2)]),
            ("12", vec![json!(12)]),
            ("-1.5e3", vec![json!(-1500.0)]),
            ("0-1", vec![json!(0), json!(-1)]),
            (r#""a""b""#, vec![json!("a"), json!("b")]),
            ("true[1]nullfalse", vec![json!(true), json!([1]), json!(null), json!(false)]),
            ("1\"\"2{}3", vec![json!(1), json!(""), json!(2), json!({}), json!(3)]),
            (r#" "\"\\\u00e9é\n}" "#, vec![json!("\"\\éé\n}")]),
            ("\n{\n  \"]\": [\n \"[{\" ] }\n\n[]\r\n", vec![json!({"]": ["[{"]}), json!([])]),
        ];
        for (text, expected) in table {
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(values(&[&bytes[..cut], &bytes[cut..]]), expected, "{text} at {cut}");
            }
            assert_eq!(values(&bytes.chunks(1).collect::<Vec<_>>()), expected, "{text}");
        }
    }

    #[test]
    fn a_value_is_given_out_at_its_last_byte() {
        for text in ["{}", "[1]", "\"a\"", "true", "1 "] {
            let mut src = BytesMut::from(text);
            let mut codec = Json::<(), Value>::new();
            assert!(codec.decode(&mut src).expect("no error").is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_malformed_and_its_place_is_known() {
        let table: [(&[u8], u64); 13] = [
            (b"}", 0),
            (b" x", 1),
            (b"1 2 x", 4),
            (b"\xef\xbb\xbf1", 0),
            (b"trux", 3),
            (b"-x", 1),
            (b"[1}", 2),
            (b"\"a\nb\"", 2),
            (b"[1,]", 3),
            (b" {\n\n \"a\" 1}", 9),
            (b"[tru]", 4),
            (b"1 \"a\xffb\"", 4),
            (b"{}[\"\\u12\"]", 9),
        ];
        for (text, position) in table {
            let expected = (CodecErrorKind::Malformed, Some(position));
            assert_eq!(kind_and_position(text), expected, "{}", text.escape_ascii());
        }
        let ignored = error(&Json::<(), IgnoredAny>::new(), b"\"\xff\"");
        assert_eq!((ignored.kind(), ignored.position()), (CodecErrorKind::Malformed, Some(1)));
        assert!(ignored.source().is_some());
    }

    #[test]
    fn an_unfinished_value_at_the_end_is_truncated() {
        for text in ["nul", "-", "1.", "1e+", "\"a", "\"\\", "[1", "{\"a\":", "[\"]"] {
            let end = 4 + text.len() as u64;
            let expected = (CodecErrorKind::Truncated, Some(end));
            assert_eq!(kind_and_position(format!("{{}}\n {text}")), expected, "{text}");
        }
        let error = error(&Json::<(), Value>::new(), "1 [");
        let message = "the stream ended at byte 3, inside the JSON value that began at byte 2";
        assert_eq!(error.to_string(), message);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_value_may_have_just_the_limit_and_is_refused_while_it_arrives() {
        let codec = || Json::<(), Value>::new().max_message_size(4);
        for text in ["1234", "1234 ", "    \"ab\"    ", "true false"] {
            let first = decode(codec(), &[text.as_bytes()]).into_iter().next().expect("one");
            assert!(first.is_ok(), "{text}");
        }
        for text in ["12345", "\"abc\"", "[1,2]", "\"abcd", "[    "] {
            let error = error(&codec(), format!("  1 {text}"));
            let expected = (CodecErrorKind::TooLarge, Some(4));
            assert_eq!((error.kind(), error.position()), expected, "{text}");
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        }
        let error = decode(codec().max_message_size(usize::MAX), &[b"12345"]);
        assert!(error.iter().all(Result::is_ok));
    }

    #[test]
    fn depth_is_limited_as_in_serde_json() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(values(&[nested(127).as_bytes()]).len(), 1);
        let expected = (CodecErrorKind::TooDeep, Some(130));
        assert_eq!(kind_and_position(format!("{{}} {}", nested(128))), expected);
    }

    #[test]
    fn a_mismatch_is_told_and_the_next_value_is_read() {
        let items = decode::<u8>(Json::new(), &[br#"1 "x" 2 {"a":[1]}3 1e999 300 4"#]);
        let found: Vec<_> = items
            .iter()
            .map(|item| item.as_ref().map_err(|error| (error.kind(), error.position())))
            .map(|item| item.map_err(|(kind, position)| (kind, position.expect("a place"))))
            .collect();
        let mismatch = |at| Err((CodecErrorKind::Mismatch, at));
        let expected =
            [Ok(&1), mismatch(2), Ok(&2), mismatch(8), Ok(&3), mismatch(19), mismatch(25), Ok(&4)];
        assert_eq!(found, expected);

        let half = error(&Json::<(), String>::new(), r#""\ud800""#);
        assert_eq!(half.kind(), CodecErrorKind::Mismatch);
        let hidden = error(&Json::<(), Vec<u8>>::new(), r#"["x", y]"#);
        assert_eq!((hidden.kind(), hidden.position()), (CodecErrorKind::Malformed, Some(6)));
    }

    #[test]
    fn other_errors_last_and_their_input_is_discarded() {
        let mut codec = Json::<(), Value>::new();
        let mut src = BytesMut::from("1 ] 2");
        assert_eq!(codec.decode(&mut src).expect("a value"), Some(json!(1)));
        let first = codec.decode(&mut src).expect_err("malformed").to_string();
        assert_eq!(first, "malformed JSON at byte 2: expected a value, not `]`");
        for _ in 0..2 {
            src.extend_from_slice(b"3 ");
            assert_eq!(codec.decode(&mut src).expect_err("the same").to_string(), first);
            assert_eq!(codec.decode_eof(&mut src).expect_err("the same").to_string(), first);
            assert!(src.is_empty());
        }
    }

    #[test]
    fn a_value_is_written_in_a_line_or_not_at_all() {
        let mut codec = Json::<Value>::new().max_message_size(7);
        let mut dst = BytesMut::new();
        codec.encode(json!({"a": 1}), &mut dst).expect("it fits");
        codec.encode(json!("\n\n"), &mut dst).expect("it fits");
        let error = codec.encode(json!([1, 2, 34]), &mut dst).expect_err("eight bytes");
        assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(15)));
        codec.encode(json!(1), &mut dst).expect("it fits");
        assert_eq!(dst, "{\"a\":1}\n\"\\n\\n\"\n1\n");

        let mut codec = Json::<std::collections::BTreeMap<Vec<u8>, u8>>::new();
        let error = codec.encode([(vec![1], 1)].into(), &mut dst).expect_err("the key is a list");
        assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(0)));
        assert!(error.source().is_some() && dst.ends_with(b"1\n"));
    }

    #[test]
    fn work_grows_with_the_bytes_and_not_with_the_pieces() {
        thread_local!(static PARSED: Cell<usize> = const { Cell::new(0) });
        struct Counted;
        impl<'de> Deserialize<'de> for Counted {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Counted, D::Error> {
                PARSED.set(PARSED.get() + 1);
                IgnoredAny::deserialize(input).map(|_| Counted)
            }
        }
        let small = "[1,{\"a\":\"b\"}],".repeat(100_000);
        let text = format!("[{small}\"{}\"]", "long \\n".repeat(400_000));
        for size in [1, 7, text.len()] {
            scan::tests::WORK.set(0);
            PARSED.set(0);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let codec = Json::<(), Counted>::new().max_message_size(8 << 20);
            assert!(matches!(decode(codec, &pieces)[..], [Ok(Counted)]));
            assert_eq!(PARSED.get(), 1);
            let work = scan::tests::WORK.get();
            assert!(text.len() > 4_000_000 && work <= 2 * text.len() + 1, "{work} by {size}");
        }
    }

    #[tokio::test]
    async fn it_works_over_a_stream() {
        let (near, far) = tokio::io::duplex(16);
        let send = async move {
            let mut near = Framed::new(near, Json::<Value>::new());
            for n in 0..100 {
                near.send(json!({ "n": n, "text": "x".repeat(n) })).await.expect("it is read");
            }
            near.close().await.expect("it is open");
        };
        let receive = Framed::new(far, Json::<Value>::new()).collect::<Vec<_>>();
        let ((), received) = tokio::join!(send, receive);
        for (n, value) in received.iter().enumerate() {
            assert_eq!(value.as_ref().expect("a value")["n"], n);
        }
        assert_eq!(received.len(), 100);
    }

    #[test]
    fn it_is_send_and_sync_whatever_it_carries() {
        fn check<T: Send + Sync + Unpin + Clone + Default + fmt::Debug>() {}
        check::<Json<std::rc::Rc<u8>, *const u8>>();
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn random_values_survive_random_cuts(
            values_sent in prop::collection::vec((any_value(), any::<bool>()), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (mut text, mut expected) = (String::new(), Vec::new());
            for (value, pretty) in &values_sent {
                let printed = if *pretty { format!("{value:#}\n") } else { format!("{value} ") };
                // serde_json reads some floats back with another last digit.
                expected.push(serde_json::from_str::<Value>(&printed).expect("it printed it"));
                text += &printed;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> =
                cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(values(&pieces), expected);
        }
    }
}
