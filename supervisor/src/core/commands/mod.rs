//! Commands of operators.

mod command;
mod fault;
pub(in crate::core) mod names;
pub(in crate::core) mod pending;
