//! What the heart does, one behaviour a test.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind and ignores the others")]

mod bench;
mod commands;
mod dying;
mod hanging;
mod memory;
mod protocol;
mod reloading;
mod reporting;
mod restarting;
mod shutdown;
mod starting;
mod suspecting;
