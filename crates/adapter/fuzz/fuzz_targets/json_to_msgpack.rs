#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_adapter::fuzzing::json_to_msgpack_and_back(data));
