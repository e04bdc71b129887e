//! What the heart does, one behaviour a test.

mod bench;
mod commands;
mod dying;
mod protocol;
mod restarting;
mod shutdown;
mod starting;
