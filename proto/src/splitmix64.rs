//! `SplitMix64` (Steele, Lea, Flood 2014): a hash finisher, and a generator with one word of state. Good enough for hash
//! tables, jitter and seeded tests; not for secrets. Stored checksums and recorded seeds depend on every bit of it.

/// The finisher: every bit of the result depends on every bit of the input.
#[must_use]
pub const fn finish(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The next pseudo-random number. The first value of `state` is the seed.
pub const fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    finish(*state)
}
