//! The parts that the benchmarks share: their message, and the calculation of one number from
//! several rounds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A small message, as programs typically send them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, gobwire::Gob, PartialEq)]
pub(crate) struct Message {
    #[gob(name = "ID")]
    pub(crate) id: u64,
    #[gob(name = "Name")]
    pub(crate) name: String,
    #[gob(name = "Values")]
    pub(crate) values: Vec<i64>,
}

impl Message {
    pub(crate) fn new(id: u64) -> Message {
        let value = id as i64;
        Message { id, name: format!("message {id}"), values: vec![value, -value, 7] }
    }
}

/// The results of a few rounds. Another program may disturb one round, but rarely half of them.
#[derive(Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, measured: f64) {
        self.0.push(measured);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// The ratio to `other`, round by round. A disturbance that lasts for a while affects both.
    pub(crate) fn ratio_to(&self, other: &Rounds) -> Ratio {
        let mut ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let last = ratios.len() - 1;
        Ratio { least: ratios[0], median: ratios[ratios.len() / 2], most: ratios[last] }
    }
}

/// The median of the rounds' ratios, and their least and greatest value.
pub(crate) struct Ratio {
    least: f64,
    median: f64,
    most: f64,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2} ({:.2} to {:.2})", self.median, self.least, self.most);
        f.pad(&text)
    }
}
