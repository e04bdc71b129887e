//! The analysis worker of Bulkhead, as a library: write an [`Analysis`], hand it to [`run`].
#![forbid(unsafe_code)]

mod analysis;
mod summary;

pub use analysis::Analysis;
pub use bincode::{self, Decode, Encode};
pub use bulkhead_proto::event::Event;
pub use summary::{Answer, Statistics, Summary};
