//! The analysis worker, as a library.
