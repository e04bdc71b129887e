//! Tests of the core, one behaviour each.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind and ignores the others")]

mod brake;
mod commands;
mod death_records;
mod deaths;
mod effects;
mod fixture;
mod hangs;
mod memory;
mod poison;
mod protocol;
mod reload;
mod restarts;
mod shutdown;
mod standby;
mod starts;
