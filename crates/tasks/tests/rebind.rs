//! Limits and figures across a rebind: they go with the css, and members are right when it returns.

use fief_core::{Cgroup, MemberPolicy, RebindOptions, Registry};
use fief_tasks::Tasks;
use insta::assert_snapshot;

fn show(top: &Cgroup) -> String {
    let line = |group: Cgroup| {
        let read = |file: &str| group.read(file).unwrap_or_else(|_| "-".to_owned());
        let files = ["tasks.current", "tasks.max", "tasks.peak", "tasks.events"].map(read);
        let [current, max, peak, events] = files.each_ref().map(|text| text.trim_end());
        format!("{}: {current} of {max}, peak {peak}, {events}\n", group.path())
    };
    top.descendants_pre().map(line).collect()
}

#[test]
fn limits_and_figures_show_under_the_new_paths() {
    let registry = Registry::new();
    let [tenants, plans] =
        ["by-tenant", "by-plan"].map(|name| registry.create_hierarchy(name).unwrap());
    let tasks = registry.register(Tasks::new()).unwrap();
    tasks.bind(&tenants).unwrap();
    let (made, drafts) = registry
        .edit(|edit| {
            [&tenants, &plans].map(|it| {
                let web = edit.create(it.root(), "web");
                [web, edit.create(web, "api")]
            })
        })
        .unwrap();
    let [[web, api], [_, plan]] = drafts.map(|them| them.map(|it| made.cgroup(it).unwrap()));
    web.write("tasks.max", "3").unwrap();
    api.write("tasks.max", "1").unwrap();
    let worker = api.create_task("worker").unwrap();
    worker.join(plan).unwrap();
    assert!(worker.spawn("refused").is_err());
    let before = show(&tenants.root());
    assert_snapshot!(before, @"
    /: 1 of max, peak 1, max 1
    /web: 1 of 3, peak 1, max 1
    /web/api: 1 of 1, peak 1, max 1
    ");

    tasks.rebind(&plans, &RebindOptions::new()).unwrap();
    assert_eq!(show(&plans.root()), before);
    assert_snapshot!(show(&tenants.root()), @"
    /: - of -, peak -, -
    /web: - of -, peak -, -
    /web/api: - of -, peak -, -
    ");
    assert!(worker.spawn("refused").is_err(), "the limit went with the css");

    // By the way back the worker has moved in the target: it is refused, or moves along.
    worker.join(web).unwrap();
    let error = tasks.rebind(&tenants, &RebindOptions::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 members would change css of tasks, first worker, from by-plan:/web/api to by-tenant:/web"
    );
    let moves = RebindOptions::new().members(MemberPolicy::Move);
    tasks.rebind(&tenants, &moves).unwrap();
    assert_snapshot!(show(&tenants.root()), @"
    /: 1 of max, peak 1, max 2
    /web: 1 of 3, peak 1, max 2
    /web/api: 0 of 1, peak 1, max 2
    ");
    drop(worker);
    assert_eq!(tenants.root().read("tasks.current").unwrap(), "0\n");
}
