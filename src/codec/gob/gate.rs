//! The check of a peer's messages before `gobwire` reads them.
//!
//! `gobwire` 0.1.0 trusts its peer in four things:
//!
//! - It expands a type by recursion, without a limit on depth or size.
//! - It makes room for all fields of a dynamic struct, sent or not.
//! - It scans a value again with each message that the value spans.
//! - It keeps any number of types.
//!
//! So the gate first walks each message, once and without recursion. It hands on accepted messages
//! in a simple form: each type definition as a message of its own, then the whole value as one
//! message.

use std::collections::HashMap;
use std::sync::Arc;

use gobwire::{Decoder, TypeTable, WireType, ids};

use super::cursor::{Cursor, Fault, What};

/// The same depth as for JSON.
pub(super) const MAX_DEPTH: usize = 127;

/// The most memory of a dynamic value, as a multiple of the limit on a message.
const EXPANSION: usize = 64;

/// An upper estimate of what `gobwire` allocates for a dynamic value, and for each part of its
/// type.
const VALUE: usize = 32;
const TYPE: usize = 64;

/// The kind of a message that was walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Definition,
    /// A value goes on in the next message.
    Part,
    /// A value is complete, in [`Gate::value`].
    Value,
}

/// A value that contains the walk's position.
#[derive(Debug)]
enum Frame {
    List { elem: i64, left: u64 },
    Map { key: i64, elem: i64, left: u64 },
    Struct { ty: Arc<WireType>, next: usize },
}

#[derive(Debug)]
pub(super) struct Gate {
    limit: usize,
    /// Whether a value is read as any type, which makes all of it dynamic.
    any: bool,
    stack: Vec<Frame>,
    /// Whether the type of a value in an interface comes next.
    at_type: bool,
    /// The height of the stack where a dynamic value began.
    dynamic: Option<usize>,
    /// The memory that dynamic values may still take.
    room: usize,
    /// The bytes of all definitions.
    defined: usize,
    /// The costs of types that dynamic values have used.
    costs: HashMap<i64, usize>,
    value: Vec<u8>,
}

impl Gate {
    pub(super) fn new(limit: usize, any: bool) -> Gate {
        Gate {
            limit,
            any,
            stack: Vec::new(),
            at_type: false,
            dynamic: None,
            room: 0,
            defined: 0,
            costs: HashMap::new(),
            value: Vec::new(),
        }
    }

    /// Sets the limit. Call it only before the first message.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The complete value, as one message.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    pub(super) fn is_within_a_value(&self) -> bool {
        !self.value.is_empty()
    }

    /// Prepares for the next value.
    pub(super) fn clear(&mut self) {
        self.value.clear();
    }

    /// Walks the next message, and passes the types in it to the decoder.
    pub(super) fn message(&mut self, body: &[u8], decoder: &mut Decoder) -> Result<Step, Fault> {
        let mut cursor = Cursor::new(body);
        if !self.is_within_a_value() {
            let id = cursor.int()?;
            if id < 0 {
                cursor.definition()?;
                cursor.end("the end of the type definition")?;
                self.define(body, &cursor, decoder)?;
                return Ok(Step::Definition);
            }
            self.room = self.limit.saturating_mul(EXPANSION);
            if self.any {
                self.enter_dynamic(id, decoder.types()).map_err(|what| cursor.last(what))?;
            }
            self.framed(id, &mut cursor, decoder.types())?;
        }
        let step = self.walk(&mut cursor, decoder)?;
        if self.value.len() > self.limit {
            return Err(Fault { at: 0, what: What::TooLarge });
        }
        Ok(step)
    }

    fn walk(&mut self, cursor: &mut Cursor<'_>, decoder: &mut Decoder) -> Result<Step, Fault> {
        let mut copied = 0;
        loop {
            if self.at_type {
                if cursor.is_at_end() {
                    self.value.extend_from_slice(cursor.since(copied));
                    return Ok(Step::Part);
                }
                let start = cursor.at();
                let id = cursor.int()?;
                if id < 0 {
                    cursor.definition()?;
                    self.value.extend_from_slice(&cursor.since(copied)[..start - copied]);
                    self.define(cursor.since(start), cursor, decoder)?;
                    if !cursor.is_at_end() {
                        // The length of the bytes that follow, in which the definition stands.
                        cursor.uint()?;
                    }
                    copied = cursor.at();
                    continue;
                }
                self.at_type = false;
                if id == ids::INTERFACE {
                    return Err(cursor.malformed("a type that an interface can hold"));
                }
                self.enter_dynamic(id, decoder.types()).map_err(|what| cursor.last(what))?;
                cursor.uint()?;
                self.framed(id, cursor, decoder.types())?;
                continue;
            }
            if self.dynamic.is_some_and(|height| self.stack.len() <= height) {
                self.dynamic = None;
            }
            let Some(frame) = self.stack.last_mut() else { break };
            match frame.next(cursor)? {
                None => drop(self.stack.pop()),
                Some(id) => self.enter(id, cursor, decoder.types())?,
            }
        }
        cursor.end("the end of the value")?;
        self.value.extend_from_slice(cursor.since(copied));
        Ok(Step::Value)
    }

    /// Walks a value that stands alone, in a message or in an interface.
    fn framed(&mut self, id: i64, cursor: &mut Cursor<'_>, types: &TypeTable) -> Result<(), Fault> {
        if !types.is_known(id) {
            return Err(cursor.malformed("a type that was defined"));
        }
        if !types.is_struct(id) && cursor.uint()? != 0 {
            return Err(cursor.malformed("the zero before a value that is no struct"));
        }
        self.enter(id, cursor, types)
    }

    fn enter(&mut self, id: i64, cursor: &mut Cursor<'_>, types: &TypeTable) -> Result<(), Fault> {
        self.charge(VALUE).map_err(|what| cursor.fault(what))?;
        let frame = match id {
            ids::BOOL | ids::INT | ids::UINT | ids::FLOAT => return cursor.uint().map(drop),
            ids::COMPLEX => return cursor.uint().and_then(|_| cursor.uint()).map(drop),
            ids::BYTES | ids::STRING => return cursor.bytes().map(drop),
            ids::INTERFACE => {
                self.at_type = !cursor.bytes()?.is_empty();
                return Ok(());
            }
            _ => match types.get(id) {
                None => return Err(cursor.malformed("a type that was defined")),
                Some(ty) => match &**ty {
                    WireType::Marshaler { .. } => return cursor.bytes().map(drop),
                    WireType::Array { elem, len, .. } => {
                        let left = self.count(cursor)?;
                        if i64::try_from(left) != Ok(*len) {
                            return Err(cursor.malformed("the length of the array"));
                        }
                        Frame::List { elem: *elem, left }
                    }
                    WireType::Slice { elem, .. } => {
                        Frame::List { elem: *elem, left: self.count(cursor)? }
                    }
                    WireType::Map { key, elem, .. } => {
                        let left = self.count(cursor)?.saturating_mul(2);
                        Frame::Map { key: *key, elem: *elem, left }
                    }
                    WireType::Struct { fields, .. } => {
                        let room = fields.len().saturating_mul(VALUE);
                        self.charge(room).map_err(|what| cursor.fault(what))?;
                        Frame::Struct { ty: Arc::clone(ty), next: 0 }
                    }
                },
            },
        };
        if self.stack.len() == MAX_DEPTH {
            return Err(cursor.fault(What::TooDeep));
        }
        self.stack.push(frame);
        Ok(())
    }

    /// Reads the number of elements, each of which takes at least a byte.
    fn count(&self, cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
        let count = cursor.uint()?;
        match usize::try_from(count) {
            Ok(elements) if elements <= self.limit => Ok(count),
            _ => Err(Fault { at: 0, what: What::TooLarge }),
        }
    }

    fn define(
        &mut self,
        definition: &[u8],
        cursor: &Cursor<'_>,
        decoder: &mut Decoder,
    ) -> Result<(), Fault> {
        self.defined = self.defined.saturating_add(definition.len());
        if self.defined > self.limit {
            return Err(cursor.fault(What::TooManyTypes));
        }
        let pushed = decoder.push_message(definition);
        pushed.map(drop).map_err(|error| cursor.fault(What::Refused(error)))
    }

    fn charge(&mut self, cost: usize) -> Result<(), What> {
        if self.dynamic.is_some() {
            self.room = self.room.checked_sub(cost).ok_or(What::Expands)?;
        }
        Ok(())
    }

    /// Charges for the type: each dynamic value holds a full copy of its type.
    fn enter_dynamic(&mut self, id: i64, types: &TypeTable) -> Result<(), What> {
        if self.dynamic.is_none() {
            self.dynamic = Some(self.stack.len());
        }
        let cost = match self.costs.get(&id) {
            Some(&cost) => cost,
            None => {
                let mut room = self.room;
                expand(id, types, &mut Vec::new(), &mut room)?;
                let cost = self.room - room;
                self.costs.insert(id, cost);
                cost
            }
        };
        self.charge(VALUE.saturating_add(cost))
    }
}

