//! The heap against a sorted set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    super::{
        arena::NONE,
        heap::{Entry, Heap},
    },
    check_heap,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_come_out_in_order(
        ops in prop::collection::vec((0..64_u32, 0..64_u128, 0..4_u64), 1..200),
    ) {
        let mut heap = Heap::default();
        let mut places = vec![NONE; 64];
        let mut sorted = BTreeSet::new();
        for (id, key, number) in ops {
            let entry = Entry { key, number, id };
            let before = (places[id as usize] != NONE).then(|| heap.entry(id, &places));
            match before {
                None => heap.push(entry, &mut places),
                Some(before) if key % 3 == 0 => {
                    heap.remove(id, &mut places);
                    sorted.remove(&before);
                }
                Some(before) => {
                    heap.update(entry, &mut places);
                    sorted.remove(&before);
                }
            }
            if places[id as usize] != NONE {
                sorted.insert(entry);
            }
            check_heap(&heap, &places);
            prop_assert_eq!(heap.first(), sorted.first().copied());
        }
    }
}
