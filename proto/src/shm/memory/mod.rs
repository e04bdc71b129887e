//! All the memory of one service, as the supervisor holds it: how it is created, and what the supervisor reads from it.

mod post_mortem;
mod progress;
mod segments;

pub use post_mortem::PostMortem;
pub use progress::AnalyticsProgress;
pub use segments::{MemoryError, SharedMemory};
