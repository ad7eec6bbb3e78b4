#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_adapter::fuzzing::sharded(data));
