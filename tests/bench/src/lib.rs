//! Measures what Bulkhead's parts cost, next to their peers on the same machine at the same time.
//!
//! A value alone says little: two cores may be close to each other or far apart, and machines differ.
//! Therefore each round measures every candidate once. A reported value is the median of its rounds, and a
//! ratio is the median of the rounds' ratios. The round trip of a cache line between two cores is reported
//! next to each value.
//!
//! The bench must never measure over a network or leave a process running. The other side of each measurement
//! is this same program, started again ([`peer`]).
#![forbid(unsafe_code)]

mod api_fds;
mod bare_handler;
mod machine;
pub mod peer;
mod plan;
mod report;
pub mod sections;
mod stats;
pub mod transport;
mod worker;
mod wrk;

pub use plan::Plan;
pub use report::Report;
