//! Control files: which there are, what they take, and what becomes of them with their group.

use std::{
    collections::HashSet,
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use fief_core::{
    Access, AttachError, ControlFile, Controller, Css, Hierarchy, HookError, HookPanic, Limit,
    Migration, ReadFileError, Reclaimer, RegisterError, Registry, Removal, RemoveError,
    StructuralError, Subsystem, WriteFileError,
    file::{parse, render},
};

/// A subsystem with one file of each kind.
#[derive(Default)]
struct Depot {
    /// What the hooks do before their work, once.
    before: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

struct Store {
    max: Mutex<Limit>,
    weight: AtomicU64,
    resets: AtomicU64,
}

const FILES: &[ControlFile] = &[
    ControlFile::read_write("max").not_on_root(),
    ControlFile::read_write("weight"),
    ControlFile::read_only("stat"),
    ControlFile::read_only("stat.total").only_on_root(),
    ControlFile::write_only("reset"),
    ControlFile::read_write("odd"),
];

impl Depot {
    fn before(&self) {
        let before = self.before.lock().expect("not poisoned").take();
        before.into_iter().for_each(|before| before());
    }
}

impl Subsystem for Depot {
    type State = Store;

    fn name(&self) -> &str {
        "depot"
    }

    fn new_css(&self, _parent: Option<&Css<Store>>) -> Result<Store, HookError> {
        let (weight, resets) = (AtomicU64::new(100), AtomicU64::new(0));
        Ok(Store { max: Mutex::new(Limit::Max), weight, resets })
    }

    fn can_attach(&self, migration: &Migration<'_, Store>) -> Result<(), HookError> {
        let max = *migration.target.max.lock().expect("not poisoned");
        if max.allows(1) { Ok(()) } else { Err("depot.max is 0".into()) }
    }

    fn files(&self) -> &[ControlFile] {
        FILES
    }

    fn read_file(&self, css: &Css<Store>, file: &str) -> Result<String, HookError> {
        self.before();
        Ok(match file {
            "max" => render::value(*css.max.lock().expect("not poisoned")),
            "weight" => render::value(css.weight.load(Ordering::Relaxed)),
            "stat" => render::flat([("resets", css.resets.load(Ordering::Relaxed))]),
            "stat.total" => render::value(css.path()),
            _ => return Err(format!("{file} is odd").into()),
        })
    }

    fn write_file(&self, css: &Css<Store>, file: &str, input: &str) -> Result<(), HookError> {
        self.before();
        match file {
            "max" => *css.max.lock().expect("not poisoned") = parse::size_limit(input)?,
            "weight" => css.weight.store(parse::weight(input)?.into(), Ordering::Relaxed),
            "reset" => {
                css.resets.fetch_add(1, Ordering::Relaxed);
            }
            _ => return Err(format!("{file} is odd").into()),
        }
        Ok(())
    }
}

/// A registry with a depot that is bound to `h`.
fn depot() -> (Registry, Hierarchy, Controller<Depot>) {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").expect("a new name");
    let depot = registry.register(Depot::default()).expect("a new name");
    depot.bind(&hierarchy).expect("an empty hierarchy");
    (registry, hierarchy, depot)
}

/// Has the next hook of `depot` stop: it sends on the first channel, and goes on after the second.
fn stop_next(depot: &Controller<Depot>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (inside, is_inside) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    run_next(depot, move || {
        inside.send(()).expect("somebody waits");
        goes_on.recv().expect("somebody lets it go on");
    });
    (is_inside, go_on)
}

fn run_next(depot: &Controller<Depot>, before: impl FnOnce() + Send + 'static) {
    *depot.subsystem().before.lock().expect("not poisoned") = Some(Box::new(before));
}

fn names(files: &[fief_core::FileInfo]) -> Vec<String> {
    files.iter().map(|file| format!("{} {}", file.access, file.name)).collect()
}

const CORE: [&str; 10] = [
    "r- cgroup.controllers",
    "r- cgroup.events",
    "rw cgroup.freeze",
    "-w cgroup.kill",
    "rw cgroup.max.depth",
    "rw cgroup.max.descendants",
    "r- cgroup.stat",
    "rw cgroup.subtree_control",
    "rw cgroup.tasks",
    "rw notify_on_release",
];

/// Returns what a root lists of the core's: it cannot be frozen.
fn core_of_root() -> Vec<&'static str> {
    CORE.into_iter().filter(|file| *file != "rw cgroup.freeze").collect()
}

#[test]
fn files_are_listed_by_name_with_what_can_be_done() {
    let (_registry, hierarchy, depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    let (core, notify) = CORE.split_at(CORE.len() - 1);

    let own =
        ["rw depot.max", "rw depot.odd", "-w depot.reset", "r- depot.stat", "rw depot.weight"];
    assert_eq!(names(&group.files().unwrap()), [core, &own, notify].concat());

    let own = [
        "rw depot.odd",
        "-w depot.reset",
        "r- depot.stat",
        "r- depot.stat.total",
        "rw depot.weight",
    ];
    let root = core_of_root();
    let (core, notify) = root.split_at(root.len() - 1);
    assert_eq!(names(&hierarchy.root().files().unwrap()), [core, &own, notify].concat());

    group.remove(Removal::Detach).unwrap();
    depot.unbind().unwrap();
    assert_eq!(names(&hierarchy.root().files().unwrap()), core_of_root());
}

#[test]
fn every_listed_file_can_be_opened_as_it_says() {
    let (_registry, hierarchy, _depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    for group in [hierarchy.root(), group] {
        for file in group.files().unwrap() {
            let read = group.read(&file.name);
            let is_refused = matches!(read, Err(ReadFileError::WriteOnly { .. }));
            assert_eq!(is_refused, !file.access.is_readable(), "{file:?}");
            assert!(!matches!(read, Err(ReadFileError::Unknown(_))), "{file:?}");
            let write = group.write(&file.name, "?");
            let is_refused = matches!(write, Err(WriteFileError::ReadOnly { .. }));
            assert_eq!(is_refused, !file.access.is_writable(), "{file:?}");
            assert!(!matches!(write, Err(WriteFileError::Unknown(_))), "{file:?}");
        }
    }
}

#[test]
fn a_controllers_file_is_its_css() {
    let (_registry, hierarchy, depot) = depot();
    let a = hierarchy.root().create_child("a").unwrap();
    let b = hierarchy.root().create_child("b").unwrap();

    a.write("depot.max", " 512M \n").unwrap();
    a.write("depot.reset", "anything").unwrap();
    b.write("depot.weight", "7").unwrap();

    assert_eq!(a.read("depot.max").unwrap(), "536870912\n");
    assert_eq!(b.read("depot.max").unwrap(), "max\n");
    assert_eq!(a.read("depot.stat").unwrap(), "resets 1\n");
    assert_eq!(b.read("depot.weight").unwrap(), "7\n");
    assert_eq!(depot.css(&b).unwrap().weight.load(Ordering::Relaxed), 7);
    assert_eq!(hierarchy.root().read("depot.stat.total").unwrap(), "/\n");
}

#[test]
fn an_unknown_file_names_those_there_are() {
    let (registry, hierarchy, _depot) = depot();
    let other = registry.create_hierarchy("other").unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let there = "cgroup.controllers cgroup.events cgroup.freeze cgroup.kill cgroup.max.depth \
                 cgroup.max.descendants cgroup.stat cgroup.subtree_control cgroup.tasks depot.max \
                 depot.odd depot.reset depot.stat depot.weight notify_on_release";
    for file in [
        "",
        ".",
        "cgroup",
        "cgroup.",
        "cgroup.type",
        "cgroup.procs",
        "depot",
        "depot.",
        "depot.ma",
        "depot.max.",
        "depot.max\n",
        "Depot.max",
        "nobody.max",
        "notify_on_release.",
        "a/depot.max",
    ] {
        let error = group.read(file).unwrap_err();
        let ReadFileError::Unknown(unknown) = &error else { panic!("{error:?}") };
        assert_eq!((unknown.cgroup(), unknown.subsystem()), ("/a", None));
        assert_eq!(unknown.files().join(" "), there);
        assert_eq!(error.to_string(), format!("/a has no file {file:?}; it has {there}"));
        assert_eq!(group.write(file, "1").unwrap_err().to_string(), error.to_string());
    }
    let error = group.read(&"x".repeat(100)).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("/a has no file \"{}\" and 36 bytes more; it", "x".repeat(64)))
    );

    let error = other.root().read("depot.max").unwrap_err();
    let ReadFileError::Unknown(unknown) = &error else { panic!("{error:?}") };
    assert_eq!(unknown.subsystem(), Some("depot"));
    assert!(error.to_string().starts_with(
        "/ has no file \"depot.max\": depot is not bound to hierarchy other; it has cgroup.controllers "
    ));
    let error = hierarchy.root().write("depot.max", "1").unwrap_err().to_string();
    assert!(error.starts_with("/ has no file \"depot.max\", as no root has; it has "), "{error}");
    let error = group.read("depot.stat.total").unwrap_err().to_string();
    assert!(error.contains("\"depot.stat.total\", which only the root has; it has "), "{error}");
}

#[test]
fn a_file_does_only_what_it_is_for() {
    let (_registry, hierarchy, _depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    for file in ["cgroup.events", "cgroup.stat", "depot.stat"] {
        let error = group.write(file, "1").unwrap_err();
        assert!(matches!(error, WriteFileError::ReadOnly { .. }));
        assert_eq!(error.to_string(), format!("{file} of /a can only be read"));
    }
    for file in ["cgroup.kill", "depot.reset"] {
        let error = group.read(file).unwrap_err();
        assert!(matches!(error, ReadFileError::WriteOnly { .. }));
        assert_eq!(error.to_string(), format!("{file} of /a can only be written"));
    }
    assert_eq!(group.read("depot.stat").unwrap(), "resets 0\n");
}

#[test]
fn a_malformed_write_names_file_group_and_text_and_changes_nothing() {
    let (_registry, hierarchy, _depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    let junk = [
        "",
        " ",
        "\n",
        "x",
        "-1",
        "+1",
        "1.5",
        "1.5M",
        "0x10",
        "1 M",
        "1MB",
        "1Mi",
        "16E",
        "1 1",
        "\u{661}",
        "1\0",
        "18446744073709551616",
        "99999999999999999999",
        "1\n\n",
        "maximum",
    ];
    for (file, value) in [
        ("cgroup.max.depth", "3"),
        ("cgroup.max.descendants", "4"),
        ("notify_on_release", "1"),
        ("cgroup.freeze", "1"),
        ("depot.max", "5"),
        ("depot.weight", "6"),
    ] {
        group.write(file, value).unwrap();
        for input in junk {
            let error = group.write(file, input).unwrap_err();
            assert!(matches!(error, WriteFileError::Malformed { .. }), "{error:?}");
            let begin = format!("{file} of /a: {input:?} is not ");
            assert!(error.to_string().starts_with(&begin), "{error}");
            assert!(error.source().is_some_and(|source| source.is::<parse::InputError>()));
            assert_eq!(group.read(file).unwrap(), format!("{value}\n"));
        }
        let error = group.write(file, &"9".repeat(1 << 20)).unwrap_err().to_string();
        assert!(error.contains("\" and 1048512 bytes more is not "), "{}", error.len());
    }
    for input in junk.into_iter().chain(["0", "2", "01"]) {
        let error = group.write("cgroup.kill", input).unwrap_err().to_string();
        assert_eq!(error, format!("cgroup.kill of /a: {input:?} is not 1"));
    }
    for (file, input) in [
        ("cgroup.max.depth", "2147483648"),
        ("cgroup.max.descendants", "1K"),
        ("depot.weight", "0"),
    ] {
        assert!(
            matches!(group.write(file, input), Err(WriteFileError::Malformed { .. })),
            "{file}"
        );
    }
}

#[test]
fn the_cores_files_are_the_methods() {
    let (registry, hierarchy, _depot) = depot();
    let (root, task) = (hierarchy.root(), registry.create_task("t 1").unwrap());
    let cancelled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&cancelled);
    task.on_cancel(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let group = root.create_child("a").unwrap();
    assert_eq!(root.read("cgroup.tasks").unwrap(), format!("{} t 1\n", task.id()));
    assert_eq!(group.read("cgroup.events").unwrap(), "populated 0\nfrozen 0\n");

    task.join(&group).unwrap();
    assert_eq!(root.read("cgroup.tasks").unwrap(), "");
    assert_eq!(group.read("cgroup.tasks").unwrap(), format!("{} t 1\n", task.id()));
    assert_eq!(group.read("cgroup.events").unwrap(), "populated 1\nfrozen 0\n");
    group.write("cgroup.kill", "1\n").unwrap();
    root.write("cgroup.kill", "1").unwrap();
    assert_eq!(cancelled.load(Ordering::Relaxed), 2);

    group.write("cgroup.max.depth", "0").unwrap();
    assert_eq!((group.max_depth(), group.max_descendants()), (Limit::At(0), Limit::Max));
    group.write("cgroup.max.depth", "2147483647").unwrap();
    group.write("cgroup.max.descendants", "max").unwrap();
    assert_eq!(
        (group.max_depth(), group.max_descendants()),
        (Limit::At(2_147_483_647), Limit::Max)
    );
    root.write("notify_on_release", "1").unwrap();
    assert!(root.notify_on_release() && !group.notify_on_release());
    assert_eq!(root.create_child("b").unwrap().read("notify_on_release").unwrap(), "1\n");
    assert_eq!(root.read("cgroup.stat").unwrap(), "nr_descendants 2\nnr_dying_descendants 0\n");
}

#[test]
fn a_group_is_frozen_and_thawed_by_its_file() {
    let (registry, hierarchy, _depot) = depot();
    let (root, task) = (hierarchy.root(), registry.create_task("t").unwrap());
    let a = root.create_child("a").unwrap();
    task.join(&a).unwrap();
    assert_eq!(a.read("cgroup.freeze").unwrap(), "0\n");

    a.write("cgroup.freeze", "1\n").unwrap();
    assert!(a.is_freeze_requested() && task.is_freeze_requested());
    assert_eq!(a.read("cgroup.freeze").unwrap(), "1\n");
    assert_eq!(a.read("cgroup.events").unwrap(), "populated 1\nfrozen 0\n", "it still runs");
    task.set_frozen(true);
    assert_eq!(a.read("cgroup.events").unwrap(), "populated 1\nfrozen 1\n");
    a.write("cgroup.freeze", "0").unwrap();
    assert_eq!(a.read("cgroup.freeze").unwrap(), "0\n");
    assert_eq!(a.read("cgroup.events").unwrap(), "populated 1\nfrozen 0\n");

    let error = root.write("cgroup.freeze", "1").unwrap_err();
    assert!(matches!(error, WriteFileError::Unknown(_)), "{error:?}");
    assert!(error.to_string().contains("\"cgroup.freeze\", as no root has; it has "), "{error}");
    assert_eq!(root.read("cgroup.events").unwrap(), "populated 1\nfrozen 0\n");
}

#[test]
fn a_task_moves_where_its_id_is_written() {
    let (registry, hierarchy, _depot) = depot();
    let (task, other) = (registry.create_task("t").unwrap(), registry.create_task("u").unwrap());
    let a = hierarchy.root().create_child("a").unwrap();
    let b = hierarchy.root().create_child("b").unwrap();

    a.write("cgroup.tasks", &format!(" {}\n", task.id())).unwrap();
    assert_eq!(task.cgroup(&hierarchy), Some(a.clone()));
    a.write("cgroup.tasks", &task.id().to_string()).unwrap();
    a.write("cgroup.tasks", &other.id().to_string()).unwrap();
    assert_eq!(a.read("cgroup.tasks").unwrap(), format!("{} t\n{} u\n", task.id(), other.id()));

    b.write("depot.max", "0").unwrap();
    let error = b.write("cgroup.tasks", &task.id().to_string()).unwrap_err();
    assert!(matches!(error, WriteFileError::Attach(AttachError::Vetoed(_))), "{error:?}");
    assert_eq!(error.to_string(), "depot refused /b in can_attach: depot.max is 0");

    let ended = other.id();
    drop(other);
    for id in [0, ended.get(), u64::MAX] {
        let error = b.write("cgroup.tasks", &id.to_string()).unwrap_err();
        assert_eq!(error.to_string(), format!("cgroup.tasks of /b: there is no task {id}"));
    }
    for input in ["", "t", "-1", "+1", "0x1", "1 1", "1\n1", "18446744073709551616"] {
        let error = b.write("cgroup.tasks", input).unwrap_err();
        assert!(matches!(error, WriteFileError::Malformed { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("cgroup.tasks of /b: {input:?} is not the id of a task")
        );
    }
    assert_eq!(task.cgroup(&hierarchy), Some(a.clone()));
    hierarchy.root().write("cgroup.tasks", &task.id().to_string()).unwrap();
    a.remove(Removal::Strict).unwrap();
    let error = a.write("cgroup.tasks", &task.id().to_string()).unwrap_err();
    assert!(matches!(error, WriteFileError::Removed { .. }), "{error:?}");
}

#[test]
fn a_group_has_the_files_of_the_controllers_that_are_enabled_for_it() {
    let (_registry, hierarchy, _depot) = depot();
    let (root, file) = (hierarchy.root(), "cgroup.subtree_control");
    let a = root.create_child("a").unwrap();
    assert_eq!(root.read("cgroup.controllers").unwrap(), "depot\n");
    assert_eq!(
        (root.read(file).unwrap().as_str(), a.read(file).unwrap().as_str()),
        ("depot\n", "depot\n")
    );

    root.write(file, "-depot\n").unwrap();
    assert_eq!(root.read("cgroup.controllers").unwrap(), "depot\n");
    assert_eq!(
        (root.read(file).unwrap(), a.read("cgroup.controllers").unwrap()),
        Default::default()
    );
    assert_eq!(names(&a.files().unwrap()), CORE);
    let ReadFileError::Unknown(error) = a.read("depot.max").unwrap_err() else { panic!("unknown") };
    assert_eq!(error.subsystem(), Some("depot"));
    assert!(
        error.to_string().starts_with("/a has no file \"depot.max\": depot is not enabled here; ")
    );
    assert_eq!(root.read("depot.weight").unwrap(), "100\n");

    root.write(file, " -depot \t +depot").unwrap();
    assert_eq!(a.read("depot.max").unwrap(), "max\n", "the last wins");
    root.write(file, "+depot -depot").unwrap();
    assert!(a.read("depot.max").is_err(), "the last wins");
}

#[test]
fn subtree_control_takes_all_of_a_write_or_nothing() {
    let (registry, hierarchy, _depot) = depot();
    let (root, file) = (hierarchy.root(), "cgroup.subtree_control");
    registry.register(Lists(|| &[])).unwrap();
    root.write(file, "-depot -lists").unwrap();
    for (input, refusal) in [
        ("+depot +nobody", "there is no subsystem \"nobody\""),
        ("+depot -nobody", "there is no subsystem \"nobody\""),
        ("+depot +lists", "lists is not in its cgroup.controllers"),
    ] {
        let error = root.write(file, input).unwrap_err();
        assert!(matches!(error, WriteFileError::Subtree(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("{file} of /: {refusal}"));
        assert_eq!(root.read(file).unwrap(), "");
    }
    for input in [
        "",
        "\n",
        "depot",
        "+",
        "-",
        "+ depot",
        "++depot",
        "+-depot",
        "+Depot",
        "+cgroup",
        "+depot,",
        "+depot depot",
        "+depot\n+depot",
        "+depot\0",
        "+1",
        "max",
    ] {
        let error = root.write(file, input).unwrap_err().to_string();
        let rule = "is not a list of controllers with + or - before each";
        assert_eq!(error, format!("{file} of /: {input:?} {rule}"));
        assert_eq!(root.read(file).unwrap(), "");
    }
}

#[test]
fn a_file_whose_css_goes_meanwhile_is_opened_again() {
    let (_registry, hierarchy, depot) = depot();
    let (root, file) = (hierarchy.root(), "cgroup.subtree_control");
    let a = root.create_child("a").unwrap();
    let (is_inside, go_on) = stop_next(&depot);
    let read = thread::scope(|scope| {
        let read = scope.spawn(|| a.read("depot.max"));
        is_inside.recv().expect("the hook runs");
        root.write(file, "-depot").expect("waits for no reader");
        go_on.send(()).expect("the hook waits");
        read.join().expect("no panic")
    });
    assert!(matches!(read, Err(ReadFileError::Unknown(_))), "{read:?}");

    root.write(file, "+depot").unwrap();
    let (is_inside, go_on) = stop_next(&depot);
    thread::scope(|scope| {
        let write = scope.spawn(|| a.write("depot.weight", "7"));
        is_inside.recv().expect("the hook runs");
        root.write(file, "-depot").expect("waits for no writer");
        root.write(file, "+depot").expect("waits for no writer");
        go_on.send(()).expect("the hook waits");
        write.join().expect("no panic").expect("is there again");
    });
    assert_eq!(a.read("depot.weight").unwrap(), "7\n", "written to the css that is there now");
}

#[test]
fn what_a_hook_refuses_is_the_source() {
    let (_registry, hierarchy, depot) = depot();
    let root = hierarchy.root();
    let error = root.read("depot.odd").unwrap_err();
    assert_eq!(error.to_string(), "depot.odd of / cannot be read: odd is odd");
    let error = root.write("depot.odd", "1").unwrap_err();
    assert_eq!(error.to_string(), "depot.odd of / cannot be written: odd is odd");
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("odd is odd"));

    run_next(&depot, || std::panic::resume_unwind(Box::new("on purpose")));
    let error = root.read("depot.stat").unwrap_err();
    assert_eq!(error.to_string(), "depot.stat of / cannot be read: panicked: on purpose");
    run_next(&depot, || std::panic::resume_unwind(Box::new("on purpose")));
    let error = root.write("depot.weight", "1").unwrap_err();
    assert!(error.source().is_some_and(|source| source.is::<HookPanic>()), "{error:?}");
    assert_eq!(root.read("depot.weight").unwrap(), "100\n");
}

/// A subsystem that lists what it is told to, and has no hooks for it.
struct Lists(fn() -> &'static [ControlFile]);

impl Subsystem for Lists {
    type State = ();

    fn name(&self) -> &str {
        "lists"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn files(&self) -> &[ControlFile] {
        (self.0)()
    }
}

static MALFORMED: [ControlFile; 1] = [ControlFile::read_only("a b")];
static TWICE: [ControlFile; 2] = [ControlFile::read_only("a"), ControlFile::write_only("a")];
static UNHANDLED: [ControlFile; 1] = [ControlFile::read_write("x")];

#[test]
fn a_malformed_listing_is_refused_at_registration() {
    let registry = Registry::new();
    let before = registry.stats();
    let error = registry.register(Lists(|| &MALFORMED)).unwrap_err();
    assert!(matches!(&error, RegisterError::File { file, .. } if file == "a b"));
    assert_eq!(
        error.to_string(),
        "subsystem lists lists the file \"a b\", not 64 bytes of dotted words of a-z 0-9 _"
    );
    let error = registry.register(Lists(|| &TWICE)).unwrap_err();
    assert_eq!(error.to_string(), "subsystem lists lists the file a twice");
    let panics = || std::panic::resume_unwind(Box::new("on purpose"));
    let error = registry.register(Lists(panics)).unwrap_err();
    assert_eq!(error.to_string(), "lists refused / in files: panicked: on purpose");
    assert_eq!(registry.stats(), before);
    assert!(registry.register(Lists(|| &[])).is_ok(), "the name is free");
}

#[test]
fn a_file_without_a_hook_is_refused() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let lists = registry.register(Lists(|| &UNHANDLED)).unwrap();
    lists.bind(&hierarchy).unwrap();
    assert!(matches!(hierarchy.root().read("lists.x"), Err(ReadFileError::Refused { .. })));
    assert!(matches!(hierarchy.root().write("lists.x", ""), Err(WriteFileError::Refused { .. })));
}

#[test]
fn a_boxed_subsystem_has_its_files() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let boxed: Box<dyn Subsystem<State = Store>> = Box::new(Arc::new(Depot::default()));
    let controller = registry.register(boxed).unwrap();
    controller.bind(&hierarchy).unwrap();
    hierarchy.root().write("depot.weight", "9").unwrap();
    assert_eq!(hierarchy.root().read("depot.weight").unwrap(), "9\n");
}

#[test]
fn after_removal_files_answer_removed_and_the_handle_stays() {
    let (_registry, hierarchy, _depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    let id = group.id();
    group.remove(Removal::Detach).unwrap();

    assert_eq!(group.files().unwrap_err().to_string(), "/a is removed");
    for file in ["cgroup.stat", "cgroup.tasks", "depot.max", "nobody.knows", "cgroup.freeze"] {
        let error = group.read(file).unwrap_err();
        assert!(matches!(error, ReadFileError::Removed { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("{file} of /a cannot be read: it is removed"));
        let error = group.write(file, "1.5").unwrap_err();
        assert!(matches!(error, WriteFileError::Removed { .. }), "{error:?}");
    }
    let again = hierarchy.root().create_child("a").unwrap();
    again.write("depot.max", "1").unwrap();
    assert!(group.read("depot.max").is_err(), "another group has the name");
    assert_eq!((group.path(), group.id(), group.depth()), ("/a".to_owned(), id, 1));

    again.remove(Removal::Detach).unwrap();
    let root = hierarchy.root();
    hierarchy.destroy().unwrap();
    assert!(matches!(root.read("cgroup.stat"), Err(ReadFileError::Removed { .. })));
}

/// `kernel-semantics.md` §3.1, race 15: the check and the use of an open file had a removal between
/// them.
#[test]
fn a_file_operation_that_races_the_removal_answers_removed() {
    let (registry, hierarchy, depot) = depot();
    let operations: [fn(&fief_core::Cgroup) -> bool; 2] = [
        |group| matches!(group.read("depot.max"), Err(ReadFileError::Removed { .. })),
        |group| matches!(group.write("depot.max", "1"), Err(WriteFileError::Removed { .. })),
    ];
    for operation in operations {
        let group = hierarchy.root().create_child("a").unwrap();
        let (is_inside, go_on) = stop_next(&depot);
        let was_removed = thread::scope(|scope| {
            let opened = scope.spawn(|| operation(&group));
            is_inside.recv().expect("the hook runs");
            group.remove(Removal::Detach).expect("waits for no reader");
            registry.reap();
            go_on.send(()).expect("the hook waits");
            opened.join().expect("no panic")
        });
        assert!(was_removed);
    }
    registry.wait_reclaimed().unwrap();
    assert_eq!(registry.stats().css_dying, 0, "the reference is given back");
}

#[test]
fn a_file_keeps_its_css_from_a_strict_removal_only_meanwhile() {
    let (_registry, hierarchy, depot) = depot();
    for is_armed in [false, true] {
        let group = hierarchy.root().create_child("a").unwrap();
        group.set_notify_on_release(is_armed).unwrap();
        let (is_inside, go_on) = stop_next(&depot);
        thread::scope(|scope| {
            let read = scope.spawn(|| group.read("depot.max"));
            is_inside.recv().expect("the hook runs");
            let refused = group.remove(Removal::Strict);
            go_on.send(()).expect("the hook waits");
            assert!(matches!(refused, Err(RemoveError::InUse { .. })), "{refused:?}");
            assert_eq!(read.join().expect("no panic").expect("is there"), "max\n");
        });
        group.remove(Removal::Strict).unwrap();
    }
}

#[test]
fn a_file_whose_controller_leaves_meanwhile_is_unknown() {
    let (_registry, hierarchy, depot) = depot();
    let (is_inside, go_on) = stop_next(&depot);
    let root = hierarchy.root();
    let error = thread::scope(|scope| {
        let read = scope.spawn(|| root.read("depot.stat"));
        is_inside.recv().expect("the hook runs");
        depot.unbind().expect("an empty hierarchy");
        depot.unregister().expect("it is inactive");
        go_on.send(()).expect("the hook waits");
        read.join().expect("no panic").unwrap_err()
    });
    assert!(matches!(error, ReadFileError::Unknown(_)), "{error:?}");
}

#[test]
fn a_file_that_moves_with_its_controller_is_read_all_the_same() {
    let (registry, hierarchy, depot) = depot();
    let other = registry.create_hierarchy("other").unwrap();
    let (is_inside, go_on) = stop_next(&depot);
    let root = hierarchy.root();
    let read = thread::scope(|scope| {
        let read = scope.spawn(|| root.read("depot.weight"));
        is_inside.recv().expect("the hook runs");
        depot.unbind().expect("an empty hierarchy");
        depot.bind(&other).expect("an empty hierarchy");
        go_on.send(()).expect("the hook waits");
        read.join().expect("no panic")
    });
    assert_eq!(read.expect("the css lives"), "100\n");
    assert!(matches!(root.read("depot.weight"), Err(ReadFileError::Unknown(_))));
}

#[test]
fn a_hook_of_a_file_holds_no_lock() {
    let (_registry, hierarchy, depot) = depot();
    let root = hierarchy.root();
    let within = root.clone();
    run_next(&depot, move || {
        within.create_child("made").expect("a structural call");
        within.write("depot.reset", "").expect("another file");
    });
    assert_eq!(root.read("depot.stat").unwrap(), "resets 1\n");
    assert!(root.child("made").is_some());
}

#[test]
fn a_file_operation_is_a_structural_call() {
    let (registry, hierarchy, _depot) = depot();
    let group = hierarchy.root().create_child("a").unwrap();
    let guard = registry.read();
    let error = group.read("depot.max").unwrap_err();
    assert!(matches!(&error, ReadFileError::Structural(StructuralError::GuardHeld { .. })));
    assert_eq!(error.to_string(), "read of /a cannot be called under a read guard");
    let error = group.write("cgroup.max.depth", "1").unwrap_err();
    assert_eq!(error.to_string(), "write of /a cannot be called under a read guard");
    let error = group.files().unwrap_err();
    assert_eq!(error.to_string(), "files of /a cannot be called under a read guard");
    drop(guard);
    assert_eq!(group.read("cgroup.max.depth").unwrap(), "max\n");
}

/// A subsystem whose hook asks for a file.
struct Asks(Mutex<Option<fief_core::Cgroup>>, Arc<Mutex<String>>);

impl Subsystem for Asks {
    type State = ();

    fn name(&self) -> &str {
        "asks"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        if let Some(group) = self.0.lock().expect("not poisoned").take() {
            let answer = group.read("cgroup.stat").expect_err("in a hook").to_string();
            *self.1.lock().expect("not poisoned") = answer;
        }
        Ok(())
    }
}

#[test]
fn a_file_cannot_be_read_in_a_hook() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let heard = Arc::new(Mutex::new(String::new()));
    let asks = registry.register(Asks(Mutex::default(), Arc::clone(&heard))).unwrap();
    asks.bind(&hierarchy).unwrap();
    *asks.subsystem().0.lock().unwrap() = Some(hierarchy.root());
    hierarchy.root().create_child("a").unwrap();
    assert_eq!(
        *heard.lock().unwrap(),
        "read of / cannot be called from a subsystem's hook or state's drop"
    );
}

#[test]
fn reading_an_armed_group_ends_in_a_notice_and_leaves_nothing() {
    let (registry, hierarchy, _depot) = depot();
    let notices = hierarchy.notices();
    let group = hierarchy.root().create_child("a").unwrap();
    group.write("notify_on_release", "1\n").unwrap();
    assert_eq!(notices.try_iter().count(), 0);
    group.read("cgroup.stat").unwrap();
    registry.wait_reclaimed().unwrap();
    assert_eq!(notices.try_iter().count(), 0, "the core's files take no reference");
    group.read("depot.max").unwrap();
    registry.wait_reclaimed().unwrap();
    let told: Vec<_> = notices.try_iter().filter_map(fief_core::Notice::accept).collect();
    assert_eq!(told, std::slice::from_ref(&group));
    group.remove(Removal::Strict).unwrap();
}

/// Race 15 by force: groups come and go while others read and write their files.
#[test]
fn files_are_whole_or_removed_while_groups_come_and_go() {
    const ROUNDS: u64 = 300;
    let (registry, hierarchy, _depot) = depot();
    let (current, is_over) =
        (Mutex::new(hierarchy.root().create_child("g").unwrap()), AtomicBool::new(false));
    let met = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let group = current.lock().expect("not poisoned").clone();
                met.lock().expect("not poisoned").insert(group.id());
                let written = group.write("depot.max", "7");
                match (written, group.read("depot.max"), group.read("cgroup.stat")) {
                    (Ok(()), Ok(max), Ok(stat)) => {
                        assert_eq!(max, "7\n");
                        assert!(stat.starts_with("nr_descendants 0\n"));
                    }
                    (written, read, stat) => {
                        let write = written
                            .err()
                            .is_none_or(|error| matches!(error, WriteFileError::Removed { .. }));
                        let is_removed = |read: Result<String, ReadFileError>| {
                            read.err()
                                .is_none_or(|error| matches!(error, ReadFileError::Removed { .. }))
                        };
                        assert!(write && is_removed(read) && is_removed(stat));
                    }
                }
            }
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        let has_met_several = || met.lock().expect("not poisoned").len() > 1;
        for round in 0.. {
            // On a busy machine it may take the workers a while to begin.
            if round >= ROUNDS && has_met_several()
                || workers.iter().all(|worker| worker.is_finished())
            {
                break;
            }
            let group = current.lock().expect("not poisoned").clone();
            group.remove(Removal::Detach).expect("waits for nobody");
            *current.lock().expect("not poisoned") = hierarchy.root().create_child("g").unwrap();
            thread::yield_now();
        }
        is_over.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    });
    registry.wait_reclaimed().unwrap();
    assert_eq!((registry.stats().cgroups_dying, registry.stats().css_dying), (0, 0));
}

#[test]
fn access_says_what_can_be_done() {
    assert!(Access::Read.is_readable() && !Access::Read.is_writable());
    assert!(!Access::Write.is_readable() && Access::Write.is_writable());
    assert!(Access::ReadWrite.is_readable() && Access::ReadWrite.is_writable());
}

/// Race 15 for the core's files, which no hook can stop: a removed group has no controllers.
#[test]
fn a_file_of_the_core_never_shows_a_removed_group() {
    const ROUNDS: u64 = 400;
    let (_registry, hierarchy, _depot) = depot();
    for _ in 0..ROUNDS {
        let group = hierarchy.root().create_child("g").unwrap();
        let (begun, has_begun) = mpsc::channel();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut begun = Some(begun);
                while let Ok(text) = group.read("cgroup.controllers") {
                    assert_eq!(text, "depot\n");
                    begun.take().into_iter().for_each(|begun| begun.send(()).expect("waits"));
                }
            });
            has_begun.recv().expect("the reader begins");
            group.remove(Removal::Detach).unwrap();
            reader.join().expect("no half read");
        });
    }
}
