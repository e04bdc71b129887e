//! The data that the processes exchange and store in files, and its encoding.

pub mod cause;
pub mod codec;
pub mod control;
pub mod crash;
pub mod event;
pub mod exit_code;
pub mod fault;
pub mod ids;
pub mod quarantine;
pub mod record_store;
pub mod role;
pub mod series;
pub mod status;
pub mod text;
pub mod time;
pub mod vocabulary;
