//! Callers in closed loops, a device with a service time, and time that exists only here.
//!
//! A task asks, waits until it is granted, keeps the device busy, is done, thinks, and asks again.
//! Deterministic: what is random comes from a seed.

use std::collections::{BTreeMap, HashMap};

use fief_io::tree::{Direction, FlowId, IoTree, NodeId, Request, TicketId, TreeSettings};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// How long the device takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Device {
    /// One after the other, as long as they cost.
    Serial,
    /// Any number at once, this long each.
    Parallel(u64),
}

/// Who looks at the tree, beside those who ask and those who are done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Exact,
    /// Nobody but a timer that comes after 20 to 100 ms, whenever it was asked for; callers do not pump.
    OnlyLate,
    /// A timer that comes after 20 to 100 ms; callers pump.
    Late,
}

#[derive(Debug)]
struct Task {
    flow: FlowId,
    request: Request,
    think: u64,
    asked_at: u64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask(usize),
    Done(usize),
    Timer,
    Sample,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) tree: IoTree,
    pub(crate) now: u64,
    device: Device,
    timer: Timer,
    free_at: u64,
    tasks: Vec<Task>,
    tickets: HashMap<TicketId, usize>,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    timer_at: u64,
    random: fastrand::Rng,
    /// The watched nodes, and their bytes and cost at every 50 ms.
    watched: Vec<NodeId>,
    pub(crate) samples: Vec<Vec<(u64, u64)>>,
    /// How long each grant took to come, by task, with when it came.
    pub(crate) waits: Vec<Vec<(u64, u64)>>,
}

pub(crate) const SAMPLE: u64 = 50 * MS;

impl Sim {
    pub(crate) fn new(settings: TreeSettings, device: Device) -> Self {
        Self {
            tree: IoTree::new(settings),
            now: 0,
            device,
            timer: Timer::Exact,
            free_at: 0,
            tasks: Vec::new(),
            tickets: HashMap::new(),
            events: BTreeMap::from([((0, 0), Event::Sample)]),
            number: 0,
            timer_at: u64::MAX,
            random: fastrand::Rng::with_seed(7),
            watched: Vec::new(),
            samples: Vec::new(),
            waits: Vec::new(),
        }
    }

    pub(crate) fn with_timer(mut self, timer: Timer) -> Self {
        self.timer = timer;
        if !matches!(timer, Timer::Exact) {
            self.at(1, Event::Timer);
        }
        self
    }

    pub(crate) fn watch(&mut self, node: NodeId) -> usize {
        self.watched.push(node);
        self.samples.push(Vec::new());
        self.watched.len() - 1
    }

    /// A child of `parent` that is watched, with this many tasks that always ask for the same.
    pub(crate) fn group(
        &mut self,
        parent: NodeId,
        weight: u32,
        tasks: usize,
        bytes: u64,
        cost: u64,
    ) -> NodeId {
        let node = self.tree.add(parent).expect("what the simulation asks for is there");
        self.tree
            .set_weight(node, weight, self.now)
            .expect("what the simulation asks for is there");
        self.watch(node);
        for _ in 0..tasks {
            self.task(node, Request::new(Direction::Read, bytes, cost), 0);
        }
        node
    }

