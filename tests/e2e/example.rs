//! The user's own route and analysis of `tests/example` run under the supervisor by configuration.
