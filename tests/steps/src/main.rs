//! The child process, which is stepped through or killed.

#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    bulkhead_steps::child::main()
}
