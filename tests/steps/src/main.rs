//! The process that is stepped through, and dies.

#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    bulkhead_steps::child::main()
}
