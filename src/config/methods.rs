//! The request methods that open a connection.

use http::Method;

use crate::error::{Error, ErrorKind, Result};

/// The methods that a server allows. The default is every method that can have a body in both
/// directions: curl sends PUT, the Go library POST.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods(Option<Vec<Method>>);

/// Methods that cannot carry a connection (RFC 9110 §9.3).
const NEVER: [Method; 3] = [Method::CONNECT, Method::HEAD, Method::TRACE];

impl Methods {
    pub(crate) fn only(methods: impl IntoIterator<Item = Method>) -> Methods {
        Methods(Some(methods.into_iter().collect()))
    }

    /// Refuses methods that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.iter().flatten().find(|method| NEVER.contains(method)) {
            Some(method) => {
                let message = format!("the method {method} cannot carry a connection; use POST");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            None => Ok(()),
        }
    }

    /// If this method is not allowed, the allowed methods in the form of the field `allow`.
    pub(crate) fn refusal(&self, method: &Method) -> Option<String> {
        match &self.0 {
            Some(methods) if methods.contains(method) => None,
            Some(methods) => {
                Some(methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
            }
            None if NEVER.contains(method) => Some("POST, PUT".to_owned()),
            None => None,
        }
    }
}

/// The text for a client whose method is refused.
pub(crate) fn method_not_allowed(method: &Method, allowed: &str) -> String {
    format!("{method} cannot open a connection here; use one of: {allowed}")
}
