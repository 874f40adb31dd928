//! Events: what is counted, where, and how `memory.events` shows it.

use fief_core::{Limit, Registry};
use fief_memory::{Charge, Memory};
use insta::assert_snapshot;

#[test]
fn events_count_where_they_happen_and_above() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let memory = registry.register(Memory::new()).unwrap();
    memory.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let api = web.create_child("api").unwrap();
    let [upper, lower] = [&web, &api].map(|group| memory.css(group).unwrap());
    upper.set_max(Limit::At(10_000));
    lower.set_high(Limit::At(5_000));
    lower.try_charge(8_000).unwrap();
    assert!(lower.try_charge(8_000).is_err());
    assert!(lower.charge_with(8_000, Charge::Reclaim).is_err());
    lower.charge_forced(8_000);
    upper.set_max(Limit::At(9_000));
    let show = |file: &str| {
        let groups = [&hierarchy.root(), &web, &api];
        groups.map(|group| group.read(file).unwrap().trim_end().replace('\n', " ")).join("\n")
    };
    assert_snapshot!(show("memory.events"), @"
    low 0 high 2 max 2 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 1 max_lowered_over 1 drain 0 drain_skip 0 underflow 0
    low 0 high 2 max 2 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 1 max_lowered_over 1 drain 0 drain_skip 0 underflow 0
    low 0 high 2 max 0 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 0 max_lowered_over 0 drain 0 drain_skip 0 underflow 0
    ");
    assert_snapshot!(show("memory.events.local"), @"
    low 0 high 0 max 0 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 0 max_lowered_over 0 drain 0 drain_skip 0 underflow 0
    low 0 high 0 max 2 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 1 max_lowered_over 1 drain 0 drain_skip 0 underflow 0
    low 0 high 2 max 0 oom 0 oom_kill 0 oom_group_kill 0 force_over_max 0 max_lowered_over 0 drain 0 drain_skip 0 underflow 0
    ");
    lower.uncharge(16_000);
    assert_eq!(upper.usage_exact(), (0, 0));
}
