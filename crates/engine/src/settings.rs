//! The values of SETTINGS (RFC 9113 §6.5.2): their meaning, limits and initial values. A new
//! parameter begins here.

use crate::{ConnectionError, Reason};

/// The smallest and the initial SETTINGS_MAX_FRAME_SIZE, in bytes (RFC 9113 §6.5.2).
pub(crate) const MIN_MAX_FRAME_SIZE: u32 = 1 << 14;

/// The largest SETTINGS_MAX_FRAME_SIZE, in bytes (RFC 9113 §6.5.2).
pub(crate) const MAX_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// The largest window, in bytes (RFC 9113 §6.9.1).
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;

/// The limits and abilities that one end of a connection announces. They bind the *other* end.
///
/// [`Settings::default`] has the initial values of RFC 9113 §6.5.2, which count until SETTINGS
/// change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The size of the table of header compression, in bytes. Initially 4,096.
    pub header_table_size: u32,
    /// Whether a server may push. Initially it may.
    pub enable_push: bool,
    /// The number of streams that the other end may have open at once. Initially there is no limit.
    pub max_concurrent_streams: Option<u32>,
    /// The initial window of each stream, in bytes. Initially 65,535.
    pub initial_window_size: u32,
    /// The longest payload of a frame, in bytes. Initially 16,384.
    pub max_frame_size: u32,
    /// The size of a head's fields, in bytes, plus 32 for each field. This is a hint. Initially
    /// there is no limit.
    pub max_header_list_size: Option<u32>,
    /// Whether a client may send the extended CONNECT (RFC 8441 §3). Initially it may not.
    pub enable_connect_protocol: bool,
    /// Whether the priorities of RFC 7540 are unused (RFC 9218 §2.1). Initially this is not stated.
    pub no_rfc7540_priorities: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            header_table_size: 4_096,
            enable_push: true,
            max_concurrent_streams: None,
            initial_window_size: 65_535,
            max_frame_size: MIN_MAX_FRAME_SIZE,
            max_header_list_size: None,
            enable_connect_protocol: false,
            no_rfc7540_priorities: false,
        }
    }
}

impl Settings {
    /// Applies one value.
    ///
    /// # Errors
    ///
    /// The extended CONNECT cannot be withdrawn (RFC 8441 §3).
    pub(crate) fn apply(&mut self, setting: Setting) -> Result<(), ConnectionError> {
        match setting {
            Setting::HeaderTableSize(size) => self.header_table_size = size,
            Setting::EnablePush(enabled) => self.enable_push = enabled,
            Setting::MaxConcurrentStreams(max) => self.max_concurrent_streams = Some(max),
            Setting::InitialWindowSize(size) => self.initial_window_size = size,
            Setting::MaxFrameSize(size) => self.max_frame_size = size,
            Setting::MaxHeaderListSize(size) => self.max_header_list_size = Some(size),
            Setting::EnableConnectProtocol(false) if self.enable_connect_protocol => {
                return Err(ConnectionError::protocol(
                    "SETTINGS_ENABLE_CONNECT_PROTOCOL went from 1 to 0, it may not be taken back \
                     (RFC 8441 §3)",
                ));
            }
            Setting::EnableConnectProtocol(enabled) => self.enable_connect_protocol = enabled,
            Setting::NoRfc7540Priorities(enabled) => self.no_rfc7540_priorities = enabled,
        }
        Ok(())
    }

    /// The values that differ from those that the other end knows, in the order of their
    /// identifiers. A limit cannot be removed: `None` is never announced.
    pub(crate) fn changes_from(&self, known: &Settings) -> impl Iterator<Item = Setting> + use<> {
        let Settings {
            header_table_size,
            enable_push,
            max_concurrent_streams,
            initial_window_size,
            max_frame_size,
            max_header_list_size,
            enable_connect_protocol,
            no_rfc7540_priorities,
        } = *self;
        let changed = |setting, differs: bool| differs.then_some(setting);
        [
            changed(
                Setting::HeaderTableSize(header_table_size),
                header_table_size != known.header_table_size,
            ),
            changed(Setting::EnablePush(enable_push), enable_push != known.enable_push),
            max_concurrent_streams
                .filter(|_| max_concurrent_streams != known.max_concurrent_streams)
                .map(Setting::MaxConcurrentStreams),
            changed(
                Setting::InitialWindowSize(initial_window_size),
                initial_window_size != known.initial_window_size,
            ),
            changed(Setting::MaxFrameSize(max_frame_size), max_frame_size != known.max_frame_size),
            max_header_list_size
                .filter(|_| max_header_list_size != known.max_header_list_size)
                .map(Setting::MaxHeaderListSize),
            changed(
                Setting::EnableConnectProtocol(enable_connect_protocol),
                enable_connect_protocol != known.enable_connect_protocol,
            ),
            changed(
                Setting::NoRfc7540Priorities(no_rfc7540_priorities),
                no_rfc7540_priorities != known.no_rfc7540_priorities,
            ),
        ]
        .into_iter()
        .flatten()
    }
}

/// One value of a SETTINGS frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    HeaderTableSize(u32),
    EnablePush(bool),
    MaxConcurrentStreams(u32),
    InitialWindowSize(u32),
    MaxFrameSize(u32),
    MaxHeaderListSize(u32),
    EnableConnectProtocol(bool),
    NoRfc7540Priorities(bool),
}

