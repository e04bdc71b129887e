//! Whether a running process makes progress.

mod hang;
mod ping;
