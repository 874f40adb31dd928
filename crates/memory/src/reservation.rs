//! `Reservation`: bytes of one group in the hands of one owner, given back when it is dropped.
//!
//! What a reservation uses is exact; beside it, it may have charged ahead, into a pocket (`slack.rs`), so
//! that most growth and shrinkage is a few plain loads and stores and touches nothing that is shared.
//!
//! 1. Grow from the pocket, shrink into it.
//! 2. Else empty the pocket into the hand, and compare what is charged then with what is to be: the larger of
//!    what is used and what is [kept](Reservation::keep). What lacks is charged, with a batch ahead where there is
//!    much room; what is too much goes into the pocket, as far as it may, or back.
//!
//! Batches start at 2 KiB, double up to 64 KiB, and are no more than a sixteenth of what is left at the
//! tightest level above; near a limit there are none. A pocket holds two batches.
//!
//! # Invariants
//!
//! 1. `granted` is what is used and the pocket's room. It changes in slow paths only.
//! 2. What is charged is the larger of what is used and `kept`, and the pocket's room. There is no room
//!    while less is used than kept: the pocket's cap is at most `granted − kept`.
//! 3. Neither what is used nor `kept` is grown beyond [`MOST`].
//!
//! # Tests
//!
//! `tests/reservations.rs`.

pub(crate) mod shared;
mod slack;
pub(crate) mod waiting;

use std::fmt;

use crate::{
    account::Account,
    chain::{self, MOST, Refused, Why},
    css::MemoryCss,
    error::{ChargeError, MergeError, SplitError},
    events::{Events, Kind},
    node::Node,
    pocket::Step,
    reservation::slack::{Slack, give_back},
    stock,
    sync::Arc,
};

/// Bytes that are charged to one group for one owner; dropping it gives them back.
///
/// Made by [`MemoryCss::reserve`]. It stays good when its group is removed: what it has is then charged to
/// what is above only. It grows no more, except [by force](Self::grow_forced); all else works.
///
/// A reservation charges up to 128 KiB more than it uses, far from any limit, and less the nearer
/// the tightest one is. Nobody is refused for that: it is called in first.
///
/// No reservation grows beyond 2^47 bytes.
///
/// # Concurrency
///
/// Growth and shrinkage are two loads, two stores and no atomic operation as long as what was charged
/// ahead suffices, and wait for nobody; else they charge or uncharge each level up to the root, lock-free
/// but for the short lock of the list by which drainers find the room.
///
/// # Examples
///
/// ```
/// # use fief_core::{Limit, Registry};
/// # use fief_memory::Memory;
/// # let registry = Registry::new();
/// # let tenants = registry.create_hierarchy("by-tenant")?;
/// # let memory = registry.register(Memory::new())?;
/// # memory.bind(&tenants)?;
/// # let web = tenants.root().create_child("web")?;
/// let css = memory.css(&web).ok_or("removed")?;
/// css.set_max(Limit::At(1000));
/// let mut sort = css.reserve();
/// sort.grow(600)?;
/// let merge = sort.split(200)?;
/// assert!(sort.grow(500).is_err());
/// assert_eq!((sort.used(), merge.used(), css.current()), (400, 200, 600));
/// drop((sort, merge));
/// assert_eq!(css.current(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "MemoryReservation")]
#[must_use = "dropping it gives back what it has"]
pub struct Reservation {
    account: Arc<Account>,
    slack: Slack,
    granted: u64,
    kept: u64,
}

/// What to do if something is to be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Charge it, if there is room, and ahead.
    Try,
    /// Charge it, if there is room.
    Exactly,
    /// Charge it.
    Force,
}

impl Reservation {
    pub(crate) fn of(account: Arc<Account>, key: u64) -> Self {
        Self { account, slack: Slack::of(key), granted: 0, kept: 0 }
    }

    /// Grows by `bytes`, if the group and all above it have room.
    ///
    /// # Errors
    ///
    /// See [`ChargeError`]; it is as it was.
    #[inline]
    #[doc(alias = "try_grow")]
    pub fn grow(&mut self, bytes: u64) -> Result<(), ChargeError> {
        match self.slack.take(bytes) {
            Step::Done => Ok(()),
            step => self.grow_slowly(bytes, step),
        }
    }

    /// Grows by `bytes`, whatever the limits, and returns by how much: all of it, but for what would be beyond
    /// 2^47 bytes in all.
    ///
    /// For callers that cannot be refused. What exceeds a limit is counted in the group's events, and nobody is
    /// charged there until it is given back.
    #[inline]
    pub fn grow_forced(&mut self, bytes: u64) -> u64 {
        match self.slack.take(bytes) {
            Step::Done => bytes,
            step => self.grow_forced_slowly(bytes, step),
        }
    }

