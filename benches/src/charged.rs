//! Charges of a counter and its uncharges, at some depth, and events of a tally.

use std::hint::black_box;

use fief_core::{Counter, Css, CssRef, HookError, Registry, Resource, Subsystem, Tally};

use crate::{forest::manual, pair::Pair};

/// Counts one thing and one kind of event.
#[derive(Debug)]
pub(crate) struct Charged;

/// What is counted in a group.
#[derive(Debug)]
pub(crate) struct State {
    usage: Counter,
    events: Tally<1>,
}

pub(crate) const UNITS: Resource<State> =
    Resource::new("charged.max", |state: &State| &state.usage);

impl Subsystem for Charged {
    type State = State;

    fn name(&self) -> &'static str {
        "charged"
    }

    fn new_css(&self, parent: Option<&Css<State>>) -> Result<State, HookError> {
        let events = parent.map_or_else(Tally::new, |parent| Tally::below(&parent.events));
        Ok(State { usage: Counter::new(), events })
    }
}

/// One unit charged and uncharged at every level of a chain.
#[derive(Debug)]
pub struct Charge {
    css: CssRef<State>,
    _registry: Registry,
}

/// Two events counted, in a css at the end of such a chain.
#[derive(Debug)]
pub struct Count(Charge);

impl Charge {
    /// Makes a chain of so many levels, the root one of them.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("charged").expect("the name is free");
        let controller = registry.register(Charged).expect("the name is free");
        controller.bind(&hierarchy).expect("no groups yet");
        let leaf = (1..levels).fold(hierarchy.root(), |group, _| {
            group.create_child("below").expect("the name is free")
        });
        let css = controller.css(&leaf).expect("the group is online");
        Self { css, _registry: registry }
    }
}

impl Pair for Charge {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            let css = black_box(&self.css);
            if UNITS.try_charge(css, 1).is_ok() {
                UNITS.uncharge(css, 1);
            }
        }
    }
}

impl Count {
    /// Makes a chain of so many levels, the root one of them.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        Self(Charge::new(levels))
    }
}

impl Pair for Count {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            black_box(&self.0.css).events.add(0, 1);
            black_box(&self.0.css).events.add(0, 1);
        }
    }
}
