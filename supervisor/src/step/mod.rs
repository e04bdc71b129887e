//! The pure heart of the supervisor.
