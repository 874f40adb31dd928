//! Limits the slow way: every bucket of every node is filled at every step, and every piece that the tree
//! charged is charged again and checked.

use std::collections::BTreeMap;

use fief_core::Limit;

use super::super::{Dimension, IoTree, Limits, TreeSettings, charge::Charge};

const BILLION: i128 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Place {
    parent: Option<u32>,
    limits: Limits,
    levels: [i128; 6],
    has_limiter: bool,
    waiting: [u32; 2],
    keep_until: [u64; 2],
    bytes: [u64; 2],
    ops: [u64; 2],
    cost: u64,
}

#[derive(Debug)]
pub(super) struct Reference {
    pub(super) places: BTreeMap<u32, Place>,
    settings: TreeSettings,
    now: u64,
}

fn planes(dimension: Dimension) -> &'static [usize] {
    match dimension {
        Dimension::Rbps | Dimension::Riops => &[0],
        Dimension::Wbps | Dimension::Wiops => &[1],
        Dimension::Bps | Dimension::Iops => &[0, 1],
    }
}

impl Place {
    pub(super) fn below(parent: Option<u32>) -> Self {
        Self { parent, ..Self::default() }
    }

    fn cap(&self, dimension: Dimension, settings: &TreeSettings, now: u64) -> i128 {
        let Limit::At(rate) = self.limits.rate(dimension) else { return 0 };
        let burst = i128::from(self.limits.burst_of(dimension, settings)) * BILLION;
        let keeps = |plane: &usize| self.waiting[*plane] > 0 || now <= self.keep_until[*plane];
        let keeps = planes(dimension).iter().any(keeps);
        let credit = i128::from(rate) * i128::from(settings.credit());
        if keeps { burst.max(credit).max(1) } else { burst.max(1) }
    }

    fn is_open(&self, plane: usize) -> bool {
        Dimension::ALL.into_iter().all(|dimension| {
            let is_counted = planes(dimension).contains(&plane);
            let is_limited = self.limits.rate(dimension) != Limit::Max;
            !is_counted || !is_limited || self.levels[dimension as usize] > 0
        })
    }

    /// When all that count this plane are above 0, if nothing is taken.
    fn opens_at(&self, plane: usize, now: u64) -> u64 {
        let mut opens_at = now;
        for dimension in Dimension::ALL {
            let level = self.levels[dimension as usize];
            if let Limit::At(rate) = self.limits.rate(dimension)
                && planes(dimension).contains(&plane)
                && level <= 0
            {
                let wait = -level / i128::from(rate) + 1;
                opens_at =
                    opens_at.max(now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)));
            }
        }
        opens_at
    }
}

impl Reference {
    pub(super) fn new(settings: TreeSettings) -> Self {
        Self { places: BTreeMap::from([(0, Place::default())]), settings, now: 0 }
    }

    pub(super) fn path(&self, at: u32) -> Vec<u32> {
        std::iter::successors(Some(at), |at| self.places[at].parent).collect()
    }

    pub(super) fn advance(&mut self, now: u64) {
        let now = now.max(self.now);
        let elapsed = i128::from(now - self.now);
        self.now = now;
        for place in self.places.values_mut() {
            for dimension in Dimension::ALL {
                if let Limit::At(rate) = place.limits.rate(dimension) {
                    let cap = place.cap(dimension, &self.settings, now);
                    let level = &mut place.levels[dimension as usize];
                    *level = level.checked_add(elapsed * i128::from(rate)).unwrap().min(cap);
                }
            }
        }
    }

    pub(super) fn set_limits(&mut self, at: u32, limits: Limits) {
        let settings = self.settings;
        let place = self.places.get_mut(&at).unwrap();
        for dimension in Dimension::ALL {
            let level = &mut place.levels[dimension as usize];
            let (former, rate) = (place.limits.rate(dimension), limits.rate(dimension));
            let full = i128::from(limits.burst_of(dimension, &settings)) * BILLION;
            let burst = place.limits.burst_of(dimension, &settings);
            if former != rate || burst != limits.burst_of(dimension, &settings) {
                *level = if former == Limit::Max { full } else { (*level).min(full) };
            }
        }
        place.limits = limits;
        place.has_limiter = limits != Limits::MAX || place.waiting != [0; 2];
        if !place.has_limiter {
            place.keep_until = [0; 2];
        }
    }

