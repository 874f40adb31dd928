//! The same rules written down naively: nothing is kept that can be looked up, every question is a
//! scan over all nodes, and no number wraps.

use std::{cmp::max, collections::BTreeMap};

use crate::tree::{Bandwidth, NodeId, NodeStats, TreeSettings};

/// One unit of virtual time.
const ONE: i128 = 1 << 16;
const MS: i128 = 1_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) clock: i128,
    finish: i128,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a reference keeps what it is told as it is told"
)]
pub(super) struct Group {
    pub(super) id: NodeId,
    pub(super) parent: Option<u32>,
    pub(super) tag: i128,
    pub(super) own_tag: i128,
    /// The queues of the children: normal and idle.
    pub(super) lines: [Line; 2],
    weight: i128,
    pub(super) is_idle: bool,
    latency: i128,
    estimate: i128,
    in_flight: i128,
    pub(super) is_active: bool,
    pub(super) is_dying: bool,
    is_waiting: bool,
    is_queued: bool,
    pub(super) is_throttled: bool,
    held_since: Option<i128>,
    bandwidth: Bandwidth,
    /// Tokens times the period.
    tokens: i128,
    /// Tokens.
    most: i128,
    filled: i128,
    period_start: i128,
    period_usage: i128,
    pub(super) stats: NodeStats,
}

impl Group {
    fn new(id: NodeId, parent: Option<u32>, tag: i128, origin: i128, slice: i128) -> Self {
        let line = Line { clock: origin, finish: origin };
        Self {
            id,
            parent,
            tag,
            own_tag: origin,
            lines: [line; 2],
            weight: 100,
            is_idle: false,
            latency: 0,
            estimate: slice,
            in_flight: 0,
            is_active: false,
            is_dying: false,
            is_waiting: false,
            is_queued: false,
            is_throttled: false,
            held_since: None,
            bandwidth: Bandwidth::MAX,
            tokens: 0,
            most: 0,
            filled: 0,
            period_start: 0,
            period_usage: 0,
            stats: NodeStats::default(),
        }
    }

    fn key(&self) -> i128 {
        self.tag - self.latency * ONE / self.weight
    }

    fn rest(&mut self) {
        if self.in_flight == 0 && !self.is_waiting {
            for line in &mut self.lines {
                line.clock = max(line.clock, line.finish);
            }
        }
    }

    fn let_go(&mut self, now: i128) {
        if let Some(since) = self.held_since.take() {
            self.stats.throttled += u64::try_from(now - since).unwrap();
        }
    }

    fn hold(&mut self, now: i128) {
        if self.is_waiting && self.is_throttled && self.held_since.is_none() {
            self.held_since = Some(now);
            self.stats.nr_throttled += 1;
        }
    }

    /// Quota and period in nanoseconds.
    fn rate(&self) -> Option<(i128, i128)> {
        let quota = self.bandwidth.quota()?;
        Some((ns(quota.as_nanos()), ns(self.bandwidth.period().as_nanos())))
    }

    fn capacity(&self, slice: i128) -> i128 {
        let cpus = self.rate().map_or(1, |(quota, period)| (quota + period - 1) / period);
        max(slice * cpus, ns(self.bandwidth.burst().as_nanos()))
    }

    fn enough(&self, slice: i128) -> i128 {
        self.rate().map_or(0, |(quota, period)| (MS * quota / period).clamp(10_000, slice))
    }

    fn is_enough(&self, slice: i128) -> bool {
        self.rate().is_none_or(|(_, period)| self.tokens >= self.enough(slice) * period)
    }

    fn is_dry(&self) -> bool {
        self.rate().is_some_and(|(_, period)| self.tokens.div_euclid(period) <= 0)
    }

    pub(super) fn due(&self, slice: i128) -> Option<i128> {
        let (quota, period) = self.rate()?;
        let missing = max(0, self.enough(slice) * period - self.tokens);
        (self.is_throttled && self.is_waiting).then(|| self.filled + (missing + quota - 1) / quota)
    }

    fn turn(&mut self, now: i128, back: i128, slice: i128) {
        let Some((quota, period)) = self.rate() else { return };
        let is_awaited = self.is_throttled && self.is_waiting;
        let late = self.capacity(slice) + 2 * MS * quota / period;
        let most = if is_awaited { late } else { self.most } * period;
        self.tokens = (self.tokens + back * period + (now - self.filled) * quota).min(most);
        self.filled = now;
    }

    fn release(&mut self) {
        self.is_throttled = false;
        let (_, period) = self.rate().unwrap_or((0, 1));
        self.most = max(self.most, self.tokens.div_euclid(period));
    }