impl Frame {
    /// The type of the next value in this one.
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<i64>, Fault> {
        match self {
            Frame::List { left: 0, .. } | Frame::Map { left: 0, .. } => Ok(None),
            Frame::List { elem, left } => {
                *left -= 1;
                Ok(Some(*elem))
            }
            Frame::Map { key, elem, left } => {
                *left -= 1;
                Ok(Some(if *left % 2 == 1 { *key } else { *elem }))
            }
            Frame::Struct { ty, next } => {
                let delta = cursor.uint()?;
                let Some(skipped) = delta.checked_sub(1) else { return Ok(None) };
                let WireType::Struct { fields, .. } = &**ty else { return Ok(None) };
                let index = usize::try_from(skipped).ok().and_then(|n| next.checked_add(n));
                let Some((index, field)) = index.and_then(|i| Some((i, fields.get(i)?))) else {
                    return Err(cursor.malformed("a field that the struct has"));
                };
                *next = index + 1;
                Ok(Some(field.id))
            }
        }
    }
}

/// Takes from `room` the memory for a type of a dynamic value. `gobwire` makes the tree of all
/// types in it, with names. A branch ends where it comes back to a type that contains it.
fn expand(id: i64, types: &TypeTable, path: &mut Vec<i64>, room: &mut usize) -> Result<(), What> {
    let mut take = |cost: usize| {
        *room = room.checked_sub(cost).ok_or(What::Expands)?;
        Ok(())
    };
    take(TYPE)?;
    if (ids::BOOL..=ids::INTERFACE).contains(&id) || path.contains(&id) {
        return Ok(());
    }
    let ty = types.get(id).ok_or(What::Malformed("types that were defined"))?;
    take(ty.name().len())?;
    if path.len() == MAX_DEPTH {
        return Err(What::TooDeep);
    }
    path.push(id);
    match &**ty {
        WireType::Array { elem, .. } | WireType::Slice { elem, .. } => {
            expand(*elem, types, path, room)?;
        }
        WireType::Map { key, elem, .. } => {
            expand(*key, types, path, room)?;
            expand(*elem, types, path, room)?;
        }
        WireType::Struct { fields, .. } => {
            for field in fields {
                *room = room.checked_sub(field.name.len()).ok_or(What::Expands)?;
                expand(field.id, types, path, room)?;
            }
        }
        WireType::Marshaler { .. } => {}
    }
    path.pop();
    Ok(())
}
