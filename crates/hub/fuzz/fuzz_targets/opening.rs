#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_hub::lanes::websocket::fuzzing::opening(data));