    /// How much of the period's usage was saved up before.
    fn burst(&self, slice: i128) -> i128 {
        let Some((quota, _)) = self.rate() else { return 0 };
        let is_burst = !self.bandwidth.burst().is_zero() && self.period_usage > quota + slice;
        if is_burst { self.period_usage - quota } else { 0 }
    }

    fn close_period(&mut self, slice: i128) {
        let burst = self.burst(slice);
        self.stats.nr_bursts += u64::from(burst > 0);
        self.stats.burst += u64::try_from(burst).unwrap();
        self.period_usage = 0;
    }
}

#[derive(Debug)]
pub(super) struct Reference {
    pub(super) groups: BTreeMap<u32, Group>,
    slice: i128,
    debt: i128,
    origin: i128,
    pub(super) now: i128,
}

impl Reference {
    pub(super) fn new(settings: TreeSettings, origin: u64, root: NodeId) -> Self {
        let (slice, origin) = (i128::from(settings.slice()), i128::from(origin));
        let root = Group::new(root, None, origin, origin, slice);
        let debt = i128::from(settings.debt());
        Self { groups: BTreeMap::from([(0, root)]), slice, debt, origin, now: 0 }
    }

    fn group(&mut self, at: u32) -> &mut Group {
        self.groups.get_mut(&at).unwrap()
    }

    fn path(&self, at: u32) -> Vec<u32> {
        std::iter::successors(Some(at), |at| self.groups[at].parent).collect()
    }

    fn children(&self, at: u32) -> impl Iterator<Item = &Group> {
        self.groups.values().filter(move |group| group.parent == Some(at))
    }

    fn clock(&self, at: u32) -> i128 {
        let group = &self.groups[&at];
        let parent = group.parent.map(|parent| &self.groups[&parent]);
        parent.map_or(self.origin, |parent| parent.lines[usize::from(group.is_idle)].clock)
    }

    fn clamp(&self, tag: i128, clock: i128, weight: i128, debt: i128) -> i128 {
        let least = clock - self.slice * ONE / weight;
        let ahead = (tag - clock) * weight > debt * ONE;
        let behind = (clock - tag) * weight > self.slice * ONE;
        if ahead {
            clock + debt * ONE / weight
        } else if behind {
            least
        } else {
            tag
        }
    }

    fn place(&mut self, at: u32) {
        let (clock, group) = (self.clock(at), &self.groups[&at]);
        let debt = self.debt + group.in_flight + group.latency;
        self.group(at).tag = self.clamp(group.tag, clock, group.weight, debt);
    }

