//! What Bulkhead's parts cost, beside their peers on the same machine in the same minutes.
//!
//! A figure alone says little: two cores drift between a near and a far mode, and machines differ. So every candidate is
//! measured once a round, in turn; a figure is the median of its rounds, a ratio the median of the rounds' ratios; and the
//! time that a cache line takes from core to core and back stands beside each.
//!
//! Never: measures over a network, or leaves a process behind. The other side of each measurement is this same program,
//! started again ([`peer`]).
#![forbid(unsafe_code)]

mod bare;
mod figures;
mod machine;
pub mod peer;
mod plan;
mod report;
pub mod sections;
pub mod transport;
mod worker;
mod wrk;

pub use plan::Plan;
pub use report::Report;
