//! `--identity`: a certificate with its key, made once and kept in a file.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use h2conn::tls::Identity;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

use crate::exit::{Failure, Result};
use crate::private;
use crate::report::say;

/// Reads the identity in the file at `path`. If there is none, makes one that is for `names`, and keeps it there.
///
/// Prints the fingerprint, and warns of faults of a kept identity. `host` is the name that clients connect
/// by, if it is known.
///
/// # Errors
///
/// When the file cannot be read or made, or does not hold a certificate and its key.
pub(crate) fn kept(path: &Path, names: &[String], host: Option<&str>) -> Result<Identity> {
    let shown = path.display();
    let is_new = !exists(path)? && make(path, names)?;
    let identity = Identity::from_pem_files(path, path)?;
    let fingerprint = identity.fingerprint();
    match is_new {
        true => say(format_args!("certificate made and kept in {shown}, SHA-256 {fingerprint}")),
        false => say(format_args!("certificate kept in {shown}, SHA-256 {fingerprint}")),
    }
    for fault in faults(path, &identity.certificate_pem(), host) {
        say(format_args!("h2conn: warning: {fault}"));
    }
    Ok(identity)
}

fn exists(path: &Path) -> Result<bool> {
    // A link to nothing exists too: a new file must not appear where another user's link points.
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path, error)),
    }
}

/// Makes the file, which appears whole or not at all. Returns false if another process has made it first: then
/// the file of that process counts.
fn make(path: &Path, names: &[String]) -> Result<bool> {
    let text = Identity::self_signed_pem(names)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || -> io::Result<tempfile::NamedTempFile> {
        // The temporary file has mode 0600, and keeps it under its final name.
        let mut file = tempfile::Builder::new().prefix(".h2conn-identity-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = written().map_err(|error| failed("make", path, error))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("make", path, error.error)),
    }
}

fn failed(what: &str, path: &Path, error: impl fmt::Display) -> Failure {
    Failure::usage(format_args!("cannot {what} {} for --identity: {error}", path.display()))
}

/// The faults for which clients refuse a certificate, or other users can read its key.
fn faults(path: &Path, pem: &str, host: Option<&str>) -> Vec<String> {
    let shown = path.display();
    let renewed = format!("if it was made here, remove {shown} to have another one made");
    let mut faults = Vec::new();
    faults.extend(private::fault(path, "the private key"));
    let Ok((_, der)) = parse_x509_pem(pem.as_bytes()) else { return faults };
    let Ok(certificate) = der.parse_x509() else { return faults };
    let validity = certificate.validity();
    if !validity.is_valid() {
        faults.push(format!(
            "the certificate in {shown} is valid from {} to {}, and clients refuse it; {renewed}",
            validity.not_before, validity.not_after
        ));
    }
    if let Some(name) = host.filter(|name| !is_for(&certificate, name)) {
        faults.push(format!(
            "the certificate in {shown} is not for {name}, and clients that connect by that name \
             refuse it; {renewed}"
        ));
    }
    faults
}

/// Whether a certificate is for a DNS name or an IP address (RFC 9525 §6.3).
fn is_for(certificate: &X509Certificate<'_>, name: &str) -> bool {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let name = name.to_ascii_lowercase();
    names.value.general_names.iter().any(|candidate| match (candidate, name.parse()) {
        (GeneralName::DNSName(candidate), Err(_)) => {
            let candidate = candidate.to_ascii_lowercase();
            let rest = name.split_once('.').map_or("", |(_, rest)| rest);
            candidate == name
                || candidate.strip_prefix("*.").is_some_and(|of| !of.is_empty() && of == rest)
        }
        (GeneralName::IPAddress(bytes), Ok(ip)) => match ip {
            std::net::IpAddr::V4(ip) => *bytes == ip.octets(),
            std::net::IpAddr::V6(ip) => *bytes == ip.octets(),
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::sync::Barrier;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn it_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let first = kept(&path, &names(&["localhost"]), Some("localhost")).unwrap();
        let again = kept(&path, &names(&["localhost"]), Some("localhost")).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file is left");
        assert!(faults(&path, &first.certificate_pem(), Some("localhost")).is_empty());
    }

    #[test]
    fn processes_that_start_at_once_have_the_same() {
        const AT_ONCE: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let barrier = Barrier::new(AT_ONCE);
        let one = || {
            barrier.wait();
            kept(&path, &names(&["localhost"]), Some("localhost")).unwrap().fingerprint()
        };
        let all: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|fingerprint| *fingerprint == all[0]), "{all:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_file_that_is_no_identity_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "not a certificate\n").unwrap();
        let error = kept(&path, &names(&["localhost"]), Some("localhost")).unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a certificate\n");
        let error =
            kept(&folder.path().join("no/such.pem"), &names(&["localhost"]), None).unwrap_err();
        assert!(error.to_string().contains("for --identity"), "{error}");
        #[cfg(unix)]
        {
            let (link, target) = (folder.path().join("link"), folder.path().join("target"));
            std::os::unix::fs::symlink(&target, &link).unwrap();
            kept(&link, &names(&["localhost"]), None).unwrap_err();
            assert!(!target.exists(), "made where a link points");
        }
    }

    #[test]
    fn what_is_wrong_with_one_that_was_kept_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names(&["*.Example", "10.0.0.1", "::1"])).unwrap();
        params.not_after = date_time_ymd(2001, 1, 1);
        params.not_before = date_time_ymd(2000, 1, 1);
        let old = params.self_signed(&key).unwrap().pem();
        fs::write(&path, format!("{old}{}", key.serialize_pem())).unwrap();
        let said = |name: &str| faults(&path, &old, Some(name)).join("\n");
        assert!(said("a.example").contains("valid from"), "{}", said("a.example"));
        for name in ["a.example", "A.EXAMPLE", "10.0.0.1", "::1"] {
            assert!(!said(name).contains("is not for"), "{}", said(name));
        }
        for name in ["example", "a.b.example", "localhost", "10.0.0.2", "::2"] {
            assert!(said(name).contains(&format!("is not for {name}")), "{}", said(name));
        }
        assert!(!faults(&path, &old, None).join("\n").contains("is not for"), "no host is named");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
            assert!(said("::1").contains("mode 0660"), "{}", said("::1"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(!said("::1").contains("mode"), "{}", said("::1"));
        }
    }
}