    /// Shrinks by `bytes`, or to 0 if it has less, and returns by how much.
    ///
    /// To shrink by more than it has is a mistake: it is counted in the group's events, as `underflow`, and
    /// takes nothing from anybody. The same in all builds.
    #[inline]
    pub fn shrink(&mut self, bytes: u64) -> u64 {
        match self.slack.put(bytes) {
            Step::Done => bytes,
            step => self.shrink_slowly(bytes, step),
        }
    }

    /// Grows or shrinks to `bytes`.
    ///
    /// # Errors
    ///
    /// Those of [`grow`](Self::grow); it is as it was. To shrink never fails.
    pub fn resize(&mut self, bytes: u64) -> Result<(), ChargeError> {
        let used = self.used();
        match bytes.checked_sub(used) {
            Some(more) => self.grow(more),
            None => {
                self.shrink(used - bytes);
                Ok(())
            }
        }
    }

    /// Keeps `bytes` charged, of which what is used is a part, until told otherwise; the default is 0.
    ///
    /// So an operator makes sure of the room that it needs to finish: growth up to `bytes` cannot fail, a
    /// lowered max and shrinking do not touch them, and nobody calls them in. A smaller number gives back.
    ///
    /// # Errors
    ///
    /// See [`ChargeError`]; what was kept before is still kept.
    pub fn keep(&mut self, bytes: u64) -> Result<(), ChargeError> {
        self.look_after(Step::Missed);
        if bytes > MOST {
            return Err(self.too_large(bytes));
        }
        self.change(self.used(), bytes, How::Exactly)
    }

    /// Gives back all there is, what is [kept](Self::keep) too, and returns how much was used.
    pub fn free(&mut self) -> u64 {
        let used = self.used();
        self.slack.settle();
        let charged = used.max(self.kept);
        (self.granted, self.kept) = (0, 0);
        give_back(&self.account.node(), charged);
        used
    }

    /// Splits `bytes` off, with their charge: no counter changes.
    ///
    /// What is [kept](Self::keep) stays with this one, but for what must be given along.
    ///
    /// # Errors
    ///
    /// If it has less; it is as it was.
    pub fn split(&mut self, bytes: u64) -> Result<Self, SplitError> {
        let used = self.used();
        if bytes > used {
            return Err(SplitError { used, asked: bytes });
        }
        self.kept = self.kept.min(used.max(self.kept) - bytes);
        self.granted -= bytes;
        self.slack.limit((used - bytes).checked_sub(self.kept));
        let mut other = Self::of(Arc::clone(&self.account), self.slack.key());
        other.granted = bytes;
        Ok(other)
    }

    /// Takes over what another reservation of the same group has, and keeps: no counter changes, but for
    /// what the other has charged ahead.
    ///
    /// Reservations of removed groups belong together if the same group answers for them.
    ///
    /// # Errors
    ///
    /// If they belong to different groups; the other comes back.
    pub fn merge(&mut self, mut other: Self) -> Result<(), MergeError> {
        if !self.answers_to_the_same(&other) {
            return Err(MergeError { reservation: other, into: self.cgroup() });
        }
        let (used, others) = (self.used(), other.used());
        let charged = used.max(self.kept) + others.max(other.kept);
        let kept = if charged > used + others { charged } else { self.kept + other.kept };
        other.slack.settle();
        (other.granted, other.kept) = (0, 0);
        self.granted += others;
        self.kept = kept;
        // INVARIANT: 2. What grew is the difference of `granted` and `kept`, or nothing is used above the latter.
        if kept > used + others {
            self.slack.settle();
            self.granted = used + others;
        }
        Ok(())
    }

