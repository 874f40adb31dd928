//! Charges and uncharges of a node and all above it: the slow path, and the only one that counts.
//!
//! 1. Look whether every level has room, from the node up: so a large charge that must fail holds
//!    nothing on its way, and raises no peak.
//! 2. Charge each level, from the node up, within its max (`Counter`).
//! 3. A level that was at zero pins its css (`pin.rs`).
//! 4. If a level refuses after all, give back what was taken below it.
//!
//! Where somebody waits for room (`wait.rs`), those that are before this charge are given way to; who gives
//! room back there calls them.
//!
//! What is charged ahead of its use (`stock.rs`) goes through here as well, so a usage is never above
//! its max but by force.

use fief_core::Limit;

use crate::{
    events::{Events, Kind},
    node::Node,
    pocket::barrier,
    sync::{Arc, Ordering},
    wait,
};

/// The most that one charge may ask for: so far below 2^64 that no sum can come round.
pub(crate) const MOST: u64 = 1 << 47;

/// A level refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// Which one.
    pub(crate) node: Arc<Node>,
    /// What was in use there.
    pub(crate) usage: u64,
    pub(crate) why: Why,
}

/// Why a level refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its max.
    Max,
    /// So many wait there for room, and have been passed too often.
    Behind(u64),
    /// Its group is being removed.
    Removed,
    /// It is more than any charge may be.
    TooLarge,
}

/// Charges `amount` at `node` and all above it, or at none.
pub(crate) fn try_charge(node: &Arc<Node>, amount: u64) -> Result<(), Refused> {
    try_charge_as(node, amount, None)
}

/// Charges `amount` at `node` and all above it, or at none, for who waits with `ticket`.
pub(crate) fn try_charge_as(
    node: &Arc<Node>,
    amount: u64,
    ticket: Option<u64>,
) -> Result<(), Refused> {
    // Of a removed group only that is said: its counter means nothing any more.
    for level in node.levels().filter(|_| !node.is_closed()) {
        let usage = look(level, amount)?;
        let waiting = wait::before(level, ticket, amount);
        if waiting > 0 {
            return Err(Refused { why: Why::Behind(waiting), ..Refused::by(level, usage) });
        }
    }
    charge_up_to(node, None, amount)?;
    node.levels().for_each(|level| wait::note_passed(level, ticket));
    Ok(())
}

/// Looks whether a level has room for `amount`, and returns what is in use.
fn look(level: &Arc<Node>, amount: u64) -> Result<u64, Refused> {
    let usage = level.counter.current();
    match level.counter.max().allows(usage.saturating_add(amount)) {
        true => Ok(usage),
        false => Err(Refused::by(level, usage)),
    }
}

/// Returns `node` and all above it, but not `end` or what is above that.
fn levels_below<'a>(
    node: &'a Arc<Node>,
    end: Option<&'a Arc<Node>>,
) -> impl Iterator<Item = &'a Arc<Node>> {
    node.levels().take_while(move |level| end.is_none_or(|end| !Arc::ptr_eq(level, end)))
}

/// Charges `amount` at `node` and all above it, but not at `end` or above; or at none.
fn charge_up_to(node: &Arc<Node>, end: Option<&Arc<Node>>, amount: u64) -> Result<(), Refused> {
    if node.is_closed() {
        return Err(Refused::removed(node));
    }
    let mut is_over_high = false;
    for (height, level) in levels_below(node, end).enumerate() {
        let charged = match level.counter.try_charge_level(amount) {
            Ok(usage) if usage > amount || amount == 0 || level.is_pinned() => Ok(usage),
            Ok(_) => {
                level.counter.uncharge_level(amount);
                Err(Refused::removed(level))
            }
            Err(usage) => Err(Refused::by(level, usage)),
        };
        match charged {
            Ok(usage) => is_over_high |= level.note_usage(usage),
            Err(refused) => {
                uncharge_levels(node.levels().take(height), amount);
                return Err(refused);
            }
        }
    }
    if is_over_high {
        node.rare().throttling.owe(amount);
    }
    Ok(())
}

/// Charges `amount` at `node` and all above it, whatever their max.
pub(crate) fn force(node: &Arc<Node>, amount: u64) {
    force_up_to(node, None, amount);
}

fn force_up_to(node: &Arc<Node>, end: Option<&Arc<Node>>, amount: u64) {
    let mut is_over_high = false;
    for level in levels_below(node, end) {
        let usage = level.counter.charge_level(amount);
        barrier(level.key);
        if usage == amount && amount > 0 {
            level.is_pinned();
        }
        is_over_high |= level.note_usage(usage);
        if !level.counter.max().allows(usage) {
            Events::note(level, Kind::ForceOverMax);
        }
    }
    if is_over_high {
        node.rare().throttling.owe(amount);
    }
}

/// Uncharges `amount` at `node` and all above it.
pub(crate) fn uncharge(node: &Arc<Node>, amount: u64) {
    uncharge_levels(node.levels(), amount);
}

/// Uncharges levels, from the lowest up. What one of them had not, those above it keep: it is not this group's.
fn uncharge_levels<'n>(levels: impl Iterator<Item = &'n Arc<Node>> + 'n, amount: u64) {
    let mut left = amount;
    for level in levels {
        let had = uncharge_level(level, left);
        // The counter of a removed group says nothing any more.
        if !level.is_closed() {
            left = had;
        }
    }
}

/// Moves `amount` from `source` to `target`, as far up as they differ: what is above both is not touched.
pub(crate) fn transfer(source: &Arc<Node>, target: &Arc<Node>, amount: u64) -> Result<(), Refused> {
    let common = target.levels().find(|level| source.is_below(level));
    if amount > 0 && !target.is_closed() {
        levels_below(target, common).try_for_each(|level| look(level, amount).map(drop))?;
    }
    charge_up_to(target, common, amount)?;
    uncharge_levels(levels_below(source, common), amount);
    Ok(())
}

/// Uncharges one level; returns how much of `amount` it had.
fn uncharge_level(level: &Arc<Node>, amount: u64) -> u64 {
    let (usage, had) = level.counter.uncharge_level(amount);
    if had < amount {
        Events::note(level, Kind::Underflow);
    }
    wait::look(level);
    if usage == 0 && amount > 0 {
        level.mark.clear();
    }
    if usage == 0 && amount > 0 && !level.shared.is_inherited() {
        level.pin.put();
    }
    wait::call(level);
    level.wake_throttled(usage);
    had
}

impl Refused {
    pub(crate) fn by(node: &Arc<Node>, usage: u64) -> Self {
        Self { node: Arc::clone(node), usage, why: Why::Max }
    }

    fn removed(node: &Arc<Node>) -> Self {
        Self { node: Arc::clone(node), usage: 0, why: Why::Removed }
    }

    /// Returns whether there is no use in waiting.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.why, Why::Removed | Why::TooLarge)
    }

    /// Returns the max that refused, as of now.
    pub(crate) fn max(&self) -> Limit {
        self.node.counter.max()
    }
}

impl Node {
    /// Pins the css, whose counter went from zero; false if it can be held no more.
    fn is_pinned(&self) -> bool {
        self.shared.is_inherited() || self.pin.take(self.css.get())
    }

    /// Sees that a charge made the usage `usage`; the light barrier came between. Returns whether that is above high.
    fn note_usage(self: &Arc<Self>, usage: u64) -> bool {
        self.peaks.note(usage);
        // Ordering: Relaxed: a hint for whoever charges at the moment it is set.
        let is_over = usage > self.high.load(Ordering::Relaxed);
        if is_over {
            Events::note(self, Kind::High);
        }
        is_over
    }
}
