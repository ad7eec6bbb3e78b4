//! What one event of 100 bytes costs on its way out to the cluster and in again.
//!
//!   cargo bench -p trunkline-adapter

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use trunkline_adapter::bench::{Wire, decode, encode};

const EVENT: &str =
    r#"["message:new",{"id":"c:e:12","content":"hello there, how are you?","senderId":"ann","seq":1234567,"ok":true}]"#;

fn codec(criterion: &mut Criterion) {
    assert!((95..=115).contains(&EVENT.len()), "{} bytes", EVENT.len());
    for wire in [Wire::Classic, Wire::Sharded] {
        let encoded = encode(wire, EVENT);
        criterion
            .bench_function(&format!("encode {wire:?}"), |bencher| bencher.iter(|| encode(wire, black_box(EVENT))));
        criterion
            .bench_function(&format!("decode {wire:?}"), |bencher| bencher.iter(|| decode(wire, black_box(&encoded))));
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
