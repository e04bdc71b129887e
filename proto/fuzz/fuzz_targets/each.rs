//! Every fuzz target: the one in `bulkhead_hostile::targets` that has this binary's name.

#![no_main]

use bulkhead_hostile::targets::find;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = find(env!("CARGO_BIN_NAME")).expect("a target of this binary's name");
    (target.run)(bytes);
});
