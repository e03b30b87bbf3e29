//! The memory that HPACK allocates, in a process of its own.

use std::alloc::System;

use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Field, Indexing};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static MEMORY: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most bytes that are allocated at the same time.
fn allocated(what: impl FnOnce()) -> usize {
    MEMORY.reset_peak_memory();
    what();
    MEMORY.get_peak_memory()
}

/// The least of some tries, because the thread that runs the tests sometimes allocates too.
fn least(mut what: impl FnMut(u32)) -> Option<usize> {
    (0..TRIES).map(|number| allocated(|| what(number))).min()
}

const TRIES: u32 = 5;

/// A request whose path and identifier are new each time, so that entries enter and leave the
/// table.
fn request(encoder: &mut Encoder, number: u32, block: &mut Vec<u8>) {
    let mut path = *b"/a/path/0000000000";
    let mut rest = number;
    for digit in path.iter_mut().rev().take(10) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    block.clear();
    encoder.begin(block);
    encoder.field(b":method", b"POST", Indexing::Index, block);
    encoder.field(b":scheme", b"https", Indexing::Index, block);
    encoder.field(b":authority", b"www.example.com", Indexing::Index, block);
    encoder.field(b":path", &path, Indexing::Index, block);
    encoder.field(b"x-request-id", &path[8..], Indexing::Index, block);
    encoder.field(b"authorization", b"Bearer 0123456789abcdef", Indexing::Never, block);
}

// There is only one test, because the allocations of another one would count too.
#[test]
fn neither_a_warm_connection_nor_a_bomb_allocates_anything() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut block = Vec::with_capacity(1024);
    let mut fields = 0;
    let mut exchange = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            request(&mut encoder, number, &mut block);
            let mut sink = |_: Field<'_>| fields += 1;
            assert_eq!(decoder.decode(&block, &mut sink), Ok(()));
        }
    };
    // The first requests fill both tables.
    let warming = allocated(|| exchange(0..200));
    assert!((4096..40_000).contains(&warming), "{warming}");
    let warm = least(|number| exchange(200 + number * 10_000..200 + (number + 1) * 10_000));
    assert_eq!(warm, Some(0));
    assert_eq!(fields, (200 + TRIES * 10_000) * 6);

    let mut decoder = Decoder::new(4096);
    let mut bomb = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    bomb.resize(bomb.len() + 4000, b'x');
    assert_eq!(decoder.decode(&bomb, &mut |_| ()), Ok(()));
    let bomb = vec![0xbe; 16 << 10];
    let mut bytes = 0;
    let mut sink = |field: Field<'_>| bytes += field.size();
    let bombed = least(|_| assert_eq!(decoder.decode(&bomb, &mut sink), Ok(())));
    assert_eq!(bombed, Some(0));
    assert_eq!(bytes, (4033 << 14) * TRIES as usize);
}
