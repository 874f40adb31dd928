//! The two trees, what is always the same about them, and the threads that move controllers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use fief_core::{
    Cgroup, Charge, Controller, CssId, EditError, Hierarchy, MemberPolicy, RebindError,
    RebindOptions, Reclaimer, Registry, Removal, RemoveError, Task,
};

use super::{Counts, Load, Outcome};
use crate::{
    stress::{
        Failed, LIMIT, Progress, Random,
        ledger::{CHARGES, Canary, Ledger, Watch, strictly},
    },
    sync::{Arc, AtomicBool, Mutex, Ordering, lock, thread},
};

/// Parents of the groups that come and go.
const PARENTS: usize = 2;
/// Groups that are shown to readers when their members have gone.
const RUINS: usize = 4;
/// The name of the group where no reader finds anybody.
pub(super) const TRAP: &str = "trap";
/// Places for tasks that come and go, for each writer.
pub(super) const SEATS: usize = 8;

/// A group in either tree.
pub(super) type Pair = [Cgroup; 2];

/// A group that stays, and the tasks that stay in it.
#[derive(Debug)]
pub(super) struct Still {
    pub(super) name: String,
    pub(super) groups: Pair,
    pub(super) tasks: Vec<Task>,
    /// The css of those controllers that move.
    ids: [CssId; 3],
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) registry: Registry,
    pub(super) trees: [Hierarchy; 2],
    /// Two that move together, and one that moves alone.
    pub(super) movers: [Controller<Watch>; 3],
    /// One that is bound to the first tree, or not.
    pub(super) guest: Controller<Watch>,
    pub(super) stills: Vec<Still>,
    pub(super) parents: Vec<Pair>,
    /// A task that goes into the trap of the tree that the first two have left, and is out of it before they
    /// come back: it never has the css that is shown there.
    pub(super) rover: Task,
    trap: Pair,
    /// Tasks that come and go, where readers find them.
    pub(super) seats: Vec<Mutex<Option<Arc<Task>>>>,
    /// Groups that were left to the agents last.
    ruins: Mutex<VecDeque<Pair>>,
    pub(super) ledger: Arc<Ledger>,
    stop: AtomicBool,
    counts: Mutex<Counts>,
    refused: Mutex<Option<String>>,
}

impl Field {
    pub(super) fn new(load: &Load) -> Result<Self, Failed> {
        let ledger = Arc::new(Ledger::default());
        let registry =
            Registry::builder().barrier(load.barrier).reclaimer(Reclaimer::Thread).build();
        let trees = [registry.create_hierarchy("one")?, registry.create_hierarchy("other")?];
        let register = |name| registry.register(Watch::new(name, &ledger));
        let movers = [register("first")?, register("second")?, register("alone")?];
        let guest = register("guest")?;
        for controller in &movers {
            controller.bind(&trees[0])?;
        }
        let roots = [trees[0].root(), trees[1].root()];
        let parents =
            (0..PARENTS).map(|index| create(&registry, &roots, &format!("d{index}"), &[]));
        let parents = parents.collect::<Result<Vec<_>, _>>()?;
        for group in parents.iter().flatten() {
            group.set_notify_on_release(true)?;
        }
        let (rover, trap) = (registry.create_task("rover")?, create(&registry, &roots, TRAP, &[])?);
        // Waited for, and never used: nobody is told of it, whatever is moved.
        create(&registry, &parents[0], "idle", &[])?;
        let mut stills = Vec::new();
        let mut houses = Vec::new();
        for index in 0..load.groups {
            if index % 10 == 0 {
                houses.push(create(&registry, &roots, &format!("h{index}"), &[])?);
            }
            let above = houses.last().unwrap_or(&roots);
            stills.push(Still::new(&registry, &movers, above, index, load.members)?);
        }
        let seats = (0..load.writers * SEATS).map(|_| Mutex::default()).collect();
        let stop = AtomicBool::new(false);
        let (counts, refused) = (Mutex::default(), Mutex::default());
        let field = Self {
            registry,
            trees,
            movers,
            guest,
            stills,
            parents,
            rover,
            trap,
            seats,
            ruins: Mutex::default(),
            ledger,
            stop,
            counts,
            refused,
        };
        Ok(field)
    }

