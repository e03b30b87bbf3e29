//! The progress of a transfer.

use std::time::Instant;

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use super::digest::Digest;
use crate::report::keep_clear_of;

/// A bar with the rate and the remaining time, on standard error if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    from: u64,
}

impl Progress {
    /// The progress of a file of `size` bytes, of which `from` bytes were there before.
    pub(crate) fn new(size: u64, from: u64) -> Progress {
        let style = "{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        let bar = ProgressBar::new(size).with_position(from);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        // The bytes from before must not count in the rate.
        bar.reset_eta();
        keep_clear_of(&bar);
        Progress { bar, begun: Instant::now(), from }
    }

    /// An invisible bar.
    pub(crate) fn hidden(size: u64, from: u64) -> Progress {
        Progress {
            bar: ProgressBar::hidden().with_position(from),
            begun: Instant::now(),
            from: from.min(size),
        }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// Removes the bar, and returns a summary.
    pub(crate) fn summary(&self, digest: Digest) -> String {
        self.bar.finish_and_clear();
        let (moved, seconds) =
            (self.bar.position() - self.from, self.begun.elapsed().as_secs_f64());
        let rate = BinaryBytes((moved as f64 / seconds.max(1e-6)) as u64);
        let before = match self.from {
            0 => String::new(),
            from => format!(" after {} that were there", BinaryBytes(from)),
        };
        format!("{} in {seconds:.1} s, {rate}/s{before}, SHA-256 {digest}", BinaryBytes(moved))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error is printed on a line of its own.
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Hasher;
    use super::*;

    #[test]
    fn the_summary_counts_what_has_moved_and_not_what_was_there() {
        let progress = Progress::hidden(4096, 1024);
        progress.add(2048);
        let text = progress.summary(Hasher::default().digest());
        assert!(text.starts_with("2.00 KiB in "), "{text}");
        assert!(text.contains("after 1.00 KiB") && text.contains("SHA-256 e3b0c442"), "{text}");
    }
}
