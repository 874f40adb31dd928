//! Freezing: asking the members of a group to stop, and knowing when they have.
//!
//! The core stops nobody. A freeze is *requested* of a group, and *in effect* there and in every group
//! below. A task is *asked* to freeze while it is in effect for its group in any hierarchy; it is told
//! through a callback, and says itself when it has stopped. A group is *frozen* when a freeze is in
//! effect and no member of it, nor of a group below, is running still; so an empty one is at once.
//!
//! Three things change what is so, and each conforms: requests, where members sit (`migrate.rs`,
//! `task/birth.rs`), and what members say. The first two come under the structural lock, which orders
//! a freeze before or after a spawn, never within. The last two come under `Engine::moves`, which orders what a
//! member says before or after its move, so that it is counted in the groups where it is.
//!
//! # Orderings
//!
//! Edge `frozen`: see `freeze/word.rs`.

#[cfg(not(loom))]
pub(crate) mod group;
pub(crate) mod teller;
pub(crate) mod word;
