//! Double-double arithmetic: a number as the unevaluated sum of two `f64`, about 106 bits of it.
//!
//! Welford's update was tried first: it loses digits in proportion to mean / stddev (values near 1e9 that differ by 1
//! kept seven of them) and costs a division an event. Plain sums of values and squares in this arithmetic need neither.
//! Algorithms: Dekker 1971; Knuth, TAOCP vol. 2, 4.2.2; Hida, Li, Bailey, "Library for Double-Double Arithmetic", 2001.

use bincode::{Decode, Encode};

/// `high + low`, where `low` is at most half a unit in the last place of `high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(super) struct Pair {
    high: f64,
    low: f64,
}

/// 2^27 + 1: multiplying by it splits a 53-bit significand into two halves (Veltkamp).
const SPLITTER: f64 = 134_217_729.0;

/// `a + b` without any error, if `|a| >= |b|`.
fn quick_sum(a: f64, b: f64) -> Pair {
    let high = a + b;
    Pair { high, low: b - (high - a) }
}

/// `a + b` without any error.
fn sum(a: f64, b: f64) -> Pair {
    let high = a + b;
    let part = high - a;
    Pair { high, low: (a - (high - part)) + (b - part) }
}

fn split(a: f64) -> (f64, f64) {
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

/// `a * b` without any error, short of under- and overflow.
fn product(a: f64, b: f64) -> Pair {
    let high = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low;
    Pair { high, low }
}

impl Pair {
    /// The square of a number, without any error.
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
