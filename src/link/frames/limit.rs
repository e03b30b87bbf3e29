//! How many frames of a kind may come: a stock, refilled with time and with what this side sends.

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Limit {
    name: &'static str,
    stock: f64,
    most: f64,
    per_second: f64,
    /// Frames that one byte of ours can call for.
    per_byte: f64,
    /// Frames that this side has called for, which are not counted.
    due: u64,
    filled: Option<Instant>,
}

impl Limit {
    pub(super) const fn new(
        name: &'static str,
        most: f64,
        per_second: f64,
        per_byte: f64,
    ) -> Limit {
        Limit { name, stock: most, most, per_second, per_byte, due: 0, filled: None }
    }

    /// Takes one frame out of the stock, or says that there is none left. Time is only looked at
    /// when the stock runs low, because that is rare and a clock is not free.
    pub(super) fn spend(&mut self) -> Result<(), &'static str> {
        if self.due > 0 {
            self.due -= 1;
            return Ok(());
        }
        if self.stock < self.most / 2.0 {
            let now = Instant::now();
            let passed = self.filled.map_or(0.0, |at| (now - at).as_secs_f64());
            self.stock = (self.stock + passed * self.per_second).min(self.most);
            self.filled = Some(now);
        }
        if self.stock < 1.0 {
            return Err(self.name);
        }
        self.stock -= 1.0;
        Ok(())
    }

    /// This side has sent so many bytes.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.stock = (self.stock + self.per_byte * bytes as f64).min(self.most);
    }

    /// This side has called for so many frames.
    pub(super) fn expect(&mut self, frames: u64) {
        self.due += frames;
    }

    /// This many frames more are honest now, up to the whole stock.
    pub(super) fn refill(&mut self, frames: u64) {
        self.stock = (self.stock + frames as f64).min(self.most);
    }
}
