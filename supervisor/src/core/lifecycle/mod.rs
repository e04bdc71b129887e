//! Starting, stopping and replacing generations, and the supervisor's own shutdown.

pub(in crate::core) mod deadline;
mod reload;
mod replace;
mod shutdown;
mod standby;
mod start;
mod stop;
