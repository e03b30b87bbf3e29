//! From when to when a certificate is valid, read from its DER.
//!
//! rustls checks dates only together with a chain of authorities.

use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

use super::rustls::CertificateError;
use super::rustls::pki_types::UnixTime;

/// The first and the last second, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: u64,
    not_after: u64,
}

impl Validity {
    /// Reads it from a certificate (RFC 5280 §4.1). `None` for what is not one, or has dates before
    /// 1970.
    pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
        read(&mut SliceReader::new(certificate).ok()?).ok()
    }

    pub(super) fn check(self, time: UnixTime) -> Result<(), CertificateError> {
        let moment = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        if time.as_secs() < self.not_before {
            let not_before = moment(self.not_before);
            return Err(CertificateError::NotValidYetContext { time, not_before });
        }
        if time.as_secs() > self.not_after {
            let not_after = moment(self.not_after);
            return Err(CertificateError::ExpiredContext { time, not_after });
        }
        Ok(())
    }
}

fn read(certificate: &mut SliceReader<'_>) -> der::Result<Validity> {
    let mut certificate = sequence(certificate)?;
    let mut signed = sequence(&mut certificate)?;
    if signed.peek_byte() == Some(VERSION) {
        AnyRef::decode(&mut signed)?;
    }
    for _ in ["serial number", "algorithm of the signature", "issuer"] {
        AnyRef::decode(&mut signed)?;
    }
    let mut dates = sequence(&mut signed)?;
    Ok(Validity { not_before: time(&mut dates)?, not_after: time(&mut dates)? })
}

/// The tag of the version, which may be left out.
const VERSION: u8 = 0xa0;

/// The elements of the next value.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<SliceReader<'a>> {
    let value = AnyRef::decode(reader)?;
    value.tag().assert_eq(Tag::Sequence)?;
    SliceReader::new(value.value())
}

/// The next value, which is a time in one of the forms of RFC 5280 §4.1.2.5.
fn time(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    let since_1970 = match AnyRef::decode(reader)? {
        utc if utc.tag() == Tag::UtcTime => utc.decode_as::<UtcTime>()?.to_unix_duration(),
        other => other.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(since_1970.as_secs())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;

    #[test]
    fn both_forms_of_time_are_read_and_nothing_else() {
        let seconds = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.as_bytes());
            time(&mut SliceReader::new(&der).unwrap()).ok()
        };
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229235959Z", Some(951_868_799)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "700101000000+0100", None),
            (0x30, "700101000000Z", None),
        ] {
            assert_eq!(seconds(tag, text), expected, "{text}");
        }
        assert_eq!(Validity::of(b"no certificate"), None);
    }

    #[test]
    fn both_ends_belong_to_the_validity() {
        let validity = Validity { not_before: 10, not_after: 20 };
        let at = |seconds| validity.check(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert!(matches!(at(9), Err(CertificateError::NotValidYetContext { .. })));
        at(10).unwrap();
        at(20).unwrap();
        assert!(matches!(at(21), Err(CertificateError::ExpiredContext { .. })));
    }
}