    pub(super) fn come(&mut self, at: u32, plane: usize) {
        for at in self.path(at) {
            self.places.get_mut(&at).unwrap().waiting[plane] += 1;
        }
    }

    pub(super) fn go(&mut self, at: u32, plane: usize) {
        let keep_until = self.now.saturating_add(self.settings.credit());
        for at in self.path(at) {
            let place = self.places.get_mut(&at).unwrap();
            place.waiting[plane] -= 1;
            if place.waiting[plane] == 0 && place.has_limiter {
                place.keep_until[plane] = keep_until;
            }
        }
    }

    pub(super) fn is_open(&self, at: u32, plane: usize) -> bool {
        self.path(at).iter().all(|at| self.places[at].is_open(plane))
    }

    pub(super) fn opens_at(&self, at: u32, plane: usize) -> u64 {
        let times = self.path(at).into_iter().map(|at| self.places[&at].opens_at(plane, self.now));
        times.max().unwrap()
    }

    pub(super) fn charge(&mut self, at: u32, charge: Charge) {
        for at in self.path(at) {
            let place = self.places.get_mut(&at).unwrap();
            place.bytes[charge.plane] += charge.bytes;
            place.ops[charge.plane] += charge.ops;
            place.cost += charge.cost;
        }
        self.take(at, charge.plane, charge.bytes, charge.ops);
    }

    pub(super) fn take(&mut self, at: u32, plane: usize, bytes: u64, ops: u64) {
        for at in self.path(at) {
            let place = self.places.get_mut(&at).unwrap();
            for dimension in Dimension::ALL {
                let tokens = if dimension.is_bytes() { bytes } else { ops };
                if planes(dimension).contains(&plane) {
                    place.levels[dimension as usize] -= i128::from(tokens) * BILLION;
                }
            }
        }
    }

    pub(super) fn give_back(&mut self, at: u32, charge: Charge) {
        for at in self.path(at) {
            let place = self.places.get_mut(&at).unwrap();
            place.bytes[charge.plane] -= charge.bytes;
            place.ops[charge.plane] -= charge.ops;
            place.cost -= charge.cost;
        }
        self.give(at, charge.plane, charge.bytes, charge.ops);
    }

    pub(super) fn give(&mut self, at: u32, plane: usize, bytes: u64, ops: u64) {
        let (settings, now) = (self.settings, self.now);
        for at in self.path(at) {
            let place = self.places.get_mut(&at).unwrap();
            for dimension in Dimension::ALL {
                let tokens = if dimension.is_bytes() { bytes } else { ops };
                if planes(dimension).contains(&plane) {
                    let cap = place.cap(dimension, &settings, now);
                    let level = &mut place.levels[dimension as usize];
                    *level = (*level + i128::from(tokens) * BILLION).min(cap);
                }
            }
        }
    }

    /// Panics unless the tree says the same of every node.
    pub(super) fn compare(&self, tree: &IoTree) {
        for (&at, place) in &self.places {
            let now = tree.now;
            assert_eq!(now, self.now);
            let credit = self.settings.credit();
            let stats = tree.nodes[at].stats;
            let charged = (stats.bytes, stats.ops, stats.cost);
            assert_eq!(charged, (place.bytes, place.ops, place.cost), "charged to {at}");
            assert_eq!(tree.limits_of(at), place.limits);
            // A copy: the tree itself is only looked at when it has a reason to.
            let mut limiter = tree.nodes[at].limiter.clone();
            if let Some(limiter) = &mut limiter {
                limiter.refill(now, tree.nodes[at].waiting, credit);
            }
            for dimension in Dimension::ALL {
                if place.limits.rate(dimension) != Limit::Max {
                    let level = limiter.as_ref().unwrap().buckets[dimension as usize].level();
                    let expected = place.levels[dimension as usize];
                    assert_eq!(level, expected, "{} of {at}", dimension.name());
                }
            }
        }
    }
}