    fn answers_to_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
            || Arc::ptr_eq(&self.account.node(), &other.account.node())
    }

    /// Moves all there is, what is [kept](Self::keep) too, to another group.
    ///
    /// What is above both groups does not notice: not in its usage, and not in its peak.
    ///
    /// # Errors
    ///
    /// See [`ChargeError`]; it is where it was.
    pub fn transfer(&mut self, to: &MemoryCss) -> Result<(), ChargeError> {
        if Arc::ptr_eq(&self.account, &to.account) {
            return Ok(());
        }
        let used = self.used();
        self.slack.settle();
        self.granted = used;
        let charged = used.max(self.kept);
        let source = self.account.node();
        if !Arc::ptr_eq(&source, &to.node) {
            stock::calling_in(&to.node, || chain::transfer(&source, &to.node, charged))
                .map_err(|refused| ChargeError::noted(refused, charged))?;
        }
        self.account = Arc::clone(&to.account);
        self.slack = Slack::of(to.key);
        Ok(())
    }

    /// Returns how much is used, in bytes.
    #[inline]
    #[must_use]
    #[doc(alias = "size")]
    pub fn used(&self) -> u64 {
        self.granted - self.slack.room()
    }

    /// Returns how much is [kept](Self::keep), in bytes.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Returns how much is charged for it at this moment, in bytes: what is used or kept, and what is
    /// charged ahead and not called in.
    #[must_use]
    pub fn charged(&self) -> u64 {
        let ahead = if self.slack.is_revoked() { 0 } else { self.slack.room() };
        self.used().max(self.kept) + ahead
    }

    /// Returns the path of its group, as of now; of a removed one, what is known of it.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.account.path(self.slack.key())
    }

    #[cold]
    #[inline(never)]
    fn grow_slowly(&mut self, bytes: u64, step: Step) -> Result<(), ChargeError> {
        if self.look_after(step) || bytes == 0 {
            return Ok(());
        }
        let used = self.used();
        match used.checked_add(bytes) {
            Some(wanted) if wanted <= MOST => self.change(wanted, self.kept, How::Try),
            _ => Err(self.too_large(bytes)),
        }
    }

    #[cold]
    #[inline(never)]
    fn grow_forced_slowly(&mut self, bytes: u64, step: Step) -> u64 {
        if self.look_after(step) || bytes == 0 {
            return bytes;
        }
        let used = self.used();
        let bytes = bytes.min(MOST.saturating_sub(used));
        // It cannot be refused.
        self.change(used + bytes, self.kept, How::Force).map_or(0, |()| bytes)
    }

    #[cold]
    #[inline(never)]
    fn shrink_slowly(&mut self, bytes: u64, step: Step) -> u64 {
        if self.look_after(step) || bytes == 0 {
            return bytes;
        }
        let used = self.used();
        if bytes > used {
            Events::note(&self.account.node(), Kind::Underflow);
        }
        let bytes = bytes.min(used);
        // Nothing is charged, so nothing is refused.
        self.change(used - bytes, self.kept, How::Exactly).map_or(0, |()| bytes)
    }

    /// Settles the pocket if it is called in; returns whether the step that the pocket made is all there
    /// was to do.
    fn look_after(&mut self, step: Step) -> bool {
        if step == Step::Revoked || self.slack.is_revoked() {
            let used = self.used();
            self.slack.settle();
            self.granted = used;
        }
        step == Step::Revoked
    }

    /// Has `used` used and `kept` kept.
    fn change(&mut self, used: u64, kept: u64, how: How) -> Result<(), ChargeError> {
        let charged = self.used().max(self.kept);
        let asked = used.max(kept).saturating_sub(charged);
        self.change_with(used, kept, how, 0).map_err(|refused| self.refusal(refused, asked))
    }

    /// Has `used` used and `kept` kept, with `extra` bytes that are charged for it already.
    fn change_with(&mut self, used: u64, kept: u64, how: How, extra: u64) -> Result<(), Refused> {
        let before = self.used();
        let hand = self.slack.empty() + extra;
        self.granted = before;
        let node = self.account.node();
        let charged = before.max(self.kept);
        let (have, wanted) = (charged + hand, used.max(kept));
        let obtained = match wanted.checked_sub(have) {
            None | Some(0) => Ok(have - wanted),
            Some(lacking) => self.obtain(&node, lacking, how),
        };
        let (left, result) = match obtained {
            Ok(left) => {
                (self.granted, self.kept) = (used, kept);
                (left, Ok(()))
            }
            Err(refused) => (hand, Err(refused)),
        };
        let above = self.granted.checked_sub(self.kept);
        self.granted += self.slack.store(&node, left, above);
        result
    }

    /// Charges `lacking` bytes; returns how much more it has charged.
    fn obtain(&mut self, node: &Arc<Node>, lacking: u64, how: How) -> Result<u64, Refused> {
        let is_at_home = node.key == self.slack.key();
        if is_at_home && how != How::Exactly {
            let batch = self.slack.next_batch(node);
            if batch > 0 && chain::try_charge(node, lacking + batch).is_ok() {
                return Ok(batch);
            }
        }
        match how {
            How::Force => stock::force(node, lacking),
            _ if is_at_home => stock::charge_exactly(node, lacking)?,
            _ => return Err(Refused { node: Arc::clone(node), usage: 0, why: Why::Removed }),
        }
        Ok(0)
    }

    fn refusal(&self, refused: Refused, asked: u64) -> ChargeError {
        match refused.why {
            Why::Removed => ChargeError::Removed { cgroup: self.cgroup(), asked },
            Why::Max | Why::Behind(_) | Why::TooLarge => ChargeError::noted(refused, asked),
        }
    }

    fn too_large(&self, asked: u64) -> ChargeError {
        ChargeError::TooLarge { cgroup: self.cgroup(), asked }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free();
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("cgroup", &self.cgroup())
            .field("used", &self.used())
            .field("kept", &self.kept)
            .field("charged", &self.charged())
            .finish()
    }
}

#[cfg(test)]
mod tests;
