//! The link between API and analysis: which part of the shared memory each worker inherits, and what it can do with it.

mod analytics;
mod api;
mod error;
mod handoff;

pub use analytics::AnalyticsLink;
pub use api::{ApiLink, LinkStats};
pub use error::LinkError;