impl Setting {
    /// Checks the value. `None` for an unknown identifier, which must be ignored (RFC 9113 §6.5.2).
    pub(crate) fn parse(id: u16, value: u32) -> Result<Option<Setting>, ConnectionError> {
        Ok(Some(match id {
            0x1 => Setting::HeaderTableSize(value),
            0x2 => Setting::EnablePush(flag("SETTINGS_ENABLE_PUSH", value, "RFC 9113 §6.5.2")?),
            0x3 => Setting::MaxConcurrentStreams(value),
            0x4 if value > MAX_WINDOW => {
                return Err(ConnectionError::new(
                    Reason::FLOW_CONTROL_ERROR,
                    format!(
                        "SETTINGS_INITIAL_WINDOW_SIZE of {value}, at most {MAX_WINDOW} was \
                         expected (RFC 9113 §6.5.2)"
                    ),
                ));
            }
            0x4 => Setting::InitialWindowSize(value),
            0x5 if !(MIN_MAX_FRAME_SIZE..=MAX_MAX_FRAME_SIZE).contains(&value) => {
                return Err(ConnectionError::protocol(format!(
                    "SETTINGS_MAX_FRAME_SIZE of {value}, {MIN_MAX_FRAME_SIZE} to \
                     {MAX_MAX_FRAME_SIZE} was expected (RFC 9113 §6.5.2)"
                )));
            }
            0x5 => Setting::MaxFrameSize(value),
            0x6 => Setting::MaxHeaderListSize(value),
            0x8 => Setting::EnableConnectProtocol(flag(
                "SETTINGS_ENABLE_CONNECT_PROTOCOL",
                value,
                "RFC 8441 §3",
            )?),
            0x9 => Setting::NoRfc7540Priorities(flag(
                "SETTINGS_NO_RFC7540_PRIORITIES",
                value,
                "RFC 9218 §2.1",
            )?),
            _ => return Ok(None),
        }))
    }

    /// Refuses a value that only a client may send.
    pub(crate) fn check_from_server(self) -> Result<(), ConnectionError> {
        if self == Setting::EnablePush(true) {
            return Err(ConnectionError::protocol(
                "SETTINGS_ENABLE_PUSH of 1 from a server, 0 was expected (RFC 9113 §6.5.2)",
            ));
        }
        Ok(())
    }

    /// The identifier and the value.
    pub(crate) fn wire(self) -> (u16, u32) {
        match self {
            Setting::HeaderTableSize(size) => (0x1, size),
            Setting::EnablePush(enabled) => (0x2, enabled.into()),
            Setting::MaxConcurrentStreams(max) => (0x3, max),
            Setting::InitialWindowSize(size) => (0x4, size),
            Setting::MaxFrameSize(size) => (0x5, size),
            Setting::MaxHeaderListSize(size) => (0x6, size),
            Setting::EnableConnectProtocol(enabled) => (0x8, enabled.into()),
            Setting::NoRfc7540Priorities(enabled) => (0x9, enabled.into()),
        }
    }
}

fn flag(name: &str, value: u32, section: &str) -> Result<bool, ConnectionError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ConnectionError::protocol(format!(
            "{name} of {value}, 0 or 1 was expected ({section})"
        ))),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    fn parsed(id: u16, value: u32) -> Option<Setting> {
        Setting::parse(id, value).unwrap()
    }

    #[test]
    fn every_setting_is_written_as_it_is_read() {
        for (id, value) in [
            (0x1, 0),
            (0x1, u32::MAX),
            (0x2, 0),
            (0x2, 1),
            (0x3, u32::MAX),
            (0x4, 0),
            (0x4, MAX_WINDOW),
            (0x5, MIN_MAX_FRAME_SIZE),
            (0x5, MAX_MAX_FRAME_SIZE),
            (0x6, 7),
            (0x8, 0),
            (0x8, 1),
            (0x9, 0),
            (0x9, 1),
        ] {
            assert_eq!(parsed(id, value).map(Setting::wire), Some((id, value)));
        }
    }

    #[test]
    fn unknown_settings_are_ignored() {
        for id in [0, 0x7, 0xa, 0xffff] {
            assert_eq!(parsed(id, u32::MAX), None);
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let mut settings = Settings::default();
        for setting in [Setting::InitialWindowSize(1), Setting::InitialWindowSize(2)] {
            settings.apply(setting).unwrap();
        }
        assert_eq!(settings, Settings { initial_window_size: 2, ..Settings::default() });
    }

    #[test]
    fn extended_connect_cannot_be_taken_back() {
        let mut settings = Settings::default();
        settings.apply(Setting::EnableConnectProtocol(false)).unwrap();
        settings.apply(Setting::EnableConnectProtocol(true)).unwrap();
        settings.apply(Setting::EnableConnectProtocol(true)).unwrap();
        let error = settings.apply(Setting::EnableConnectProtocol(false)).unwrap_err();
        assert_eq!(error.reason(), Reason::PROTOCOL_ERROR);
        assert!(settings.enable_connect_protocol);
    }

    #[test]
    fn changes_lead_from_one_to_the_other() {
        let all = Settings {
            header_table_size: 1,
            enable_push: false,
            max_concurrent_streams: Some(2),
            initial_window_size: 3,
            max_frame_size: 1 << 20,
            max_header_list_size: Some(4),
            enable_connect_protocol: true,
            no_rfc7540_priorities: true,
        };
        let mut settings = Settings::default();
        assert_eq!(settings.changes_from(&settings).count(), 0);
        assert_eq!(all.changes_from(&settings).count(), 8);
        for setting in all.changes_from(&settings.clone()) {
            settings.apply(setting).unwrap();
        }
        assert_eq!(settings, all);
    }
}
