//! Which threads a value may go to, and how large the hot ones are.

use std::rc::Rc;

use fief_core::{
    ActivityGuard, AgentCommand, AgentError, AgentFailure, AgentStats, Cache, Cgroup, Charge,
    ChargeError, ControlFile, Controller, Counter, CreateError, Css, CssRef, Event, FileInfo,
    Hierarchy, HookError, MonotonicClock, Notice, Pressure, PressurePath, PressureStats,
    ReadFileError, ReadGuard, Registry, ReleaseAgent, RemoveError, Resource, Subsystem, Tally,
    Task, Threshold, Trigger, VirtualClock, Watch, WeakCss, WriteFileError, file::InputError,
};

struct Unit;

impl Subsystem for Unit {
    type State = u64;

    fn name(&self) -> &str {
        "unit"
    }

    fn new_css(&self, _parent: Option<&Css<u64>>) -> Result<u64, HookError> {
        Ok(0)
    }
}

fn is_send_and_sync<T: Send + Sync>() {}

/// Compiles only for a type that is neither `Send` nor `Sync`: for others the last parameter is
/// ambiguous.
macro_rules! is_neither {
    ($type:ty) => {{
        trait Unique<Reason> {
            fn is_unique() {}
        }
        struct IsSend;
        struct IsSync;
        impl<T: ?Sized> Unique<()> for T {}
        impl<T: ?Sized + Send> Unique<IsSend> for T {}
        impl<T: ?Sized + Sync> Unique<IsSync> for T {}
        <$type as Unique<_>>::is_unique();
    }};
}

#[test]
fn handles_go_to_any_thread() {
    is_send_and_sync::<Registry>();
    is_send_and_sync::<Hierarchy>();
    is_send_and_sync::<Cgroup>();
    is_send_and_sync::<Controller<Unit>>();
    is_send_and_sync::<Task>();
    is_send_and_sync::<CssRef<u64>>();
    is_send_and_sync::<WeakCss<u64>>();
    is_send_and_sync::<Charge<u64>>();
    is_send_and_sync::<ChargeError>();
    is_send_and_sync::<Counter>();
    is_send_and_sync::<Resource<u64>>();
    is_send_and_sync::<Tally<3>>();
    is_send_and_sync::<CreateError>();
    is_send_and_sync::<ReleaseAgent>();
    is_send_and_sync::<AgentCommand>();
    is_send_and_sync::<AgentError>();
    is_send_and_sync::<AgentFailure>();
    is_send_and_sync::<AgentStats>();
    is_send_and_sync::<Event>();
    is_send_and_sync::<ControlFile>();
    is_send_and_sync::<FileInfo>();
    is_send_and_sync::<InputError>();
    is_send_and_sync::<ReadFileError>();
    is_send_and_sync::<WriteFileError>();
    is_send_and_sync::<Notice>();
    is_send_and_sync::<RemoveError>();
    is_send_and_sync::<Watch>();
    is_send_and_sync::<MonotonicClock>();
    is_send_and_sync::<VirtualClock>();
    is_send_and_sync::<Pressure>();
    is_send_and_sync::<PressureStats>();
    is_send_and_sync::<ActivityGuard<&'static Pressure>>();
    is_send_and_sync::<ActivityGuard<PressurePath<CssRef<Pressure>, Pressure>>>();
    is_send_and_sync::<Threshold>();
    is_send_and_sync::<Trigger>();
}

#[test]
fn a_guard_and_a_cache_stay_where_they_were_made() {
    is_neither!(ReadGuard<'static>);
    is_neither!(Cache);
}

#[test]
fn a_reference_is_no_freer_than_its_state() {
    is_neither!(CssRef<Rc<u64>>);
    is_neither!(Charge<Rc<u64>>);
    is_neither!(CssRef<*const u64>);
    is_neither!(Css<Rc<u64>>);
}

#[test]
fn references_are_small() {
    assert_eq!(size_of::<CssRef<u64>>(), size_of::<usize>());
    assert_eq!(size_of::<Option<CssRef<u64>>>(), size_of::<usize>());
    assert!(size_of::<WeakCss<u64>>() <= 3 * size_of::<usize>());
    assert!(size_of::<Css<()>>() <= 64, "{}", size_of::<Css<()>>());
}

#[test]
fn a_subsystem_can_be_a_trait_object() {
    let registry = Registry::new();
    let boxed: Box<dyn Subsystem<State = u64>> = Box::new(Unit);
    let controller = registry.register(boxed).unwrap();
    assert_eq!(controller.root().map(|root| **root), Some(0));
}
