//! Release notices: told once for each edge, received whenever somebody comes.
//!
//! The reclaimer finds that a group is in use no more and *tells* it: puts it into the outbox of its
//! hierarchy. From there it goes into a channel with room for a few; what finds no room waits in a line
//! with one entry a group, which the removal of the group clears. Whoever finishes with a notice moves
//! the next ones on. So memory is bounded by the number of groups, nobody polls, and neither a slow
//! receiver nor none at all loses anything.

#[cfg(not(loom))]
pub use self::outbox::Notice;
#[cfg(not(loom))]
pub(crate) use self::outbox::Outbox;

pub(crate) mod line;
#[cfg(not(loom))]
mod outbox;
