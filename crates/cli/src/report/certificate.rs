//! The description of a certificate for `-v`.

use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The lines that describe a certificate in DER.
pub(super) fn lines(der: &[u8]) -> Vec<String> {
    let digest: Vec<String> = Sha256::digest(der).iter().map(|b| format!("{b:02X}")).collect();
    let mut lines = Vec::new();
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => {
            lines.push(format!("{}, issued by {}", certificate.subject(), certificate.issuer()));
            lines.push(format!("for {}", names(&certificate)));
            let validity = certificate.validity();
            lines.push(format!("valid from {} to {}", validity.not_before, validity.not_after));
        }
        Err(error) => lines.push(format!("it cannot be read: {error}")),
    }
    lines.push(format!("SHA-256 {}", digest.join(":")));
    lines
}

fn names(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return "no name".to_owned();
    };
    let shown = names.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => std::net::IpAddr::from(v4).to_string(),
                (_, Ok(v6)) => std::net::IpAddr::from(v6).to_string(),
                _ => "an address of an unknown kind".to_owned(),
            }
        }
        other => other.to_string(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::lines;

    #[test]
    fn what_is_no_certificate_is_described_all_the_same() {
        let lines = lines(b"garbage");
        assert!(lines[0].starts_with("it cannot be read"), "{lines:?}");
        assert!(lines.last().unwrap().starts_with("SHA-256 "), "{lines:?}");
    }
}
