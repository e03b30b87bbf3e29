//! The configuration of one end of a connection.

use std::time::Duration;

use crate::window;

/// The configuration of one end. A value outside the range of RFC 9113 counts as the nearest one
/// inside it.
///
/// ```
/// use h2conn_engine::Config;
///
/// let config = Config { max_concurrent_streams: 100, ..Config::default() };
/// assert_eq!(config.max_frame_size, 64 << 10);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that the peer may send on a stream before they are released:
    /// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2). Default: 1 MiB. A peer can make the caller
    /// hold this much for each stream.
    pub stream_window: u32,
    /// The same for all streams together. Default: 16 MiB. At least 65,535, because no setting can
    /// lower it further (RFC 9113 §6.9.2).
    pub connection_window: u32,
    /// The largest payload of a frame that the peer may send, in bytes: SETTINGS_MAX_FRAME_SIZE.
    /// Default: 64 KiB. Frames other than DATA are collected when they come in pieces, so a peer
    /// can make the engine hold one such payload.
    pub max_frame_size: u32,
    /// The largest payload of a DATA frame that this side sends, in bytes, if the peer's
    /// SETTINGS_MAX_FRAME_SIZE allows it. Default: 64 KiB. A larger frame delays the output behind
    /// it.
    pub max_data_frame_size: u32,
    /// The largest header section, in bytes as RFC 9113 §6.5.2 counts them (32 more for each
    /// field): SETTINGS_MAX_HEADER_LIST_SIZE. Default: 16 KiB. A server answers a larger section
    /// with 431, and a client resets its stream.
    pub max_header_list_size: u32,
    /// The most fields of a header section. Default: 100. More fields have the same effect as too
    /// large a section.
    pub max_fields: usize,
    /// Streams that a client may have open at once: SETTINGS_MAX_CONCURRENT_STREAMS, which only a
    /// server sends. Default: 1,000. A stream costs about 150 bytes here. Further streams are
    /// refused with REFUSED_STREAM.
    pub max_concurrent_streams: u32,
    /// Bytes of the table that the peer may use to compress header fields:
    /// SETTINGS_HEADER_TABLE_SIZE (RFC 7541 §4.2). Default: 4,096. A peer can make the engine hold
    /// this much.
    pub header_table_size: u32,
    /// The most bytes of the table that this side uses for compression, if the peer allows it.
    /// Default: 4,096.
    pub encoder_table_size: u32,
    /// Whether a server accepts extended CONNECT (RFC 8441): SETTINGS_ENABLE_CONNECT_PROTOCOL.
    /// Default: no, and a request with `:protocol` is malformed.
    pub extended_connect: bool,
    /// How long the peer may take to acknowledge SETTINGS (RFC 9113 §6.5.3). Default: 10 s.
    pub settings_timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            stream_window: 1 << 20,
            connection_window: 16 << 20,
            max_frame_size: 64 << 10,
            max_data_frame_size: 64 << 10,
            max_header_list_size: 16 << 10,
            max_fields: 100,
            max_concurrent_streams: 1_000,
            header_table_size: 4_096,
            encoder_table_size: 4_096,
            extended_connect: false,
            settings_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The same, with every value in its range.
    pub(crate) fn in_range(&self) -> Config {
        const FRAME: std::ops::RangeInclusive<u32> = 16_384..=(1 << 24) - 1;
        let frame = |size: u32| size.clamp(*FRAME.start(), *FRAME.end());
        Config {
            stream_window: self.stream_window.min(window::MAX),
            connection_window: self.connection_window.clamp(window::DEFAULT, window::MAX),
            max_frame_size: frame(self.max_frame_size),
            max_data_frame_size: self.max_data_frame_size.clamp(1, *FRAME.end()),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_count_as_the_nearest() {
        let wild = Config {
            stream_window: u32::MAX,
            connection_window: 0,
            max_frame_size: 0,
            max_data_frame_size: 0,
            ..Config::default()
        };
        let tame = wild.in_range();
        assert_eq!(tame.stream_window, (1 << 31) - 1);
        assert_eq!(tame.connection_window, 65_535);
        assert_eq!((tame.max_frame_size, tame.max_data_frame_size), (16_384, 1));
        assert_eq!(Config::default().in_range(), Config::default());
    }
}
