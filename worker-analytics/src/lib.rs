//! The analytics worker of Bulkhead, as a library: implement [`Analysis`] and pass it to [`run`].
//!
//! `worker-analytics/example` in the repository is a complete project with an analysis and a route of its
//! own. [`testing`] checks an analysis in its own tests.
//!
//! This crate declares a global allocator, [`OomRecordingAlloc`]. It records allocations that the system refuses, so
//! that the supervisor can report a death caused by a lack of memory as such. If your program has its own
//! global allocator, depend on this crate with `default-features = false` and wrap your allocator:
//! `#[global_allocator] static ALLOCATOR: OomRecordingAlloc<Yours> = OomRecordingAlloc::around(Yours);`
#![forbid(unsafe_code)]

mod analysis;
mod commit_scheduler;
mod control_events;
mod engine;
mod replay_plan;
mod run;
mod run_loop;
mod state;
mod summary;
mod supervisor_link;
pub mod testing;

pub use analysis::Analysis;
pub use bulkhead_proto::{
    shm::table::MAX_CONTENT as MAX_SERIES_BYTES, wire::event::Event, worker::alloc::OomRecordingAlloc,
};
pub use run::run;
pub use state::{StateError, decode, encode};
pub use summary::{Statistics, Summary, SummaryView};

/// The examples of the page are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: OomRecordingAlloc = OomRecordingAlloc::SYSTEM;