    pub(crate) fn task(&mut self, node: NodeId, request: Request, think: u64) -> usize {
        let flow = self.tree.open_flow(node).expect("what the simulation asks for is there");
        self.tasks.push(Task { flow, request, think, asked_at: 0 });
        self.waits.push(Vec::new());
        let task = self.tasks.len() - 1;
        self.at(self.now, Event::Ask(task));
        task
    }

    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.insert((time, self.number), event);
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((time, _), event) = entry.remove_entry();
            self.now = time;
            self.step(event);
        }
        self.now = end;
    }

    fn step(&mut self, event: Event) {
        let pumps = !matches!(self.timer, Timer::OnlyLate);
        match event {
            Event::Ask(task) => {
                let Task { flow, request, .. } = self.tasks[task];
                self.tasks[task].asked_at = self.now;
                let ticket = self
                    .tree
                    .enqueue(flow, request, self.now)
                    .expect("what the simulation asks for is there");
                self.tickets.insert(ticket, task);
                if pumps {
                    self.pump();
                }
            }
            Event::Done(task) => {
                if self.tree.is_scheduled() {
                    self.tree.complete(self.tasks[task].request.cost, self.now);
                }
                self.at(self.now + self.tasks[task].think, Event::Ask(task));
                if pumps {
                    self.pump();
                }
            }
            Event::Timer => {
                if matches!(self.timer, Timer::Exact) {
                    self.timer_at = u64::MAX;
                } else {
                    let delay = self.random.u64(20 * MS..=100 * MS);
                    self.at(self.now + delay, Event::Timer);
                }
                self.pump();
            }
            Event::Sample => {
                for (node, samples) in self.watched.iter().zip(&mut self.samples) {
                    let stats =
                        self.tree.stats(*node).expect("what the simulation asks for is there");
                    samples.push((stats.bytes.iter().sum(), stats.cost));
                }
                self.at(self.now + SAMPLE, Event::Sample);
            }
        }
    }

    pub(crate) fn pump(&mut self) {
        while let Some(grant) = self.tree.pick(self.now) {
            let task =
                self.tickets.remove(&grant.ticket).expect("what the simulation asks for is there");
            let waited = self.now - self.tasks[task].asked_at;
            assert_eq!(grant.waited.total(), waited);
            self.waits[task].push((self.now, waited));
            let done = match self.device {
                Device::Parallel(time) => self.now + time,
                Device::Serial => {
                    self.free_at = self.free_at.max(self.now) + self.tasks[task].request.cost;
                    self.free_at
                }
            };
            self.at(done, Event::Done(task));
        }
        if let (Timer::Exact, Some(next)) = (self.timer, self.tree.next_at(self.now))
            && next < self.timer_at
        {
            assert!(next > self.now, "the pump left something");
            self.timer_at = next;
            self.at(next, Event::Timer);
        }
    }

    /// What each window brought: bytes (`0`) and cost (`1`), in windows of so many samples.
    pub(crate) fn windows(&self, watched: usize, from: u64, length: u64) -> Vec<(u64, u64)> {
        let step = usize::try_from(length / SAMPLE).expect("what the simulation asks for is there");
        let skip = usize::try_from(from / SAMPLE).expect("what the simulation asks for is there");
        let samples = &self.samples[watched][skip..];
        let part = |pair: &[(u64, u64)]| {
            let (first, last) = (pair[0], pair[pair.len() - 1]);
            (last.0 - first.0, last.1 - first.1)
        };
        samples.windows(step + 1).map(part).collect()
    }

    /// The share of each watched node in the cost of every window, in order of time.
    pub(crate) fn shares(&self, from: u64, length: u64) -> Vec<Vec<f64>> {
        let all: Vec<_> =
            (0..self.watched.len()).map(|at| self.windows(at, from, length)).collect();
        (0..all[0].len())
            .map(|window| {
                let costs: Vec<f64> = all.iter().map(|windows| windows[window].1 as f64).collect();
                let sum: f64 = costs.iter().sum();
                costs.iter().map(|cost| cost / sum).collect()
            })
            .collect()
    }

    /// The wait that so many in a thousand of all grants of these tasks did not exceed, of those after `from`.
    pub(crate) fn quantile(&self, tasks: &[usize], per_mille: usize, from: u64) -> u64 {
        let mut waits: Vec<u64> = tasks
            .iter()
            .flat_map(|task| &self.waits[*task])
            .filter(|(at, _)| *at >= from)
            .map(|(_, wait)| *wait)
            .collect();
        waits.sort_unstable();
        waits[(waits.len() - 1) * per_mille / 1_000]
    }
}

/// Panics unless `value` is within this part of `expected`.
#[track_caller]
pub(crate) fn assert_near(value: f64, expected: f64, part: f64, what: &str) {
    let error = value / expected - 1.0;
    assert!(error.abs() <= part, "{what}: {value} is {:.3} % off {expected}", error * 100.0);
}