    /// Brings up to date who waits and who stands in a queue, from the leaves up.
    fn refresh(&mut self) {
        let mut order: Vec<u32> = self.groups.keys().copied().collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.path(*at).len()));
        let (now, slice) = (self.now, self.slice);
        for at in order {
            let is_waiting = self.groups[&at].is_active || self.children(at).any(|c| c.is_queued);
            let group = self.group(at);
            let was_waiting = group.is_waiting;
            if is_waiting && !was_waiting && group.is_throttled {
                group.turn(now, 0, slice);
                if group.is_enough(slice) {
                    group.release();
                }
            }
            group.is_waiting = is_waiting;
            if is_waiting && !was_waiting {
                group.hold(now);
            }
            if !is_waiting && was_waiting {
                group.rest();
                group.let_go(now);
            }
            let is_queued = is_waiting && !group.is_throttled && at != 0;
            if is_queued != std::mem::replace(&mut group.is_queued, is_queued) && is_queued {
                self.place(at);
            }
        }
    }

    fn review(&mut self, at: u32) {
        let (now, slice) = (self.now, self.slice);
        let group = self.group(at);
        if group.is_throttled && group.is_enough(slice) {
            group.let_go(now);
            group.release();
        } else if !group.is_throttled && group.is_dry() {
            group.is_throttled = true;
            group.most = group.capacity(slice);
        }
        self.refresh();
    }

    fn release_due(&mut self) {
        let (now, slice) = (self.now, self.slice);
        loop {
            let due = self.groups.iter().filter_map(|(at, group)| Some((group.due(slice)?, *at)));
            let Some((_, at)) = due.filter(|(due, _)| *due <= now).min() else { return };
            let group = self.group(at);
            group.turn(now, 0, slice);
            group.let_go(now);
            group.release();
            self.refresh();
        }
    }

    fn bury(&mut self) {
        let over = |at: &u32, group: &Group| {
            let is_alone = self.children(*at).next().is_none();
            group.is_dying && is_alone && group.in_flight == 0 && !group.is_active
        };
        let found = self.groups.iter().find(|(at, group)| over(at, group)).map(|(at, _)| *at);
        if let Some(at) = found {
            self.groups.remove(&at);
            self.bury();
        }
    }

    pub(super) fn set_now(&mut self, now: u64) {
        self.now = max(self.now, i128::from(now));
    }

    pub(super) fn add(&mut self, parent: NodeId, id: NodeId) {
        let parent = parent.index;
        let tag = self.groups[&parent].lines[0].clock;
        let group = Group::new(id, Some(parent), tag, self.origin, self.slice);
        self.groups.insert(id.index, group);
    }

    pub(super) fn remove(&mut self, at: u32) {
        self.group(at).is_dying = true;
        self.bury();
    }

    pub(super) fn activate(&mut self, at: u32) {
        let group = &self.groups[&at];
        if !group.is_active {
            let debt = self.debt + group.in_flight;
            let tag = self.clamp(group.own_tag, group.lines[0].clock, 100, debt);
            let group = self.group(at);
            (group.own_tag, group.is_active) = (tag, true);
            self.refresh();
        }
    }

    pub(super) fn deactivate(&mut self, at: u32) {
        self.group(at).is_active = false;
        self.refresh();
        self.bury();
    }

    pub(super) fn set_weight(&mut self, at: u32, weight: u16) {
        if !self.groups[&at].is_queued {
            self.place(at);
        }
        let clock = self.clock(at);
        let group = self.group(at);
        let ahead = (group.tag - clock) * group.weight / i128::from(weight);
        (group.tag, group.weight) = (clock + ahead, i128::from(weight));
        self.finished(at);
    }

    pub(super) fn set_latency(&mut self, at: u32, latency: u64) {
        self.group(at).latency = i128::from(latency);
    }

    pub(super) fn set_idle(&mut self, at: u32, is_idle: bool) {
        let parent = self.groups[&at].parent.unwrap();
        self.transfer(at, parent, is_idle);
    }

    fn transfer(&mut self, at: u32, parent: u32, is_idle: bool) {
        let ahead = self.groups[&at].tag - self.clock(at);
        let to = self.groups[&parent].lines[usize::from(is_idle)].clock;
        let group = self.group(at);
        (group.tag, group.parent, group.is_idle) = (to + ahead, Some(parent), is_idle);
        self.place(at);
    }

    pub(super) fn set_bandwidth(&mut self, at: u32, bandwidth: Bandwidth) {
        let (now, slice) = (self.now, self.slice);
        let group = self.group(at);
        group.turn(now, 0, slice);
        group.close_period(slice);
        let former = group.rate().map(|(_, period)| group.tokens.div_euclid(period));
        (group.bandwidth, group.filled, group.period_start) = (bandwidth, now, now);
        let capacity = group.capacity(slice);
        let tokens = former.map_or(capacity - group.in_flight, |tokens| tokens.min(capacity));
        group.most = capacity;
        group.tokens = tokens * group.rate().map_or(0, |(_, period)| period);
        self.review(at);
        self.group(at).hold(now);
    }

    pub(super) fn move_node(&mut self, at: u32, to: u32) {
        let from = self.groups[&at].parent.unwrap();
        let (in_flight, is_idle) = (self.groups[&at].in_flight, self.groups[&at].is_idle);
        if in_flight > 0 {
            self.charge_ahead(to, in_flight);
        }
        self.transfer(at, to, is_idle);
        self.refresh();
        if in_flight > 0 {
            self.correct(from, in_flight, 0);
        }
        self.bury();
    }

    /// The node, the slice and the estimate.
    pub(super) fn pick(&mut self) -> Option<(u32, u64, u64)> {
        self.release_due();
        let root = &self.groups[&0];
        if !root.is_waiting || root.is_throttled {
            return None;
        }
        let (mut at, mut slice) = (0, self.slice);
        loop {
            slice = slice.min(self.longest(at));
            match self.next(at) {
                None => return Some(self.grant(at, slice)),
                Some(child) => at = child,
            }
        }
    }

    pub(super) fn pick_at(&mut self, at: u32) -> Option<(u32, u64, u64)> {
        self.release_due();
        let is_held = self.path(at).iter().any(|at| self.groups[at].is_throttled);
        if !self.groups[&at].is_active || is_held {
            return None;
        }
        let mut slice = self.slice;
        for at in self.path(at) {
            slice = slice.min(self.longest(at));
            self.next(at);
        }
        Some(self.grant(at, slice))
    }

    fn longest(&mut self, at: u32) -> i128 {
        let (now, slice) = (self.now, self.slice);
        let group = self.group(at);
        group.turn(now, 0, slice);
        group.rate().map_or(i128::MAX, |(_, period)| max(20_000, group.tokens.div_euclid(period)))
    }

    /// The child that is next, or `None` for the own work.
    fn next(&mut self, at: u32) -> Option<u32> {
        let own = self.groups[&at].is_active.then(|| (self.groups[&at].own_tag, None));
        let children = self.children(at).filter(|child| child.is_queued);
        let keys = children.map(|child| (child.is_idle, (child.key(), Some(child.id.index))));
        let keys: Vec<_> = keys.chain(own.map(|own| (false, own))).collect();
        let (is_idle, (key, child)) = *keys.iter().min().unwrap();
        let line = &mut self.group(at).lines[usize::from(is_idle)];
        line.clock = max(line.clock, key);
        child
    }

    fn grant(&mut self, at: u32, slice: i128) -> (u32, u64, u64) {
        let base = self.slice;
        let group = self.group(at);
        let usual = group.estimate;
        let estimate = if usual > base { usual } else { usual.min(slice) };
        group.own_tag += estimate * ONE / 100;
        self.charge_ahead(at, estimate);
        (at, u64::try_from(slice).unwrap(), u64::try_from(estimate).unwrap())
    }

    fn charge_ahead(&mut self, at: u32, estimate: i128) {
        for at in self.path(at) {
            let group = self.group(at);
            group.in_flight += estimate;
            group.tag += estimate * ONE / group.weight;
            group.tokens -= estimate * group.rate().map_or(0, |(_, period)| period);
        }
        for at in self.path(at) {
            self.review(at);
        }
    }

    pub(super) fn settle(&mut self, at: u32, estimate: u64, cost: u64) {
        let (estimate, cost) = (i128::from(estimate), i128::from(cost.min(1 << 53)));
        let debt = self.debt;
        let group = self.group(at);
        group.estimate = max(1_000, (3 * group.estimate + cost.min(debt)) / 4);
        group.own_tag += cost.min(1 << 44) * ONE / 100 - estimate * ONE / 100;
        let limit = debt + group.in_flight - estimate;
        let line = &mut group.lines[0];
        if (group.own_tag - line.clock) * 100 > limit * ONE {
            group.own_tag = line.clock + limit * ONE / 100;
            group.stats.overruns += 1;
        }
        line.finish = max(line.finish, group.own_tag);
        group.stats.own_usage += u64::try_from(cost).unwrap();
        self.correct(at, estimate, cost);
        let now = self.now;
        for at in self.path(at) {
            let group = self.group(at);
            group.stats.slices += 1;
            group.hold(now);
        }
        self.bury();
    }

    fn correct(&mut self, at: u32, estimate: i128, cost: i128) {
        let (now, slice, debt) = (self.now, self.slice, self.debt);
        for at in self.path(at) {
            let clock = self.clock(at);
            let group = self.group(at);
            group.tag += cost.min(1 << 44) * ONE / group.weight - estimate * ONE / group.weight;
            group.in_flight -= estimate;
            let limit = debt + group.in_flight + group.latency;
            if at != 0 && (group.tag - clock) * group.weight > limit * ONE {
                group.tag = clock + limit * ONE / group.weight;
                group.stats.overruns += 1;
            }
            group.stats.usage = group.stats.usage.saturating_add(u64::try_from(cost).unwrap());
            group.rest();
            group.turn(now, estimate - cost, slice);
            if let Some((_, period)) = group.rate().filter(|_| cost > 0) {
                if now - group.period_start >= period {
                    group.close_period(slice);
                    group.period_start = now - (now - group.period_start) % period;
                }
                group.stats.nr_periods += u64::from(group.period_usage == 0);
                group.period_usage += cost;
            }
            self.finished(at);
        }
        for at in self.path(at) {
            self.review(at);
        }
    }

    fn finished(&mut self, at: u32) {
        let group = &self.groups[&at];
        let (tag, line) = (group.tag, usize::from(group.is_idle));
        if let Some(parent) = group.parent {
            let line = &mut self.group(parent).lines[line];
            line.finish = max(line.finish, tag);
        }
    }

    pub(super) fn stats(&self, at: u32) -> NodeStats {
        let (group, mut stats) = (&self.groups[&at], self.groups[&at].stats);
        let burst = group.burst(self.slice);
        stats.nr_bursts += u64::from(burst > 0);
        stats.burst += u64::try_from(burst).unwrap();
        stats.throttled +=
            group.held_since.map_or(0, |since| u64::try_from(self.now - since).unwrap());
        stats
    }

    pub(super) fn next_release(&self) -> Option<u64> {
        let due = self.groups.values().filter_map(|group| group.due(self.slice));
        due.min().map(|due| u64::try_from(due).unwrap())
    }
}

fn ns(value: u128) -> i128 {
    i128::try_from(value).unwrap()
}
