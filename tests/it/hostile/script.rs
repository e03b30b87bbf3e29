//! The actions of a hostile peer and of the user of a connection. They are made from arbitrary
//! bytes, which come from a fuzzer or a random generator.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::support::raw::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, OK, PADDED,
    PING, PRIORITY, PUSH_PROMISE, REQUEST, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) setting: Setting,
    /// The connection has its response before the first step.
    pub(crate) answered: bool,
    pub(crate) steps: Vec<Step>,
    /// At the end the peer ends only its side of the transport, and reads no more.
    pub(crate) half_closed: bool,
}

/// The options of the side under test, and the capacity of the pipe between the ends.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) window: u32,
    pub(crate) link_memory: u32,
    pub(crate) send_queue: usize,
    pub(crate) reset_on_drop: bool,
    pub(crate) pipe: usize,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            window: 1 << 20,
            link_memory: 64 << 20,
            send_queue: 256 << 10,
            reset_on_drop: false,
            pipe: 64 << 10,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The peer sends a frame this many times.
    Frame(Frame, usize),
    /// The peer sends bytes that need not be a frame.
    Bytes(Vec<u8>),
    /// The peer reads the bytes that have arrived.
    Read,
    /// The user starts an operation, and cancels it if it is not ready at once.
    Try(Action),
    /// A task of the user performs an operation, however long that takes.
    Wait(Action),
    /// Lets the driver run.
    Yield(usize),
    /// This many milliseconds pass.
    Sleep(u64),
}

/// The user's operations on the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Read(usize),
    ReadChunk,
    ReadToEnd,
    Write(usize),
    WriteChunk(usize),
    Flush,
    Sent,
    Shutdown,
    Close,
    /// The operations of a whole connection. Its halves are put together for them.
    Whole,
    Reset(u32),
    /// The deadline in milliseconds from now, or none.
    ReadDeadline(Option<u64>),
    WriteDeadline(Option<u64>),
    DropReader,
    DropWriter,
    /// Another connection on the same link.
    Another,
}

/// The most steps of a script. The rest of the bytes is ignored.
const STEPS: usize = 200;

/// The most bytes to which one frame is repeated.
const AT_ONCE: usize = 256 << 10;

/// A PUSH_PROMISE for a stream that was reset here fails an assertion in h2 0.4.20. Only debug
/// builds have it, and there it ends the link with a panic.
const PUSHES: bool = !cfg!(debug_assertions);

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Script> {
        let setting = Setting::arbitrary(u)?;
        let (answered, half_closed) = (!u.ratio(1, 4)?, u.arbitrary()?);
        let mut steps = Vec::new();
        // `Vec<Step>` made from random bytes would have one element on average.
        while !u.is_empty() && steps.len() < STEPS {
            steps.push(u.arbitrary()?);
        }
        Ok(Script { setting, answered, steps, half_closed })
    }
}

