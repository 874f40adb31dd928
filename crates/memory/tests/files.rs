//! Control files: which there are, what they show, and what they refuse.

use std::sync::{Arc, Mutex};

use fief_core::{Access, Cgroup, Controller, Registry, Removal};
use fief_memory::{Memory, ReclaimCx, Reclaimed, Reclaimer, Reservation};
use insta::assert_snapshot;

struct Scene {
    _registry: Registry,
    memory: Controller<Memory>,
    root: Cgroup,
    web: Cgroup,
}

fn scene() -> Scene {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let memory = registry.register(Memory::new()).expect("the name is free");
    memory.bind(&hierarchy).expect("it is inactive");
    let web = hierarchy.root().create_child("web").expect("the name is free");
    Scene { _registry: registry, memory, root: hierarchy.root(), web }
}

/// Lists the files of memory, with what they show.
fn cat(group: &Cgroup) -> String {
    let files = group.files().expect("it is there").into_iter();
    let own = files.filter(|file| file.name.starts_with("memory."));
    own.map(|file| {
        let shown = group.read(&file.name).unwrap_or_default();
        let line =
            format!("{} {}: {}", file.access, file.name, shown.trim_end().replace('\n', ", "));
        format!("{}\n", line.trim_end())
    })
    .collect()
}

