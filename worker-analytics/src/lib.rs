//! The analytics worker of Bulkhead, as a library: implement [`Analysis`] and pass it to [`run`].
//!
//! `worker-analytics/example` in the repository is a complete program with an analysis and a route of its
//! own.
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

pub use analysis::Analysis;
pub use bulkhead_proto::{wire::event::Event, worker::alloc::OomRecordingAlloc};
pub use run::run;
pub use state::{StateError, check_state, decode, encode};
pub use summary::{Statistics, Summary, SummaryView};

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: OomRecordingAlloc = OomRecordingAlloc::SYSTEM;
