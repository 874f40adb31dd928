//! What the controller keeps for a group: its nodes, one for each device that it used, and its weights.

use std::{collections::HashMap, fmt};

use fief_core::WeakCss;

use crate::{
    device::DeviceInner,
    node::Node,
    shared::Shared,
    subsystem::Io,
    sync::{Arc, Mutex, OnceLock},
    tree::WEIGHT_DEFAULT,
};

/// A group's I/O: its limits, weights and reservations on each device; had from a css, which derefs to it.
#[doc(alias = "blkcg")]
pub struct IoCss {
    pub(crate) shared: Arc<Shared>,
    pub(crate) own: OnceLock<WeakCss<IoCss>>,
    places: Mutex<Option<Places>>,
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
        Self { shared: Arc::clone(shared), own: OnceLock::new(), places }
    }

    pub(crate) fn is_of(&self, io: &Io) -> bool {
        Arc::ptr_eq(&self.shared, io.shared())
    }

    /// Returns its weight on a device.
    pub(crate) fn kept_weight(&self, device: &Arc<DeviceInner>) -> u32 {
        let places = self.places.lock();
        let Some(places) = places.as_ref() else { return WEIGHT_DEFAULT };
        let own = places.nodes.get(&key(device)).and_then(|place| place.weight);
        own.unwrap_or(places.default_weight)
    }

    /// Notes its weight on a device; returns what that is.
    pub(crate) fn keep_weight(&self, node: &Node, weight: Option<u32>) -> u32 {
        let mut places = self.places.lock();
        let Some(places) = places.as_mut() else { return WEIGHT_DEFAULT };
        if let Some(place) = places.nodes.get_mut(&key(&node.device)) {
            place.weight = weight;
        }
        weight.unwrap_or(places.default_weight)
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
            Node::new(id, Arc::clone(device), above, css)
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
        let css = self.own.get().and_then(WeakCss::upgrade);
        let path = css.map_or_else(|| String::from("a removed group"), |css| css.path());
        f.debug_tuple("IoCss").field(&path).finish()
    }
}
