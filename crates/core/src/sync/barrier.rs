//! The asymmetric fence: nothing for the many, one system call for the few.
//!
//! [`light`] and [`heavy`] together behave as two `SeqCst` fences: for any pair of them there is a
//! total order, and what stood before the earlier is seen after the later. The light side is a
//! compiler fence. The heavy side is `membarrier(2)`, private expedited, which runs a full fence
//! on every processor that executes a thread of this process before it returns; a thread that does
//! not run passed a full fence in the scheduler. Where the kernel refuses, both sides are real
//! fences ([`Barrier::Fence`]). Source of the semantics: C++ P1202R5, asymmetric fences.
//!
//! # Orderings
//!
//! Edge `op↔switch`: see `css/refcount.rs`.
//!
//! # Tests
//!
//! Loom knows no membarrier; there both sides are `fence(SeqCst)`, of which P1202 is the weaker
//! cousin. `tests/loom_refcount.rs` fails when either side is left out.

#[cfg(not(loom))]
use std::sync::atomic::compiler_fence;

use super::{Ordering, fence, skip};

/// Which fence the counting operations of a registry pay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Barrier {
    /// `membarrier(2)` where the kernel has it, else [`Barrier::Fence`]. The default.
    ///
    /// Decided once per process. Each kill then interrupts every processor that runs a thread of it.
    /// A system-call filter that forbids `membarrier` later makes a removal panic: choose the fence.
    #[default]
    Auto,
    /// A full fence in every counting operation: about ten times slower, needs no system call.
    ///
    /// For sandboxes that install a filter against `membarrier` after the process started.
    Fence,
}

impl Barrier {
    /// Returns whether the light side may be a compiler fence: decided once per process.
    ///
    /// For the protocols of the workspace's own crates.
    #[doc(hidden)]
    pub fn is_asymmetric(self) -> bool {
        use std::sync::OnceLock;
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        self == Self::Auto && *REGISTERED.get_or_init(register)
    }
}

/// The light side, on the fast path of every counting operation; needs
/// [`is_asymmetric`](Barrier::is_asymmetric), and [`light_fenced`] is for where that is not so.
#[cfg(not(loom))]
#[inline(always)]
pub fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The light side, as loom models it.
#[cfg(loom)]
pub fn light() {
    if !skip("light_fence") {
        fence(Ordering::SeqCst);
    }
}

/// The light side where there is no asymmetric fence.
#[inline]
pub fn light_fenced() {
    if !skip("light_fence") {
        fence(Ordering::SeqCst);
    }
}

/// The heavy side; one system call when `asymmetric`, else a fence.
///
/// # Panics
///
/// When the kernel refuses `membarrier` after it had accepted the registration, which only a
/// system-call filter installed in between can do; see [`Barrier::Fence`].
pub fn heavy(asymmetric: bool) {
    if skip("heavy_fence") {
        return;
    }
    fence(Ordering::SeqCst);
    if asymmetric {
        membarrier();
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(target_os = "linux", not(loom), not(fief_portable)))]
fn register() -> bool {
    use rustix::thread::{
        MembarrierCommand::{PrivateExpedited, RegisterPrivateExpedited},
        MembarrierQuery, membarrier, membarrier_query,
    };
    membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED)
        && membarrier(RegisterPrivateExpedited).is_ok()
        && membarrier(PrivateExpedited).is_ok()
}

#[cfg(all(target_os = "linux", not(loom), not(fief_portable)))]
fn membarrier() {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::PrivateExpedited)
        .expect("the registered membarrier is refused: a later filter needs `Barrier::Fence`");
}

#[cfg(any(not(target_os = "linux"), fief_portable))]
#[cfg(not(loom))]
fn register() -> bool {
    false
}

/// In a model, both sides are fences either way.
#[cfg(loom)]
fn register() -> bool {
    true
}

#[cfg(any(not(target_os = "linux"), fief_portable, loom))]
fn membarrier() {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_fence_can_always_be_asked_for() {
        assert!(!Barrier::Fence.is_asymmetric());
    }

    #[test]
    fn the_portable_build_never_uses_membarrier() {
        if cfg!(fief_portable) {
            assert!(!Barrier::Auto.is_asymmetric());
        }
        heavy(Barrier::Auto.is_asymmetric());
    }
}