#[test]
fn a_new_group_has_the_kernels_defaults() {
    assert_snapshot!(cat(&scene().web), @"
    r- memory.current: 0
    r- memory.events: low 0, high 0, max 0, oom 0, oom_kill 0, oom_group_kill 0, force_over_max 0, max_lowered_over 0, drain 0, drain_skip 0, underflow 0
    r- memory.events.local: low 0, high 0, max 0, oom 0, oom_kill 0, oom_group_kill 0, force_over_max 0, max_lowered_over 0, drain 0, drain_skip 0, underflow 0
    rw memory.high: max
    rw memory.low: 0
    rw memory.max: max
    rw memory.min: 0
    rw memory.oom.group: 0
    r- memory.peak: 0
    r- memory.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    -w memory.reclaim:
    r- memory.stat: current 0, own 0, ahead 0, pockets 0, waiting 0, effective_low 0, effective_min 0, accounting_bugs 0
    ");
}

#[test]
fn a_root_has_a_budget_and_no_protection() {
    let scene = scene();
    assert_snapshot!(cat(&scene.root), @"
    r- memory.current: 0
    r- memory.events: low 0, high 0, max 0, oom 0, oom_kill 0, oom_group_kill 0, force_over_max 0, max_lowered_over 0, drain 0, drain_skip 0, underflow 0
    r- memory.events.local: low 0, high 0, max 0, oom 0, oom_kill 0, oom_group_kill 0, force_over_max 0, max_lowered_over 0, drain 0, drain_skip 0, underflow 0
    rw memory.high: max
    rw memory.max: max
    r- memory.peak: 0
    r- memory.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    -w memory.reclaim:
    r- memory.stat: current 0, own 0, ahead 0, pockets 0, waiting 0, effective_low 0, effective_min 0, accounting_bugs 0
    ");
    scene.root.write("memory.max", "4K").unwrap();
    let css = scene.memory.css(&scene.web).unwrap();
    css.try_charge(4096).unwrap();
    assert_eq!(
        css.try_charge(1).unwrap_err().to_string(),
        "memory.max of / reached: 4096 of 4096 bytes in use, 1 asked",
    );
    css.uncharge(4096);
    for file in ["memory.low", "memory.min", "memory.oom.group"] {
        assert!(scene.root.read(file).is_err() && scene.root.write(file, "1").is_err(), "{file}");
    }
}

#[test]
fn sizes_are_kept_to_the_byte() {
    let web = scene().web;
    for file in ["memory.max", "memory.high", "memory.low", "memory.min"] {
        for (input, shown) in [
            ("0", "0\n"),
            ("1", "1\n"),
            ("4095", "4095\n"),
            ("4097\n", "4097\n"),
            (" 1k ", "1024\n"),
            ("3M", "3145728\n"),
            ("7E", "8070450532247928832\n"),
            ("9223372036854775806", "9223372036854775806\n"),
            ("max\n", "max\n"),
        ] {
            web.write(file, input).expect(input);
            assert_eq!(web.read(file).unwrap(), shown, "{file} {input}");
        }
    }
}

#[test]
fn malformed_input_is_quoted_and_changes_nothing() {
    let web = scene().web;
    for file in ["memory.max", "memory.high", "memory.low", "memory.min"] {
        web.write(file, "12345").unwrap();
        for input in [
            "",
            "\n",
            " ",
            "-1",
            "+1",
            "1.5M",
            "1 M",
            "1MB",
            "1Mi",
            "x",
            "1G junk",
            "MAX",
            "max max",
            "0x1000",
            "8E",
            "16E",
            "9223372036854775807",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
            "1\n\n",
            "1\0",
            "१",
        ] {
            let error = web.write(file, input).expect_err(input).to_string();
            let rule = "is not a size (bytes";
            assert!(error.starts_with(&format!("{file} of /web: {input:?} {rule}")), "{error}");
            assert_eq!(web.read(file).unwrap(), "12345\n", "{file} {input:?}");
        }
    }
    web.write("memory.oom.group", " 1\n").unwrap();
    for input in ["", "\n", "2", "-1", "on", "true", "1 1", "0 x", "max"] {
        let error = web.write("memory.oom.group", input).expect_err(input).to_string();
        assert_eq!(error, format!("memory.oom.group of /web: {input:?} is not 0 or 1"));
        assert_eq!(web.read("memory.oom.group").unwrap(), "1\n");
    }
}

#[test]
fn what_can_only_be_read_refuses_a_write() {
    let web = scene().web;
    let before = cat(&web);
    let files = web.files().unwrap().into_iter();
    for file in files.filter(|it| it.name.starts_with("memory.") && it.access == Access::Read) {
        for input in ["", "0", "1\n", "max", "reset"] {
            let error = web.write(&file.name, input).expect_err(&file.name).to_string();
            assert!(error.contains(&file.name) && error.contains("/web"), "{error}");
        }
    }
    assert_eq!(cat(&web), before);
    let error = web.read("memory.swap.max").unwrap_err().to_string();
    assert!(error.contains("memory.swap.max") && error.contains("memory.current"), "{error}");
}

#[test]
fn files_show_what_is_charged_and_what_is_charged_ahead() {
    let scene = scene();
    let api = scene.web.create_child("api").unwrap();
    let [web, api] = [&scene.web, &api].map(|group| scene.memory.css(group).unwrap());
    web.charge_forced(1000);
    api.try_charge(10_000).unwrap();
    let stat = scene.web.read("memory.stat").unwrap();
    assert_snapshot!(stat, @"
    current 13048
    own 1000
    ahead 2048
    pockets 1
    waiting 0
    effective_low 0
    effective_min 0
    accounting_bugs 0
    ");
    let (exact, inside) = web.usage_exact();
    assert_eq!((exact, inside), (11_000, 0));
    assert_snapshot!(scene.web.read("memory.stat").unwrap(), @"
    current 11000
    own 1000
    ahead 0
    pockets 0
    waiting 0
    effective_low 0
    effective_min 0
    accounting_bugs 0
    ");
    assert_eq!(scene.web.read("memory.current").unwrap(), "11000\n");
    assert_eq!(
        scene.web.read("memory.peak").unwrap(),
        "13048\n",
        "what was charged ahead included"
    );
    web.uncharge(1000);
    api.uncharge(10_000);
    assert_eq!(web.usage_exact(), (0, 0));
}

#[test]
fn a_removed_group_answers_nothing_else() {
    let scene = scene();
    let files = scene.web.files().unwrap();
    scene.web.remove(Removal::Strict).unwrap();
    for file in files.iter().filter(|file| file.name.starts_with("memory.")) {
        let read = scene.web.read(&file.name).unwrap_err().to_string();
        let written = scene.web.write(&file.name, "1").unwrap_err().to_string();
        assert!(read.contains("removed") && written.contains("removed"), "{read} {written}");
    }
}

#[test]
fn memory_can_be_asked_back() {
    let scene = scene();
    let css = scene.memory.css(&scene.web).unwrap();
    css.try_charge(3_000).unwrap();
    let cache = Arc::new(Cache(Mutex::new(css.reserve())));
    cache.0.lock().unwrap().grow(10_000).unwrap();
    let _registered = css.add_reclaimer(Arc::clone(&cache) as Arc<dyn Reclaimer>);
    scene.web.write("memory.reclaim", "4K").unwrap();
    let left = cache.0.lock().unwrap().used();
    assert!(left <= 10_000 - 4_096, "{left}");
    assert_eq!(css.usage_exact(), (3_000 + left, 0));
    let error = scene.root.write("memory.reclaim", "1M").unwrap_err().to_string();
    assert!(error.contains("memory.reclaim") && error.contains("1048576"), "{error}");
    assert_eq!(css.usage_exact(), (3_000, 0), "what there was is given back all the same");
    for input in ["", "max", "-1", "1.5M", "1K swappiness=200"] {
        scene.web.write("memory.reclaim", input).unwrap_err();
    }
    assert!(scene.web.read("memory.reclaim").is_err());
}

/// Gives back whatever it is asked for.
struct Cache(Mutex<Reservation>);

impl Reclaimer for Cache {
    fn reclaimable(&self) -> u64 {
        self.0.lock().expect("no panic").used()
    }

    fn reclaim(&self, want: u64, _: &ReclaimCx<'_>) -> Reclaimed {
        let mut held = self.0.lock().expect("no panic");
        let want = want.min(held.used());
        Reclaimed::Done(held.shrink(want))
    }
}
