//! HTTP/2 error codes.

use std::fmt;

/// An HTTP/2 error code, as RST_STREAM and GOAWAY carry it (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(u32);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Reason {
            $($(#[$doc])* pub const $name: Reason = Reason($code);)*

            /// The code's name in the RFC.
            fn name(self) -> Option<&'static str> {
                match self {
                    $(Reason::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Nothing went wrong: a graceful end.
    NO_ERROR = 0x0;
    /// The peer broke the protocol in a way without its own code.
    PROTOCOL_ERROR = 0x1;
    /// An implementation had an unexpected internal error.
    INTERNAL_ERROR = 0x2;
    /// The peer sent more than its flow-control window allowed.
    FLOW_CONTROL_ERROR = 0x3;
    /// SETTINGS were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4;
    /// A frame came for a stream that was half-closed.
    STREAM_CLOSED = 0x5;
    /// A frame of an invalid size.
    FRAME_SIZE_ERROR = 0x6;
    /// The stream was refused before any processing.
    REFUSED_STREAM = 0x7;
    /// The stream is not needed any more.
    CANCEL = 0x8;
    /// The state of header compression is lost.
    COMPRESSION_ERROR = 0x9;
    /// The target of a CONNECT request has failed.
    CONNECT_ERROR = 0xa;
    /// The peer causes too much load.
    ENHANCE_YOUR_CALM = 0xb;
    /// The transport is not secure enough.
    INADEQUATE_SECURITY = 0xc;
    /// HTTP/1.1 is required instead.
    HTTP_1_1_REQUIRED = 0xd;
}

impl Reason {
    /// The reason with this code. Codes outside the RFC are kept unchanged.
    pub const fn from_code(code: u32) -> Reason {
        Reason(code)
    }

    /// The 32-bit code in its form on the wire.
    pub const fn code(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
