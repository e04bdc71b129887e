//! All the memory of one service, as the supervisor holds it: how it is created, and what the supervisor reads from it.

mod claims;
mod progress;
mod segments;

pub use claims::Claims;
pub use progress::AnalyticsProgress;
pub use segments::{MemoryError, SharedMemory, Sizes};
