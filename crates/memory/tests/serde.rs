//! The feature `serde`: figures as data.
#![cfg(feature = "serde")]

use fief_core::{Limit, Registry};
use fief_memory::{Drained, Memory, MemoryStats};

#[test]
fn figures_come_back_as_they_were() {
    let registry = Registry::new();
    let memory = registry.register(Memory::new()).unwrap();
    let css = memory.root().unwrap();
    css.set_max(Limit::At(1 << 20));
    css.set_low(Limit::Max);
    css.set_priority(-1);
    css.try_charge(100).unwrap();
    assert!(css.try_charge(2 << 20).is_err());
    let stats = css.stats();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<MemoryStats>(&text).unwrap(), stats);
    assert!(
        text.contains(r#""max":{"at":1048576},"high":"max","low":"max","min":{"at":0}"#),
        "{text}"
    );
    assert!(text.contains(r#""events":{"low":0,"high":0,"max":1,"#), "{text}");
    let drained = css.drain();
    let text = serde_json::to_string(&drained).unwrap();
    assert_eq!(serde_json::from_str::<Drained>(&text).unwrap(), drained);
    css.uncharge(100);
}
