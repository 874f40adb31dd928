//! A global allocator that knows which group a block belongs to, whoever frees it.
//!
//! Reservations say what code *declares* to use. This says what it uses: [`GroupAlloc`] wraps the
//! allocator of a process, and every block from 1 KiB on belongs to the group that its allocating
//! thread was in, until it is freed, anywhere. A thread is in a group while it holds a [`Scope`];
//! a future is, in its polls, once [wrapped](Ambient::wrap). It is for seeing first, and for charging second:
//! what a group has is charged at [safe points](settle()) after the fact, and never refused.
//!
//! ```
//! use fief_alloc::{Ambient, GroupAlloc};
//!
//! #[global_allocator]
//! static ALLOCATOR: GroupAlloc = GroupAlloc::new();
//!
//! assert!(fief_alloc::is_installed());
//! let [web, batch] = [Ambient::new()?, Ambient::new()?];
//! let page = web.run(|| vec![0_u8; 5_000]);
//! let rows = batch.run(|| Vec::<u64>::with_capacity(1_000));
//!
//! // Who frees does not matter, nor where.
//! batch.run(|| drop(page));
//! assert_eq!((web.live(), batch.live()), (0, 8_000));
//! assert_eq!(web.stats().freed, 5_000);
//! drop(rows);
//! assert_eq!(batch.live(), 0);
//! # Ok::<(), fief_alloc::RecordError>(())
//! ```
//!
//! # What is exact, and what is not
//!
//! Figures are exact whenever nobody allocates or frees: no block is lost or counted twice, whatever
//! threads end, whatever handle is dropped. What is not attributed is told by [`stats`]: tagged blocks of
//! threads that were in no group, and blocks below the size from which on they are tagged, those in sum.
//! Memory that does not come through the global allocator is not seen, nor is what the allocator below
//! keeps for itself.
//!
//! # Inside the allocator
//!
//! No lock, no log, no allocation through itself, no panic: a count in a word of the thread, once in
//! 64 KiB an atomic add. It is safe to call in destructors of thread-locals, in signal handlers as far as
//! the allocator below is, and in the child of a fork. There the thread that forked counts on as before,
//! and what other threads had counted stays counted, as the memory stays allocated.
//!
//! A program that writes behind the end of a block destroys its trailer, as it does an allocator's own
//! book: undefined behaviour before and after.

#![cfg_attr(loom, expect(dead_code, reason = "loom builds the protocols, not what stands on them"))]

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a global allocator; see docs/unsafe.md")]
mod hook;
#[cfg(not(loom))]
mod ambient;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a future that is pinned with its wrapper; see docs/unsafe.md")]
mod attributed;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod settle;
#[cfg(not(loom))]
mod pool;
#[expect(unsafe_code, reason = "records that live for ever; see docs/unsafe.md")]
mod record;
#[expect(unsafe_code, reason = "blocks that live for ever; see docs/unsafe.md")]
mod block;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "the thread's block and record; see docs/unsafe.md")]
mod local;
mod sync;

#[cfg(all(test, loom))]
mod tests;

#[cfg(not(loom))]
pub use crate::{
    ambient::{Ambient, AmbientStats, RecordError, Scope},
    attributed::Attributed,
    hook::GroupAlloc,
    settle::settle,
    stats::{AllocStats, is_installed, stats},
};
