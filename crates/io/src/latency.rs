//! The depth that keeps latency at its target: few in flight while it is missed, one more at a time while it is not.
//!
//! Operations are slow because too many are in flight, or because the device is slow. Only the first can be helped, and
//! it costs throughput. So:
//!
//! 1. A *probe* collects how long operations took, from grant to end: one for the device's target, and one for each
//!    group that has a target of its own. A window is twice the target long, and 20 ms at least, and goes on until 16
//!    have ended.
//! 2. At its end, if nine of ten took longer than the target allows, the depth falls to 0.7 of what it is; not for a burst:
//!    each window of the last 100 ms has to have missed the target.
//! 3. If nine of ten took less than 0.75 of the target, somebody waits, and no other probe misses its target, it
//!    grows by one.
//! 4. It never leaves 1 to the depth that is configured.
//!
//! Sources: additive increase and multiplicative decrease as of TCP (Chiu and Jain, 1989), the guard as of `CoDel` (RFC 8289),
//! by the minimum over an interval.

use std::num::NonZeroU32;

/// The shortest window, in nanoseconds.
const WINDOW: u64 = 20_000_000;
/// How many have to end in a window.
const ENOUGH: usize = 16;
/// For how long a target has to be missed before the depth falls, in nanoseconds.
const GUARD: u64 = 100_000_000;
/// A probe that heard nothing for this long has no say, in nanoseconds.
const STALE: u64 = 1_000_000_000;
/// Most samples a window keeps; of more, every other one.
const SAMPLES: usize = 4_096;
/// The depth where none is configured.
pub(crate) const DEPTH: NonZeroU32 = NonZeroU32::new(64).expect("64 is not 0");

/// The depth of a device with targets.
#[derive(Debug)]
pub(crate) struct Governor {
    /// The device's target; `None` if only groups have some.
    target: Option<u64>,
    most: NonZeroU32,
    depth: NonZeroU32,
    /// By the key of who has the target; 0 is the device.
    probes: Vec<(u64, Probe)>,
}

#[derive(Debug)]
struct Probe {
    target: u64,
    begun: u64,
    samples: Vec<u64>,
    /// Only every so many is kept.
    stride: u32,
    skipped: u32,
    /// Since when each window missed the target.
    missed_since: Option<u64>,
    heard: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Missed,
    Met,
    /// With room to spare.
    Easy,
}

impl Governor {
    pub(crate) fn new(target: Option<u64>, most: Option<NonZeroU32>) -> Self {
        let most = most.unwrap_or(DEPTH);
        Self { target, most, depth: most, probes: Vec::new() }
    }

    /// Sets the most; returns the depth now.
    pub(crate) fn set_most(&mut self, most: Option<NonZeroU32>) -> NonZeroU32 {
        let was_cut = self.depth < self.most;
        self.most = most.unwrap_or(DEPTH);
        self.depth = if was_cut { self.depth.min(self.most) } else { self.most };
        self.depth
    }

    /// Returns whether the device itself has a target.
    pub(crate) fn is_target_set(&self) -> bool {
        self.target.is_some()
    }

    /// Learns that an operation took so long, of somebody with a target of its own, by key; returns the new depth, if
    /// it changes.
    pub(crate) fn note(
        &mut self,
        own: Option<(u64, u64)>,
        took: u64,
        is_waited_for: bool,
        now: u64,
    ) -> Option<NonZeroU32> {
        let Some((key, target)) = own.or(self.target.map(|target| (0, target))) else {
            return self.recover(now);
        };
        let verdict = self.probe(key, target, now).note(took, now)?;
        let before = self.depth;
        match verdict {
            Verdict::Missed => {
                let less = u32::try_from(u64::from(before.get()) * 7 / 10).unwrap_or(u32::MAX);
                self.depth = NonZeroU32::new(less).unwrap_or(NonZeroU32::MIN);
            }
            Verdict::Easy if is_waited_for && !self.is_missed_elsewhere(key, now) => {
                self.depth = before.saturating_add(1).min(self.most);
            }
            Verdict::Easy | Verdict::Met => {}
        }
        (self.depth != before).then_some(self.depth)
    }

    /// Goes back to the most, if nobody has a target any more.
    fn recover(&mut self, now: u64) -> Option<NonZeroU32> {
        if self.depth == self.most {
            return None;
        }
        self.probes.retain(|(_, probe)| !probe.is_stale(now));
        if !self.probes.is_empty() {
            return None;
        }
        self.depth = self.most;
        Some(self.depth)
    }

    fn probe(&mut self, key: u64, target: u64, now: u64) -> &mut Probe {
        self.probes.retain(|(own, probe)| *own == key || !probe.is_stale(now));
        let at = self.probes.iter().position(|(own, _)| *own == key).unwrap_or_else(|| {
            self.probes.push((key, Probe::new(target, now)));
            self.probes.len() - 1
        });
        let probe = &mut self.probes[at].1;
        if probe.target != target || probe.is_stale(now) {
            *probe = Probe::new(target, now);
        }
        probe
    }

    fn is_missed_elsewhere(&self, key: u64, now: u64) -> bool {
        let misses = |probe: &Probe| probe.missed_since.is_some() && !probe.is_stale(now);
        self.probes.iter().any(|(own, probe)| *own != key && misses(probe))
    }
}

impl Probe {
    fn new(target: u64, now: u64) -> Self {
        let samples = Vec::new();
        Self { target, begun: now, samples, stride: 1, skipped: 0, missed_since: None, heard: now }
    }

    fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.heard) > STALE
    }

    fn note(&mut self, took: u64, now: u64) -> Option<Verdict> {
        self.heard = self.heard.max(now);
        self.skipped += 1;
        if self.skipped >= self.stride {
            self.skipped = 0;
            self.samples.push(took);
        }
        if self.samples.len() >= SAMPLES {
            let mut at = 0_u32;
            self.samples.retain(|_| {
                at += 1;
                at.is_multiple_of(2)
            });
            self.stride = self.stride.saturating_mul(2);
        }
        let window = self.target.saturating_mul(2).max(WINDOW);
        let is_over = now.saturating_sub(self.begun) >= window && self.samples.len() >= ENOUGH;
        is_over.then(|| self.judge(now))
    }

    /// Ends a window.
    fn judge(&mut self, now: u64) -> Verdict {
        let at = self.samples.len() * 9 / 10;
        let (_, p90, _) = self.samples.select_nth_unstable(at);
        let p90 = *p90;
        let begun = self.begun;
        (self.begun, self.stride, self.skipped) = (now, 1, 0);
        self.samples.clear();
        if p90 <= self.target {
            self.missed_since = None;
            let is_easy = u128::from(p90) * 4 < u128::from(self.target) * 3;
            return if is_easy { Verdict::Easy } else { Verdict::Met };
        }
        let since = *self.missed_since.get_or_insert(begun);
        if now.saturating_sub(since) < GUARD {
            return Verdict::Met; // a burst, so far
        }
        Verdict::Missed
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
