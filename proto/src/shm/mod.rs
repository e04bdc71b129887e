//! The data plane: the memory that the processes share, and the algorithms over it. No policy.

pub mod access;
pub mod cursor;
pub mod memory;
pub mod ring;
mod sealed;
pub mod segment;
pub mod seqlock;
pub mod snapshot;
pub mod state_memory;
pub mod sync;
pub mod table;
pub mod wake;
