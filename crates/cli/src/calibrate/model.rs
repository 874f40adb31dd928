//! What follows from the measurements: the cost of operations, and how many it takes at once.
//!
//! As of Linux's iocost, an operation costs so much, and each byte so much: bytes by what large operations come to, and
//! the rest by what small ones need beyond their bytes.
//!
//! Source: `calc_lcoefs` of `block/blk-iocost.c`, for the formula.

use fief_io::{CostModel, DeviceConfig, OpCost};

use super::{
    sweep::{Direction, Order, Sweep},
    target::BLOCK,
};

const NANOS: f64 = 1e9;

/// What was found of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) read: Rates,
    pub(super) write: Rates,
    /// The largest of the knees.
    pub(super) depth: u32,
}

/// What a device can do in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Bytes a second.
    pub(super) bytes: f64,
    /// Operations a second, of 4 KiB.
    pub(super) sequential: f64,
    pub(super) random: f64,
}

impl Found {
    pub(super) fn of(sweeps: &[Sweep]) -> Self {
        let knees = sweeps.iter().map(|sweep| sweep.knee().depth);
        let depth = knees.max().unwrap_or(1);
        let [mut read, mut write] = [Rates::default(); 2];
        for sweep in sweeps {
            let rates = match sweep.way.direction {
                Direction::Read => &mut read,
                Direction::Write => &mut write,
            };
            let rate = sweep.knee().rate;
            match sweep.way.order {
                Order::Random => rates.random = rate,
                Order::Sequential if sweep.way.bytes == BLOCK => rates.sequential = rate,
                Order::Sequential => rates.bytes = rate * sweep.way.bytes as f64,
            }
        }
        Self { read, write, depth }
    }

    /// Returns the settings of a device that can do that.
    pub(super) fn config(&self, name: &str) -> DeviceConfig {
        let mut config = DeviceConfig::new(name);
        config.depth = Some(self.depth);
        config.cost = CostModel { read: self.read.cost(), write: self.write.cost() };
        config
    }
}

impl Rates {
    fn cost(&self) -> OpCost {
        let byte = per(self.bytes);
        let rest = |rate: f64| round(per(rate) - byte * BLOCK as f64);
        OpCost {
            sequential: rest(self.sequential),
            random: rest(self.random),
            kib: round(byte * 1_024.0),
        }
    }
}

/// Returns how long one takes, in nanoseconds; nothing, if there was none.
fn per(rate: f64) -> f64 {
    if rate > 0.0 { NANOS / rate } else { 0.0 }
}

/// Returns the nearest number there is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in range, and what is not is the end of the range"
)]
pub(super) fn round(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cost_what_large_operations_come_to_and_operations_the_rest() {
        // 1 GiB/s: 953.7 ns a KiB; 4 KiB are 3,814.7 ns of the 20,000 and 100,000.
        let rates = Rates { bytes: f64::from(1 << 30), sequential: 50_000.0, random: 10_000.0 };
        let expected = OpCost { sequential: 16_185, random: 96_185, kib: 954 };
        assert_eq!(rates.cost(), expected);
    }

    #[test]
    fn what_is_as_fast_as_its_bytes_costs_nothing_beyond() {
        let rates = Rates { bytes: 4_096.0, sequential: 1.0, random: 2.0 };
        assert_eq!((rates.cost().sequential, rates.cost().random), (0, 0));
        let nothing = OpCost { sequential: 0, random: 0, kib: 0 };
        assert_eq!(Rates::default().cost(), nothing);
    }
}