    pub(super) fn stopped(&self) -> bool {
        // Ordering: Relaxed: a little later will do.
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        // Ordering: Relaxed: see `stopped`.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the load for a refusal that nobody has earned.
    pub(super) fn refuse_if(&self, result: Result<(), Failed>) {
        if let Err(error) = result {
            lock(&self.refused).get_or_insert_with(|| error.to_string());
            self.stop();
        }
    }

    pub(super) fn add(&self, of: impl FnOnce(&mut Counts)) {
        of(&mut lock(&self.counts));
    }

    /// Creates a group in both trees, and has tasks join it.
    pub(super) fn create(&self, above: &Pair, name: &str, tasks: &[&Task]) -> Result<Pair, Failed> {
        self.add(|counts| counts.created += 1);
        create(&self.registry, above, name, tasks)
    }

    /// Leaves a group to the agents, and shows it to readers.
    pub(super) fn leave(&self, pair: Pair) {
        let mut ruins = lock(&self.ruins);
        ruins.push_back(pair);
        let forgotten = if ruins.len() > RUINS { ruins.pop_front() } else { None };
        drop((ruins, forgotten));
    }

    /// Returns one of the groups that were left to the agents last, if there are any.
    pub(super) fn ruin(&self, random: &mut Random) -> Option<Pair> {
        let ruins = lock(&self.ruins);
        ruins.get(random.below(ruins.len().max(1))).cloned()
    }

    /// Removes a group from both trees; returns whether that was done.
    pub(super) fn remove(&self, pair: &Pair, removal: Removal) -> Result<bool, Failed> {
        let record = |edit: &mut fief_core::Edit<'_>| {
            pair.iter().for_each(|group| edit.remove(group, removal));
        };
        let removed = if removal == Removal::Strict {
            strictly(|| self.registry.edit(record))
        } else {
            self.registry.edit(record)
        };
        match removed {
            Ok(_) => Ok(true),
            // Somebody was faster, or is there.
            Err(EditError::Remove(
                RemoveError::InUse { .. } | RemoveError::Busy { .. } | RemoveError::Removed { .. },
            )) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves the controllers back and forth.
    pub(super) fn rebind(
        &self,
        rebinds: u64,
        mut random: Random,
        progress: &mut Progress,
    ) -> Result<(), Failed> {
        let [first, second, alone] = &self.movers;
        let roots: Vec<_> =
            self.movers.iter().map(|mover| mover.root().map(|css| css.id())).collect();
        for turn in 0..rebinds {
            let Counts { views, created, by_agents, .. } = *lock(&self.counts);
            let line = || {
                format!(
                    "{turn} rebinds, {views} views, {by_agents} of {created} removed by agents, css: {}",
                    self.ledger
                )
            };
            if !progress.tick(line) || self.ledger.violations().is_some() || self.stopped() {
                break;
            }
            self.move_to(&[first, second], turn + 1, random.below(2) == 0)?;
            self.add(|counts| counts.pairs += 1);
            self.rover.join(&self.trap[usize::from(turn % 2 == 1)])?;
            if random.below(2) == 0 {
                let is_there = alone.hierarchy().as_ref() == Some(&self.trees[1]);
                self.move_to(&[alone], u64::from(!is_there), random.below(2) == 0)?;
                self.add(|counts| counts.singles += 1);
            }
            let now: Vec<_> =
                self.movers.iter().map(|mover| mover.root().map(|css| css.id())).collect();
            self.ledger
                .assert(now == roots, || format!("the roots were {roots:?}, and are {now:?}"));
            self.stills[random.below(self.stills.len())].check(&self.movers, &self.ledger);
            self.rover.leave(&self.trees[usize::from(turn % 2 == 1)])?;
        }
        Ok(())
    }

    /// Moves controllers to the first or the second tree, whoever sits where.
    fn move_to(
        &self,
        controllers: &[&Controller<Watch>],
        turn: u64,
        is_strict: bool,
    ) -> Result<(), Failed> {
        let target = &self.trees[usize::from(turn % 2 == 1)];
        let controllers: Vec<&dyn fief_core::AnyController> =
            controllers.iter().map(|one| *one as _).collect();
        if is_strict {
            match self.registry.rebind(&controllers, target, &RebindOptions::new()) {
                Err(RebindError::Members(_)) => self.add(|counts| counts.refused += 1),
                other => return Ok(other?),
            }
        }
        let options = RebindOptions::new().members(MemberPolicy::Move);
        Ok(self.registry.rebind(&controllers, target, &options)?)
    }

    /// Binds the guest to the populated tree, and unbinds it.
    pub(super) fn bind_and_unbind(&self) -> Result<(), Failed> {
        while !self.stopped() {
            self.guest.bind(&self.trees[0])?;
            self.add(|counts| counts.binds += 1);
            thread::sleep(Duration::from_micros(200));
            self.guest.unbind()?;
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Iterates groups and members: those that stay are all there, once.
    pub(super) fn walk(&self) {
        while !self.stopped() {
            for still in &self.stills {
                for group in &still.groups {
                    let mut members: Vec<_> = group.members().iter().map(|task| task.id).collect();
                    members.sort_unstable();
                    let is_right = members.iter().copied().eq(still.tasks.iter().map(Task::id));
                    self.ledger.assert(is_right, || format!("{group:?} has members {members:?}"));
                }
            }
            for tree in &self.trees {
                let stills =
                    tree.root().descendants_pre().filter(|group| group.name().starts_with('s'));
                let count = stills.count();
                let is_right = count == self.stills.len();
                self.ledger.assert(is_right, || format!("{count} groups that stay"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Receives notices until the tree is destroyed; removes what is told, in both.
    pub(super) fn receive(&self, tree: usize) {
        for notice in &self.trees[tree].notices() {
            let path = notice.path();
            self.ledger.assert(!path.ends_with("idle"), || format!("{path} was told"));
            self.add(|counts| counts.notices += 1);
            let Some(group) = notice.accept() else { continue };
            let Ok(other) = self.trees[1 - tree].lookup(&path) else { continue };
            if group.name().starts_with('g') {
                match self.remove(&[group, other], Removal::Strict) {
                    Ok(is_removed) => self.add(|counts| counts.by_agents += u64::from(is_removed)),
                    Err(error) => self.refuse_if(Err(error)),
                }
            }
        }
    }

    /// Compares what is charged with who holds it, gives it back, and waits until agents have removed all
    /// groups that were left to them.
    pub(super) fn become_quiet(&self, held: Vec<Vec<Charge<Canary>>>) -> Result<(), Failed> {
        if let Some(refused) = lock(&self.refused).take() {
            return Err(refused.into());
        }
        let charges: Vec<_> = held.into_iter().flatten().collect();
        for mover in &self.movers {
            let root = mover.root().ok_or("a controller without a root")?;
            let of_mover = charges.iter().filter(|charge| has_root(charge, &root));
            let sum: u64 = of_mover.map(Charge::amount).sum();
            let current = CHARGES.counter(&root).current();
            self.ledger.assert(current == sum, || format!("{current} is charged, {sum} held"));
        }
        drop(charges);
        for mover in &self.movers {
            let current = mover.root().map(|root| CHARGES.counter(&root).current());
            self.ledger.assert(current == Some(0), || format!("{current:?} is charged by nobody"));
        }
        let start = Instant::now();
        loop {
            self.registry.wait_reclaimed()?;
            let all = self.trees.iter().flat_map(|tree| tree.root().descendants_pre());
            let mut left = all.filter(|group| group.name().starts_with('g'));
            let Some(first) = left.next() else { return Ok(()) };
            if let Some(violations) = self.ledger.violations() {
                return Err(violations.into());
            }
            if start.elapsed() > LIMIT / 4 {
                return Err(format!("{} groups never told: {first:?}", left.count() + 1).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Destroys the trees, with all that is in them.
    pub(super) fn destroy(&self) -> Result<(), Failed> {
        let roots = self.trees.each_ref().map(Hierarchy::root);
        for still in &self.stills {
            for task in &still.tasks {
                self.registry.edit(|edit| roots.iter().for_each(|root| edit.join(task, root)))?;
            }
        }
        for tree in &self.trees {
            for group in tree.root().children() {
                group.remove_subtree(Removal::Detach)?;
            }
        }
        self.trees.iter().try_for_each(|tree| Ok(tree.destroy()?))
    }

    /// Ends everything, and compares the sums.
    pub(super) fn finish(self, seconds: f64) -> Result<Outcome, Failed> {
        let Self { registry, movers, guest, stills, ledger, counts, .. } = self;
        drop(stills);
        for controller in movers.into_iter().chain([guest]) {
            controller.unregister()?;
        }
        registry.wait_reclaimed()?;
        let (stats, counts) = (registry.stats(), *lock(&counts));
        if stats.css_freed != stats.css_created || stats.css_released != stats.css_created {
            return Err(format!("a css was lost: {stats:?}").into());
        }
        if stats.notices != counts.notices || stats.hook_panics > 0 {
            return Err(format!("{} notices received: {stats:?}", counts.notices).into());
        }
        Ok(Outcome { counts, seconds, stats, ledger })
    }
}

impl Still {
    fn new(
        registry: &Registry,
        movers: &[Controller<Watch>; 3],
        above: &Pair,
        index: usize,
        members: usize,
    ) -> Result<Self, Failed> {
        let name = format!("s{index}");
        let tasks = (0..members).map(|task| registry.create_task(&format!("{name}.{task}")));
        let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        let groups = create(registry, above, &name, &tasks.iter().collect::<Vec<_>>())?;
        let id = |mover: &Controller<Watch>| mover.css(&groups[0]).map(|css| css.id());
        let [first, second, alone] = movers.each_ref().map(id);
        let missing = "a new group without a css";
        let ids = [first.ok_or(missing)?, second.ok_or(missing)?, alone.ok_or(missing)?];
        Ok(Self { name, groups, tasks, ids })
    }

    /// The group has the css that it always had, in the tree where each controller is.
    fn check(&self, movers: &[Controller<Watch>; 3], ledger: &Ledger) {
        for (mover, id) in movers.iter().zip(self.ids) {
            let shown = self.groups.each_ref().map(|group| mover.css(group).map(|css| css.id()));
            let is_right = shown == [Some(id), None] || shown == [None, Some(id)];
            ledger.assert(is_right, || format!("{} had css {id:?}, and has {shown:?}", self.name));
        }
    }
}

fn create(registry: &Registry, above: &Pair, name: &str, tasks: &[&Task]) -> Result<Pair, Failed> {
    let (edited, drafts) = registry.edit(|edit| {
        above.each_ref().map(|parent| {
            let draft = edit.create(parent, name);
            tasks.iter().for_each(|task| edit.join(task, draft));
            draft
        })
    })?;
    let [one, other] = drafts.map(|draft| edited.cgroup(draft).cloned());
    Ok([one.ok_or("a group was not created")?, other.ok_or("a group was not created")?])
}

/// Returns whether a charge is to a css below `root`.
fn has_root(charge: &Charge<Canary>, root: &fief_core::Css<Canary>) -> bool {
    let mut css: &fief_core::Css<Canary> = charge.css();
    while let Some(parent) = css.parent() {
        css = parent;
    }
    css.id() == root.id()
}