impl<'a> Arbitrary<'a> for Setting {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Setting> {
        let most = Setting::default();
        Ok(Setting {
            window: one_of(u, &[most.window, most.window, 65_535, 100, 1])?,
            link_memory: one_of(u, &[most.link_memory, 256 << 10])?,
            send_queue: one_of(u, &[most.send_queue, most.send_queue, 1000, 1])?,
            reset_on_drop: u.ratio(1, 4)?,
            pipe: one_of(u, &[most.pipe, most.pipe, 4096, 100, 1])?,
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Step> {
        Ok(match u.int_in_range(0..=31)? {
            0..=11 => Step::Frame(frame(u)?, 1),
            12 => Step::Frame(frame(u)?, one_of(u, &[2, 10, 200, 1500])?),
            13 => Step::Bytes(bytes(u)?),
            14..=16 => Step::Read,
            17..=21 => Step::Try(u.arbitrary()?),
            22..=26 => Step::Wait(u.arbitrary()?),
            27..=30 => Step::Yield(u.int_in_range(1..=20)?),
            _ => Step::Sleep(one_of(u, &[1, 100, 1_500, 11_000, 31_000])?),
        })
    }
}

impl<'a> Arbitrary<'a> for Action {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Action> {
        let size = |u: &mut Unstructured<'a>| one_of(u, &[0, 1, 10, 1_000, 20_000, 70_000]);
        let time = |u: &mut Unstructured<'a>| one_of(u, &[None, Some(0), Some(1), Some(40_000)]);
        Ok(match u.int_in_range(0..=31)? {
            0..=4 => Action::Read(size(u)?),
            5..=6 => Action::ReadChunk,
            7..=8 => Action::ReadToEnd,
            9..=14 => Action::Write(size(u)?),
            15..=16 => Action::WriteChunk(size(u)?),
            17 => Action::Flush,
            18..=19 => Action::Sent,
            20 => Action::Shutdown,
            21 => Action::Close,
            22 => Action::Whole,
            23 => Action::Reset(u.int_in_range(0..=14)?),
            24 => Action::ReadDeadline(time(u)?),
            25 => Action::WriteDeadline(time(u)?),
            26 => Action::DropReader,
            27 => Action::DropWriter,
            _ => Action::Another,
        })
    }
}

/// A frame as honest peers send it, or one that is slightly wrong, or a random one.
fn frame(u: &mut Unstructured<'_>) -> Result<Frame> {
    let mut frame = honest(u)?;
    match u.int_in_range(0..=31)? {
        0 => frame.flags = u.arbitrary()?,
        1 => frame.stream = u.arbitrary()?,
        2 => frame.kind = u.arbitrary()?,
        3 => frame.payload.truncate(u.int_in_range(0..=20)?),
        4 => frame.payload = bytes(u)?,
        5 => frame.flags ^= END_STREAM,
        6 => frame.flags ^= END_HEADERS,
        7 => frame.flags ^= PADDED,
        8 => frame.stream = one_of(u, &[0, 1, 2, 3, 5])?,
        _ => {}
    }
    if frame.kind == PUSH_PROMISE && !PUSHES {
        frame.kind = CONTINUATION;
    }
    Ok(frame)
}

/// Usually on the stream of the connection.
fn honest(u: &mut Unstructured<'_>) -> Result<Frame> {
    let stream = one_of(u, &[1, 1, 1, 1, 1, 3, 5, 7])?;
    let of_link = one_of(u, &[0, stream])?;
    let code: u32 = u.int_in_range(0..=14)?;
    let (kind, flags, stream, payload) = match u.int_in_range(0..=23)? {
        0..=8 => {
            let len = one_of(u, &[0, 1, 10, 255, 1_000, 16_384, 65_536])?;
            (DATA, if u.ratio(1, 8)? { END_STREAM } else { 0 }, stream, vec![u.arbitrary()?; len])
        }
        9..=10 => {
            let end = if u.ratio(1, 4)? { END_STREAM } else { 0 };
            (HEADERS, END_HEADERS | end, stream, fields(u)?)
        }
        11 => (PRIORITY, 0, stream, vec![0, 0, 0, 0, 15]),
        12 => (RST_STREAM, 0, stream, code.to_be_bytes().to_vec()),
        13..=14 => (SETTINGS, 0, 0, settings(u)?),
        15..=16 => (SETTINGS, ACK, 0, Vec::new()),
        17 => (PING, one_of(u, &[0, ACK])?, 0, u.arbitrary::<[u8; 8]>()?.to_vec()),
        18..=20 => {
            let increment = one_of(u, &[1_u32, 1_000, 65_535, 1 << 20, (1 << 31) - 1, 0])?;
            (WINDOW_UPDATE, 0, of_link, increment.to_be_bytes().to_vec())
        }
        21 => {
            let last = one_of(u, &[0_u32, 1, 3, (1 << 31) - 1])?;
            let mut payload = last.to_be_bytes().to_vec();
            payload.extend(code.to_be_bytes());
            payload.extend(bytes(u)?);
            (GOAWAY, 0, 0, payload)
        }
        22 => (CONTINUATION, END_HEADERS, stream, fields(u)?),
        _ => {
            let mut payload = 2_u32.to_be_bytes().to_vec();
            payload.extend(REQUEST);
            (PUSH_PROMISE, END_HEADERS, stream, payload)
        }
    };
    Ok(Frame { kind, flags, stream, payload })
}

/// Header fields in HPACK (RFC 7541).
fn fields(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const TRAILER: &[u8] = b"\x00\x01a\x01b";
    const NOT_FOUND: &[u8] = b"\x8d";
    const NO_CONTENT: &[u8] = b"\x89";
    const CONTINUE: &[u8] = b"\x08\x03100";
    const OK_WITH_LENGTH: &[u8] = b"\x88\x0f\x0d\x0210";
    const HEAD: &[u8] = b"\x02\x04HEAD\x86\x84\x41\x03raw";
    let known =
        [REQUEST, REQUEST, OK, OK, TRAILER, NOT_FOUND, NO_CONTENT, CONTINUE, OK_WITH_LENGTH, HEAD];
    let mut fields = u.choose(&known)?.to_vec();
    if u.ratio(1, 8)? {
        fields.extend(bytes(u)?);
    }
    Ok(fields)
}

/// Entries of a SETTINGS frame (RFC 9113 §6.5.1).
fn settings(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        let name: u16 = u.int_in_range(1..=8)?;
        let most = (1 << 31) - 1;
        let value = one_of(u, &[0_u32, 1, 100, 16_384, 65_535, 1 << 20, most, u32::MAX])?;
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    Ok(payload)
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=50.min(u.len()))?;
    Ok(u.bytes(len.min(u.len()))?.to_vec())
}

fn one_of<T: Copy>(u: &mut Unstructured<'_>, choices: &[T]) -> Result<T> {
    u.choose(choices).copied()
}

impl Step {
    /// The bytes that the peer sends, if this is a step of the peer.
    pub(crate) fn to_send(&self) -> Option<Vec<u8>> {
        match self {
            Step::Frame(frame, times) => {
                let bytes = raw::frame(frame.kind, frame.flags, frame.stream, &frame.payload);
                let most = AT_ONCE / bytes.len();
                Some(bytes.repeat((*times).min(most).max(1)))
            }
            Step::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}
