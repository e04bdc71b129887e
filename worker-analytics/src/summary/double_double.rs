//! Double-double arithmetic: a number is the unevaluated sum of two `f64`, with about 106 significant bits.
//!
//! Welford's update was tried first. It loses digits in proportion to mean / stddev (for values near 1e9 that
//! differ by 1, seven digits were left) and costs a division per event. Plain sums of values and squares in
//! this arithmetic do neither.
//!
//! Algorithms: Dekker 1971; Knuth, TAOCP vol. 2, 4.2.2; Hida, Li, Bailey, "Library for Double-Double
//! Arithmetic", 2001.

use serde::{Deserialize, Serialize};

/// `high + low`, where `low` is at most half a unit in the last place of `high`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct DoubleDouble {
    high: f64,
    low: f64,
}

/// 2^27 + 1: a multiplication by it splits a 53-bit significand into two halves (Veltkamp).
const SPLITTER: f64 = 134_217_729.0;

/// Exactly `a + b`, if `|a| >= |b|`.
fn quick_sum(a: f64, b: f64) -> DoubleDouble {
    let high = a + b;
    DoubleDouble { high, low: b - (high - a) }
}

/// Exactly `a + b`.
fn sum(a: f64, b: f64) -> DoubleDouble {
    let high = a + b;
    let part = high - a;
    DoubleDouble { high, low: (a - (high - part)) + (b - part) }
}

fn split(a: f64) -> (f64, f64) {
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

/// Exactly `a * b`, unless it under- or overflows.
fn product(a: f64, b: f64) -> DoubleDouble {
    let high = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low;
    DoubleDouble { high, low }
}

impl DoubleDouble {
    /// The exact square of a number.
    pub(super) fn square(a: f64) -> Self {
        product(a, a)
    }

    /// The nearest `f64`.
    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }

    /// Whether both parts are finite.
    pub(super) fn is_finite(self) -> bool {
        self.high.is_finite() && self.low.is_finite()
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let highs = sum(self.high, other.high);
        let lows = sum(self.low, other.low);
        let carried = quick_sum(highs.high, highs.low + lows.high);
        quick_sum(carried.high, carried.low + lows.low)
    }

    pub(super) fn plus_f64(self, other: f64) -> Self {
        let high = sum(self.high, other);
        quick_sum(high.high, high.low + self.low)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    pub(super) fn times(self, other: Self) -> Self {
        let high = product(self.high, other.high);
        quick_sum(high.high, high.low + self.high * other.low + self.low * other.high)
    }

    pub(super) fn divided_by(self, divisor: f64) -> Self {
        let first = self.high / divisor;
        let rest = self.minus(product(first, divisor));
        quick_sum(first, rest.high / divisor)
    }

    /// Exact for a power of two.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { high: self.high * factor, low: self.low * factor }
    }
}
