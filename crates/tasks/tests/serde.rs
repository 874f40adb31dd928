//! The feature `serde`: figures as data.
#![cfg(feature = "serde")]

use fief_core::Registry;
use fief_tasks::{Tasks, TasksStats};

#[test]
fn figures_come_back_as_they_were() {
    let registry = Registry::new();
    let tasks = registry.register(Tasks::new()).unwrap();
    let _task = registry.create_task("one").unwrap();
    let stats = tasks.root().unwrap().stats();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<TasksStats>(&text).unwrap(), stats);
    assert!(text.starts_with(r#"{"current":1,"max":"max","peak":1,"#), "{text}");
}
