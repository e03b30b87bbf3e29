//! A system that has no limit which a process could see.

pub(crate) fn raise() {}
