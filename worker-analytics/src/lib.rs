//! The analysis worker of Bulkhead, as a library: write an [`Analysis`], hand it to [`run`].
//!
//! It brings an allocator, [`OomRecordingAlloc`], by which a death for want of memory is recognised as such. If your program has a
//! global allocator of its own, take this crate with `default-features = false`, and wrap yours:
//! `#[global_allocator] static ALLOCATOR: OomRecordingAlloc<Yours> = OomRecordingAlloc::around(Yours);`
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
pub use bulkhead_proto::{wire::event::Event, worker::alloc::OomRecordingAlloc};
pub use run::run;
pub use summary::{Answer, Statistics, Summary};

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: OomRecordingAlloc = OomRecordingAlloc::SYSTEM;
