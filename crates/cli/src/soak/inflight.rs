//! `inflight`, the second controller of the soak: the bytes that operations hold, limited and exact.
//!
//! Its state is a real [`Counter`]: what is held is charged to a css and all above it, and given back
//! when the reference that stands for it is dropped. An operation finds the css by a lookup for its
//! task, again for every charge, so that each charge follows the task wherever the controller is bound.
//!
//! A max is set through a control file. A charge that it refuses is counted and made all the same: the
//! soak is about the books, and a tenant that waits would do no work.

use fief_core::{
    Charge, ControlFile, Counter, Css, CssRef, HookError, Resource, Subsystem,
    file::{parse, render},
};

use crate::{
    soak::controller::Ledger,
    sync::{Arc, Count},
};

/// The subsystem.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    ledger: Arc<Ledger>,
}

/// The state of one group.
#[derive(Debug)]
pub(crate) struct InFlightCss {
    held: Counter,
    /// Bytes ever charged here, until they move into the parent.
    ever: Count,
    place: Place,
    ledger: Arc<Ledger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Below,
}

/// Bytes that an operation holds.
pub(crate) type Held = Charge<InFlightCss>;

/// What is charged.
const BYTES: Resource<InFlightCss> =
    Resource::new("inflight.max", |state: &InFlightCss| &state.held).with_unit("bytes");

const FILES: &[ControlFile] = &[
    ControlFile::read_only("current"),
    ControlFile::read_only("stat"),
    ControlFile::read_write("max").not_on_root(),
];

impl InFlight {
    /// A subsystem that enters its css into `ledger`.
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger) }
    }
}

impl InFlightCss {
    /// Bytes held, here and below.
    pub(crate) fn current(&self) -> u64 {
        self.held.current()
    }

    /// Bytes ever charged here, and below by what is gone.
    pub(crate) fn ever(&self) -> u64 {
        self.ever.get()
    }
}

/// Charges `bytes` to `css` and all above it.
pub(crate) fn hold(css: &CssRef<InFlightCss>, bytes: u64) -> Held {
    css.ever.add(bytes);
    BYTES.try_hold(css, bytes).unwrap_or_else(|_| BYTES.hold(css, bytes))
}

impl Subsystem for InFlight {
    type State = InFlightCss;

    fn name(&self) -> &str {
        "inflight"
    }

    fn new_css(&self, parent: Option<&Css<InFlightCss>>) -> Result<InFlightCss, HookError> {
        self.ledger.made.add(1);
        Ok(InFlightCss {
            held: Counter::new(),
            ever: Count::default(),
            place: if parent.is_some() { Place::Below } else { Place::Root },
            ledger: Arc::clone(&self.ledger),
        })
    }

    fn offline(&self, css: &Css<InFlightCss>) {
        fold(css);
    }

    fn released(&self, css: &Css<InFlightCss>) {
        self.ledger.released.add(1);
        fold(css);
    }

    fn files(&self) -> &[ControlFile] {
        FILES
    }

    fn read_file(&self, css: &Css<InFlightCss>, file: &str) -> Result<String, HookError> {
        let stats = css.held.stats();
        match file {
            "current" => Ok(render::value(stats.current)),
            "max" => Ok(render::value(stats.max)),
            "stat" => Ok(render::flat([("peak", stats.peak), ("max_events", stats.max_events)])),
            _ => Err(format!("{file} is no file of inflight").into()),
        }
    }

    fn write_file(&self, css: &Css<InFlightCss>, file: &str, text: &str) -> Result<(), HookError> {
        match file {
            "max" => css.held.set_max(parse::size_limit(text)?),
            _ => return Err(format!("{file} is no file of inflight that can be written").into()),
        };
        Ok(())
    }
}

impl Drop for InFlightCss {
    fn drop(&mut self) {
        self.ledger.freed.add(1);
        if self.held.current() != 0 || self.held.accounting_bugs() != 0 {
            self.ledger.freed_charged.add(1);
        }
        if self.place == Place::Below && self.ever.get() != 0 {
            self.ledger.freed_unfolded.add(1);
        }
    }
}

fn fold(css: &Css<InFlightCss>) {
    if let Some(parent) = css.parent() {
        parent.ever.add(css.ever.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::{Cgroup, Controller, Registry, Removal};

    fn tree() -> (Registry, Controller<InFlight>, Cgroup) {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let inflight = registry.register(InFlight::default()).unwrap();
        inflight.bind(&hierarchy).unwrap();
        let group = hierarchy.root().create_child("a").unwrap();
        (registry, inflight, group)
    }

    #[test]
    fn bytes_are_held_up_to_the_root_until_they_are_given_back() {
        let (registry, inflight, group) = tree();
        let held = hold(&inflight.css(&group).unwrap(), 5);
        let root = inflight.root().unwrap();
        assert_eq!((held.css().current(), root.current(), root.ever()), (5, 5, 0));
        group.remove(Removal::Detach).unwrap();
        assert_eq!((root.current(), root.ever()), (5, 5));
        drop(held);
        registry.wait_reclaimed().unwrap();
        assert_eq!((root.current(), root.ever()), (0, 5));
        let ledger = &inflight.subsystem().ledger;
        assert_eq!((ledger.freed.get(), ledger.freed_charged.get()), (1, 0));
        assert_eq!(ledger.freed_unfolded.get(), 0);
    }

    #[test]
    fn a_charge_above_the_max_is_made_and_counted() {
        let (_registry, inflight, group) = tree();
        group.write("inflight.max", "4").unwrap();
        let held = hold(&inflight.css(&group).unwrap(), 5);
        assert_eq!(group.read("inflight.current").unwrap(), "5\n");
        assert_eq!(group.read("inflight.stat").unwrap(), "peak 5\nmax_events 1\n");
        drop(held);
    }

    #[test]
    fn a_max_that_is_none_is_refused_by_name() {
        let (_registry, _inflight, group) = tree();
        let error = group.write("inflight.max", "much").unwrap_err().to_string();
        assert!(error.starts_with("inflight.max of /a: \"much\" is not "), "{error}");
        assert_eq!(group.read("inflight.max").unwrap(), "max\n");
    }
}
