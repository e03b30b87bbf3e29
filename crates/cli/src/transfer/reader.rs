//! Reads lines and runs of bytes from one connection.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2conn::Conn;

use super::patience::Patience;

/// The longest line of the protocol. Only the reason of a failure can be longer, and then it is
/// cut.
const LINE: usize = 1024;

/// Reads the peer's messages line by line, and the bytes of a file between the lines.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    conn: &'a Conn,
    patience: Patience,
    /// Bytes that arrived in one run with those that were asked for.
    rest: Bytes,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(conn: &'a Conn) -> Reader<'a> {
        Reader { conn, patience: Patience::default(), rest: Bytes::new() }
    }

    /// Sets the limit of each wait for the peer.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Reads a line, and returns it without its end.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            let Some(mut run) = self.run().await? else {
                bail!("the peer has ended in mid-sentence")
            };
            let end = run.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&run.split_to(end.unwrap_or(run.len())));
            if line.len() > LINE {
                bail!("the peer has said a line of more than {LINE} bytes");
            }
            if end.is_some() {
                self.rest = run.split_off(1);
                return String::from_utf8(line).context("the peer has said a line that is no text");
            }
        }
    }

    /// Reads a line that begins with `word` and a space, and returns the rest of it.
    ///
    /// # Errors
    ///
    /// If the line begins with `failed`, the error has the peer's text.
    pub(crate) async fn expect(&mut self, word: &str) -> Result<String> {
        let line = self.line().await?;
        match line.split_once(' ') {
            Some((first, rest)) if first == word => Ok(rest.to_owned()),
            Some(("failed", why)) => {
                let why: String = why.chars().filter(|c| !c.is_control()).collect();
                bail!("the peer says: {why}")
            }
            _ => bail!("the peer says {line:?}; expected a line that begins with {word:?}"),
        }
    }

    /// Reads some bytes, at most `left`. Dropping the future loses nothing.
    pub(crate) async fn bytes(&mut self, left: u64) -> Result<Bytes> {
        let Some(mut run) = self.run().await? else {
            bail!("the peer has ended with {left} bytes missing")
        };
        let len = usize::try_from(left).map_or(run.len(), |left| left.min(run.len()));
        self.rest = run.split_off(len);
        Ok(run)
    }

    /// Checks that the peer sends nothing more.
    pub(crate) async fn end(&mut self) -> Result<()> {
        match self.run().await? {
            None => Ok(()),
            Some(_) => bail!("the peer has said more than belongs to the file"),
        }
    }

    async fn run(&mut self) -> Result<Option<Bytes>> {
        match std::mem::take(&mut self.rest) {
            rest if !rest.is_empty() => Ok(Some(rest)),
            _ => self.patience.wait(self.conn, self.conn.read_chunk()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    async fn said(text: &[u8]) -> (Conn, Conn) {
        let (near, far) = h2conn::testing::pair().await.unwrap();
        for part in text.chunks(3) {
            far.write_chunk(Bytes::copy_from_slice(part)).await.unwrap();
            far.sent().await.unwrap();
        }
        (near, far)
    }

    #[tokio::test]
    async fn lines_and_bytes_come_apart_however_they_were_cut() {
        let (near, far) = said(b"from 3\nabc\ndefsha256 x\n").await;
        let mut reader = Reader::new(&near);
        assert_eq!(reader.expect("from").await.unwrap(), "3");
        let mut bytes = Vec::new();
        while bytes.len() < 7 {
            bytes.extend_from_slice(&reader.bytes(7 - bytes.len() as u64).await.unwrap());
        }
        assert_eq!(bytes, b"abc\ndef");
        assert_eq!(reader.expect("sha256").await.unwrap(), "x");
        drop(far);
        reader.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_says_something_else_is_quoted() {
        let (near, _far) = said(b"failed no \x1b[31mspace\nwhat?\nmore").await;
        let mut reader = Reader::new(&near);
        let error = reader.expect("stored").await.unwrap_err().to_string();
        assert!(error.contains("no [31mspace"), "{error:?}");
        assert!(reader.expect("stored").await.unwrap_err().to_string().contains("what?"));
        assert!(reader.end().await.is_err());
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept() {
        let (near, far) = h2conn::testing::pair().await.unwrap();
        far.write_chunk(Bytes::from(vec![b'x'; 100_000])).await.unwrap();
        assert!(Reader::new(&near).line().await.is_err());
    }
}
