//! The analysis worker of Bulkhead, as a library: write an [`Analysis`], hand it to [`run`].
#![forbid(unsafe_code)]

mod analysis;
mod caution;
mod engine;
mod inbox;
mod last_words;
mod log;
mod lost;
mod mutant;
mod pace;
mod run;
mod series;
mod summary;
mod version;
mod work;

pub use analysis::Analysis;
pub use bincode::{self, Decode, Encode};
pub use bulkhead_proto::event::Event;
pub use run::run;
pub use summary::{Answer, Statistics, Summary};
