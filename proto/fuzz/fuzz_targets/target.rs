//! The source of all fuzz targets. Each binary runs the target of `bulkhead_hostile::targets` that has its name.

#![no_main]

use bulkhead_hostile::targets::find;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = find(env!("CARGO_BIN_NAME")).expect("a target with the name of this binary");
    (target.run)(bytes);
});
