//! From when to when a certificate is valid, read from its DER.
//!
//! rustls checks dates only together with a chain of authorities.

use std::time::Duration;

use super::rustls::CertificateError;
use super::rustls::pki_types::UnixTime;

/// The first and the last second, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: u64,
    not_after: u64,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Of the version, whose tag is the field's number.
const FIELD_0: u8 = 0xa0;

impl Validity {
    /// Reads it from a certificate (RFC 5280 §4.1). `None` for what is not one, or has dates before
    /// 1970.
    pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
        let mut outer = Der(certificate);
        let mut signed = Der(Der(outer.take(SEQUENCE)?).take(SEQUENCE)?);
        if signed.0.first() == Some(&FIELD_0) {
            signed.take(FIELD_0)?;
        }
        // The serial number, the algorithm of the signature, the issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            signed.take(tag)?;
        }
        let mut dates = Der(signed.take(SEQUENCE)?);
        Some(Validity { not_before: dates.time()?, not_after: dates.time()? })
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

/// Values in DER, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // So many bytes of length follow; more than four would be no certificate's.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// The next value, which is a time in one of the forms of RFC 5280 §4.1.2.5.
    fn time(&mut self) -> Option<u64> {
        let (year, rest) = match self.0.first()? {
            &UTC_TIME => {
                let (year, rest) = self.take(UTC_TIME)?.split_at_checked(2)?;
                let year = number(year)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            &GENERALIZED_TIME => {
                let (year, rest) = self.take(GENERALIZED_TIME)?.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
        let mut fields = digits.chunks(2).map(number);
        let mut field = |range: std::ops::RangeInclusive<u64>| {
            fields.next().flatten().filter(|field| range.contains(field))
        };
        let (month, day) = (field(1..=12)?, field(1..=31)?);
        let (hour, minute, second) = (field(0..=23)?, field(0..=59)?, field(0..=59)?);
        Some(((days_since_1970(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Years begin in March here, so that the day that some lack is their last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    // The first of March of the year 0 is day 0.
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn time(tag: u8, text: &str) -> Option<u64> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend(text.as_bytes());
        Der(&der).time()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229235959Z", 951_868_799),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "21000228000000Z", 4_107_456_000),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time(tag, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (tag, text) in [
            (UTC_TIME, "500101000000Z"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700100000000Z"),
            (UTC_TIME, "700101240000Z"),
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "700101000000+0100"),
            (UTC_TIME, "70010100000Z"),
            (UTC_TIME, "7x0101000000Z"),
            (GENERALIZED_TIME, "00000101000000Z"),
            (SEQUENCE, "700101000000Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text}");
        }
    }

    #[test]
    fn a_length_of_several_bytes_is_read_and_one_too_long_refused() {
        let mut long = vec![SEQUENCE, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        assert_eq!(Der(&long).take(SEQUENCE).unwrap().len(), 256);
        long.pop();
        assert_eq!(Der(&long).take(SEQUENCE), None);
        assert_eq!(Der(&[SEQUENCE, 0x80]).take(SEQUENCE), None);
        assert_eq!(Der(&[SEQUENCE, 0x85, 0, 0, 0, 0, 0]).take(SEQUENCE), None);
        assert_eq!(Der(&[SEQUENCE]).take(SEQUENCE), None);
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
