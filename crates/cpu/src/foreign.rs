//! What the scheduler takes from the registry: `fief_core`'s, or in a model of loom's no more than the names.
//!
//! The models run the queues, leaves, workers and the scheduler as they are; the registry is not there.

#[cfg(loom)]
pub(crate) use self::names::{Activity, Clock, CpuCss, HookError, Pressure, TaskId, WeakCss};

#[cfg(not(loom))]
pub(crate) use {
    crate::css::CpuCss,
    fief_core::{Activity, Clock, HookError, Pressure, TaskId, WeakCss},
};

#[cfg(loom)]
mod names {
    use std::{error::Error, marker::PhantomData, time::Duration};

    use crate::{leaf::Leaf, sync::Arc};

    pub(crate) type HookError = Box<dyn Error + Send + Sync + 'static>;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TaskId;

    pub(crate) struct WeakCss<S>(PhantomData<S>);

    pub struct CpuCss {
        pub(crate) leaf: Arc<Leaf>,
    }

    #[derive(Clone, Copy)]
    pub(crate) enum Activity {
        Idle,
        Stalled,
        Productive,
    }

    #[derive(Debug)]
    pub(crate) struct Pressure;

    pub(crate) trait Clock: Send + Sync + 'static {
        fn now(&self) -> Duration;
    }

    impl CpuCss {
        pub(crate) fn path(&self) -> String {
            self.leaf.path()
        }
    }

    impl<S> WeakCss<S> {
        pub(crate) fn upgrade(&self) -> Option<CpuCss> {
            None
        }
    }

    impl Pressure {
        pub(crate) fn new(_clock: Arc<dyn Clock>) -> Self {
            Self
        }

        pub(crate) fn shift(&self, _from: Activity, _to: Activity) {}

        pub(crate) fn poll(&self) -> Option<Duration> {
            None
        }
    }
}
