//! The addresses that `--resolve` gives.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::args::Resolve;

/// Addresses of hosts, by name and port. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<[Resolve]>);

impl Addresses {
    pub(super) fn new(given: &[Resolve]) -> Addresses {
        Addresses(given.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u16, &[IpAddr])> {
        self.0.iter().map(|one| (one.host.as_str(), one.port, one.addresses.as_slice()))
    }

    /// The addresses of a host and port. If they were given twice, the last ones count, as in curl.
    pub(super) fn of(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let found = self.0.iter().rev();
        let found = found
            .into_iter()
            .find(|one| one.host.eq_ignore_ascii_case(host) && one.port == port)?;
        Some(found.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }
}
