//! What the scheduler takes from the registry: `fief_core`'s, or in a model of loom's no more than the names.

#[cfg(loom)]
pub(crate) use self::names::{Clock, CssRef, DeviceInner, IoCss, Stalls, WeakCss};

#[cfg(not(loom))]
pub(crate) use {
    crate::{css::IoCss, device::DeviceInner, pressure::Stalls},
    fief_core::{Clock, CssRef, WeakCss},
};

#[cfg(loom)]
mod names {
    use std::{marker::PhantomData, time::Duration};

    use crate::sched::Sched;

    pub(crate) struct DeviceInner {
        pub(crate) sched: Sched,
    }

    #[derive(Clone, Default)]
    pub(crate) struct WeakCss<S>(PhantomData<S>);

    #[derive(Clone, Default)]
    pub(crate) struct IoCss;

    pub(crate) type CssRef<S> = S;

    #[derive(Default)]
    pub(crate) struct Stalls;

    impl Stalls {
        pub(crate) fn begin(&self) {}

        pub(crate) fn end(&self) {}

        pub(crate) fn depart(&self) {}

        pub(crate) fn come_back(&self) {}
    }

    pub(crate) trait Clock: Send + Sync + 'static {
        fn now(&self) -> Duration;
    }

    impl IoCss {
        pub(crate) fn path(&self) -> String {
            String::new()
        }
    }

    impl<S> WeakCss<S> {
        pub(crate) fn upgrade(&self) -> Option<IoCss> {
            None
        }
    }
}
