//! What the controller keeps for a group: its nodes, one for each device that it used, and its weights.

use std::{collections::HashMap, fmt};

use fief_core::WeakCss;

use crate::{
    device::DeviceInner,
    node::Node,
    pressure::Stalls,
    shared::Shared,
    subsystem::Io,
    sync::{Arc, Mutex, OnceLock},
    tree::{TreeError, WEIGHT_DEFAULT},
};

/// A group's I/O: its limits, weights and reservations on each device; had from a css, which derefs to it.
#[doc(alias = "blkcg")]
pub struct IoCss {
    pub(crate) shared: Arc<Shared>,
    pub(crate) own: OnceLock<WeakCss<Self>>,
    places: Mutex<Option<Places>>,
    /// The time lost by waiting.
    pub(crate) stalls: Arc<Stalls>,
}

/// Where a group is, while it is there.
struct Places {
    default_weight: u32,
    nodes: HashMap<usize, Place>,
}

struct Place {
    node: Arc<Node>,
    /// Its own weight there, if it is not the default one.
    weight: Option<u32>,
}

/// Returns what a device is known by.
fn key(device: &Arc<DeviceInner>) -> usize {
    Arc::as_ptr(device).addr()
}

impl IoCss {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let places = Places { default_weight: WEIGHT_DEFAULT, nodes: HashMap::new() };
        let places = Mutex::new(Some(places));
        let stalls = Arc::new(Stalls::new(&shared.clock));
        Self { shared: Arc::clone(shared), own: OnceLock::new(), places, stalls }
    }

    pub(crate) fn is_of(&self, io: &Io) -> bool {
        Arc::ptr_eq(&self.shared, io.shared())
    }

    /// Returns the path of the group, as far as it is known.
    pub(crate) fn kept_path(&self) -> String {
        let css = self.own.get().and_then(WeakCss::upgrade);
        css.map_or_else(|| String::from("a removed group"), |css| css.path())
    }

    /// Returns its weight on a device.
    pub(crate) fn kept_weight(&self, device: &Arc<DeviceInner>) -> u32 {
        let places = self.places.lock();
        let Some(places) = places.as_ref() else { return WEIGHT_DEFAULT };
        let own = places.nodes.get(&key(device)).and_then(|place| place.weight);
        own.unwrap_or(places.default_weight)
    }

    /// Returns its weight on a device, if it is its own there.
    pub(crate) fn own_weight(&self, device: &Arc<DeviceInner>) -> Option<u32> {
        self.places.lock().as_ref()?.nodes.get(&key(device))?.weight
    }

    /// Returns its weight on devices where it has none of its own.
    pub(crate) fn kept_default_weight(&self) -> u32 {
        self.places.lock().as_ref().map_or(WEIGHT_DEFAULT, |places| places.default_weight)
    }

    /// Changes its weight on a device; `None` if the group is gone. Somebody else has to pump.
    ///
    /// What is kept and what the tree has change together: the tree's lock is taken within this one.
    pub(crate) fn keep_weight(
        &self,
        node: &Node,
        weight: Option<u32>,
    ) -> Option<Result<(), TreeError>> {
        let mut places = self.places.lock();
        let places = places.as_mut()?;
        let place = places.nodes.get_mut(&key(&node.device))?;
        let value = weight.unwrap_or(places.default_weight);
        let set = node.device.sched.adjust(|tree, now| tree.set_weight(node.id, value, now));
        if set.is_ok() {
            place.weight = weight;
        }
        Some(set)
    }

    /// Changes its weight on devices where it has none of its own, which are returned; `None` if the group is gone.
    /// The weight is in its range. Somebody else has to pump.
    pub(crate) fn keep_default_weight(&self, weight: u32) -> Option<Vec<Arc<DeviceInner>>> {
        let mut places = self.places.lock();
        let places = places.as_mut()?;
        places.default_weight = weight;
        let by_default = places.nodes.values().filter(|place| place.weight.is_none());
        let changed = by_default.map(|Place { node, .. }| {
            let set = node.device.sched.adjust(|tree, now| tree.set_weight(node.id, weight, now));
            debug_assert!(set.is_ok(), "it is in range, and no root's");
            Arc::clone(&node.device)
        });
        Some(changed.collect())
    }

    /// Forgets a device that is gone.
    pub(crate) fn forget(&self, device: &Arc<DeviceInner>) {
        let mut places = self.places.lock();
        let place = places.as_mut().and_then(|places| places.nodes.remove(&key(device)));
        drop(places);
        drop(place); // perhaps the last of the device
    }

    /// Returns its node on a device, if there is one; `None` if the group is gone.
    #[expect(clippy::option_option, reason = "no group, or no node yet")]
    pub(crate) fn existing(&self, device: &Arc<DeviceInner>) -> Option<Option<Arc<Node>>> {
        let places = self.places.lock();
        let place = places.as_ref()?.nodes.get(&key(device));
        Some(place.map(|place| Arc::clone(&place.node)))
    }

    /// Makes its node on a device, below that of the group above; `None` if the group is gone.
    pub(crate) fn make(
        &self,
        device: &Arc<DeviceInner>,
        above: Option<Arc<Node>>,
    ) -> Option<Arc<Node>> {
        let css = WeakCss::clone(self.own.get()?);
        let mut places = self.places.lock();
        let places = places.as_mut()?;
        if let Some(place) = places.nodes.get(&key(device)) {
            return Some(Arc::clone(&place.node));
        }
        let node = device.sched.add(above, places.default_weight, |id, above| {
            Node::new(id, Arc::clone(device), above, css, Arc::clone(&self.stalls))
        })?;
        let place = Place { node: Arc::clone(&node), weight: None };
        places.nodes.insert(key(device), place);
        Some(node)
    }

    /// Takes the group out of all devices.
    pub(crate) fn retire(&self) {
        let places = self.places.lock().take();
        for place in places.into_iter().flat_map(|places| places.nodes.into_values()) {
            place.node.device.sched.retire(&place.node);
            place.node.device.call();
        }
    }
}

impl fmt::Debug for IoCss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoCss").field(&self.kept_path()).finish()
    }
}
