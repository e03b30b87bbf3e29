//! The secret that a client presents and a server compares.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use h2conn::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::private;

/// The variable with the token, if no file is given.
pub(crate) const TOKEN_VARIABLE: &str = "H2CONN_TOKEN";

/// A bearer token (RFC 6750 §2.1). `Debug` does not print it.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// The token of `file`, or of the environment. Unlike a command line, processes of other users
    /// cannot read the environment.
    pub(crate) fn find(file: Option<&PathBuf>) -> Result<Option<Token>> {
        match (file, std::env::var(TOKEN_VARIABLE)) {
            (Some(file), _) => Token::read(file).map(Some),
            (None, Ok(text)) => Token::parse(&text)
                .with_context(|| format!("the variable {TOKEN_VARIABLE}"))
                .map(Some),
            (None, Err(std::env::VarError::NotPresent)) => Ok(None),
            (None, Err(error)) => Err(error).context(TOKEN_VARIABLE),
        }
    }

    fn read(file: &Path) -> Result<Token> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read the token from {}", file.display()))?;
        let token =
            Token::parse(&text).with_context(|| format!("the token in {}", file.display()))?;
        private::warn_if_open(file, "the token");
        Ok(token)
    }

    fn parse(text: &str) -> Result<Token> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.len() > 4096 || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            bail!(
                "cannot be used; expected one line of up to 4096 letters, digits and signs, \
                 as `openssl rand -hex 32` makes it"
            );
        }
        Ok(Token(text.to_owned()))
    }

    /// The value of the field `authorization`.
    pub(crate) fn to_field(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a request presents this token. The comparison takes the same time wherever the two
    /// first differ. It compares digests, so the time does not reveal the length either.
    pub(crate) fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return false };
        let Some((scheme, shown)) = field.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        let same = Sha256::digest(shown).ct_eq(&Sha256::digest(self.0.as_bytes()));
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(same)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use h2conn::http::HeaderValue;

    use super::*;

    fn shows(token: &Token, values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        token.is_shown_in(&headers)
    }

    #[test]
    fn only_the_same_token_opens() {
        let token = Token::parse("s3cret\n").unwrap();
        assert_eq!(token.to_field(), "Bearer s3cret");
        assert!(shows(&token, &["Bearer s3cret"]));
        assert!(shows(&token, &["bearer s3cret"]));
        for wrong in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret ", "Bearer S3CRET"] {
            assert!(!shows(&token, &[wrong]), "{wrong:?}");
        }
        assert!(!shows(&token, &["Basic s3cret"]) && !shows(&token, &["s3cret"]));
        assert!(!shows(&token, &[]));
        assert!(!shows(&token, &["Bearer wrong", "Bearer s3cret"]), "which of two is meant?");
    }

    #[test]
    fn a_token_is_one_line_that_a_header_field_takes() {
        for text in ["", "\n", "two\nlines", "a b", "schlüssel", "\u{7f}"] {
            assert!(Token::parse(text).is_err(), "{text:?}");
        }
        assert!(!format!("{:?}", Token::parse("s3cret").unwrap()).contains("s3cret"));
    }
}
