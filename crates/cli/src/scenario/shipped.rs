//! The scenarios that come with the binary.

/// A scenario that comes with the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shipped {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// All of them.
pub(crate) const SHIPPED: [Shipped; 5] = [
    Shipped { name: "tour", text: include_str!("../../scenarios/tour.toml") },
    Shipped { name: "noisy-neighbour", text: include_str!("../../scenarios/noisy-neighbour.toml") },
    Shipped { name: "memory-squeeze", text: include_str!("../../scenarios/memory-squeeze.toml") },
    Shipped { name: "live-rebind", text: include_str!("../../scenarios/live-rebind.toml") },
    Shipped { name: "azure-replay", text: include_str!("../../scenarios/azure-replay.toml") },
];

/// Finds one by name.
pub(crate) fn find(name: &str) -> Option<Shipped> {
    SHIPPED.into_iter().find(|shipped| shipped.name == name)
}
