//! Limits and usage across a rebind: they go with the css, and show under the new paths at once.

use fief_core::{Cgroup, CssRef, RebindOptions, Registry};
use fief_memory::{Memory, MemoryCss};
use insta::assert_snapshot;

fn show(top: &Cgroup) -> String {
    let line = |group: Cgroup| {
        let read = |file: &str| group.read(file).unwrap_or_else(|_| "-".to_owned());
        let files = ["current", "max", "high", "low", "min", "peak"];
        let files = files.map(|file| read(&format!("memory.{file}")).trim_end().to_owned());
        let [current, max, high, low, min, peak] = files;
        let path = group.path();
        format!("{path}: {current} of {max}, high {high}, low {low}, min {min}, peak {peak}\n")
    };
    top.descendants_pre().map(line).collect()
}

#[test]
fn limits_and_usage_show_under_the_new_paths() {
    let registry = Registry::new();
    let [tenants, plans] =
        ["by-tenant", "by-plan"].map(|name| registry.create_hierarchy(name).unwrap());
    let memory = registry.register(Memory::new()).unwrap();
    memory.bind(&tenants).unwrap();
    let [(acme, api), (gold, basic)] = [(&tenants, ["acme", "api"]), (&plans, ["gold", "basic"])]
        .map(|(tree, [top, below])| {
            let top = tree.root().create_child(top).unwrap();
            let below = top.create_child(below).unwrap();
            (top, below)
        });
    acme.write("memory.max", "20000").unwrap();
    acme.write("memory.low", "5K").unwrap();
    api.write("memory.high", "9000").unwrap();
    api.write("memory.min", "1K").unwrap();
    let css = memory.css(&api).unwrap();
    css.try_charge(12_345).unwrap();
    css.uncharge(345);
    css.drain();
    assert_snapshot!(show(&tenants.root()), @"
    /: 12000 of max, high max, low -, min -, peak 12345
    /acme: 12000 of 20000, high max, low 5120, min 0, peak 12345
    /acme/api: 12000 of max, high 9000, low 0, min 1024, peak 12345
    ");
    let id = |css: &CssRef<MemoryCss>| css.id();
    let ids = [&acme, &api].map(|group| id(&memory.css(group).unwrap()));

    let mapping = [(acme.clone(), gold.clone()), (api.clone(), basic.clone())];
    memory.rebind(&plans, &RebindOptions::new().mapping(mapping)).unwrap();
    assert_snapshot!(show(&plans.root()), @"
    /: 12000 of max, high max, low -, min -, peak 12345
    /gold: 12000 of 20000, high max, low 5120, min 0, peak 12345
    /gold/basic: 12000 of max, high 9000, low 0, min 1024, peak 12345
    ");
    assert_snapshot!(show(&tenants.root()), @"
    /: - of -, high -, low -, min -, peak -
    /acme: - of -, high -, low -, min -, peak -
    /acme/api: - of -, high -, low -, min -, peak -
    ");
    assert_eq!([&gold, &basic].map(|group| id(&memory.css(group).unwrap())), ids);
    assert_eq!(
        css.try_charge(9000).unwrap_err().to_string(),
        "memory.max of /gold reached: 12000 of 20000 bytes in use, 9000 asked",
    );
    gold.write("memory.max", "max").unwrap();
    css.try_charge(9000).unwrap();
    css.uncharge(21_000);
    assert_eq!(memory.root().unwrap().usage_exact(), (0, 0));
}

#[test]
fn what_is_charged_ahead_goes_along_uncounted() {
    let registry = Registry::new();
    let trees = ["a", "b"].map(|name| registry.create_hierarchy(name).unwrap());
    let groups = trees.each_ref().map(|tree| tree.root().create_child("web").unwrap());
    let memory = registry.register(Memory::new()).unwrap();
    memory.bind(&trees[0]).unwrap();
    let css = memory.css(&groups[0]).unwrap();
    css.try_charge(100).unwrap();
    let before = css.stats();
    assert!(before.ahead > 0 && before.current == 100 + before.ahead);
    for tree in [1, 0, 1] {
        memory.rebind(&trees[tree], &RebindOptions::new()).unwrap();
        assert_eq!(css.stats(), before);
        css.try_charge(10).unwrap();
        css.uncharge(10);
        assert_eq!(memory.css(&groups[tree]).unwrap().stats(), before);
    }
    css.uncharge(100);
    assert_eq!(css.usage_exact(), (0, 0));
}
