//! The reclaimer: releases css whose last reference is gone, and frees what no reader can see.
//!
//! A pass takes the release list, runs the `released` hooks under the structural lock, and hands
//! what is to be freed to a grace period, together with the indexes that removed groups leave
//! behind. Garbage of grace periods that are over is dropped under no lock. Passes may run side by
//! side: a css is freed before its parent, whose base reference stays in until then.
//!
//! The thread sleeps while there is nothing to do. While a grace period is open it looks at it with
//! growing pauses; what ends one is a reader that lets go of its guard, and readers signal nobody.

use std::{cell::Cell, time::Duration};

use crate::{
    bind,
    cgroup::{Node, arm},
    controller::caught,
    css::{AnyCss, cells::CssId, thread as slots},
    error::StructuralError,
    hierarchy::Hier,
    lifecycle,
    registry::{
        Engine, Tree,
        engine::{Bound, Structure, is_in_structure},
    },
    sync::{Arc, Ordering, thread},
    task::{self, TaskShared},
    world::{World, guard},
};

/// Who reclaims for a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reclaimer {
    /// A thread of the registry's own, started when there is first something to reclaim, or a group
    /// whose release is to be told. The default.
    #[default]
    Thread,
    /// The embedder, by [`Registry::reap`](crate::Registry::reap).
    ///
    /// When the registry ends while references to its css are out, a thread is started for them.
    Manual,
}

/// What waits for a grace period.
pub(crate) enum Garbage {
    /// A released css.
    Css(Arc<dyn AnyCss>),
    /// A removed group, whose index may be reused.
    Index(Arc<Node>),
    /// A destroyed hierarchy, whose index may be reused.
    Hierarchy(Arc<Hier>),
    /// A group whose rest is over.
    Rest(Arc<Node>),
}

thread_local! {
    /// The calling thread drops a css, which it would wait for in vain.
    static FREEING: Cell<bool> = const { Cell::new(false) };
}

/// Rounds of a wait that only spin.
const SPINS: u32 = 64;
/// The shortest sleep of a wait, and how long the thread lets things gather before a pass.
const NAP: Duration = Duration::from_micros(20);
/// A pass that frees more than this many css is followed by a longer sleep.
const LARGE: usize = 32;
/// How long that sleep is: while groups go by the thousand, fewer passes disturb whoever removes them.
const LARGE_NAP: Duration = Duration::from_micros(500);
/// Css that are released in one hold of the structural lock.
const HOLD: usize = 256;
/// The longest sleep of a wait.
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// A wait that grows: spins, then sleeps longer and longer.
///
/// It never yields: a thread that yields among runnable ones waits a slice for each, and one that
/// sleeps is woken by its timer.
#[derive(Debug, Default)]
struct Backoff {
    rounds: u32,
}

impl Backoff {
    fn pause(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds < SPINS {
            std::hint::spin_loop();
        } else {
            let doublings = (self.rounds - SPINS).min(10);
            thread::sleep((NAP * (1 << doublings)).min(LONGEST_NAP));
        }
    }
}

impl Engine {
    /// Sees to it that what was just retired is reclaimed; called under no lock.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.reclaimer == Reclaimer::Thread {
            self.start();
            self.mailbox.ring();
        }
    }

    /// Sees to it that somebody hears of puts to come: a group is armed. Rings nobody.
    pub(crate) fn attend(self: &Arc<Self>) {
        if self.reclaimer == Reclaimer::Thread {
            self.start();
        }
    }

    /// Starts the thread, if it does not run.
    fn start(self: &Arc<Self>) {
        // Ordering: Relaxed: one caller wins; the thread gets what it needs by its spawn.
        if self.has_thread.load(Ordering::Relaxed) || self.has_thread.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let engine = Arc::clone(self);
        let builder = thread::Builder::new().name("fief-reclaimer".to_owned());
        if builder.spawn(move || engine.run()).is_err() {
            // Without a thread the next wake tries again, and `reap` works in any case.
            self.has_thread.store(false, Ordering::Relaxed);
        }
    }

    /// The thread's life: ends when the registry has, and every css is freed.
    ///
    /// Between a ring and the pass it lets a little time go by, so that whoever removes one group
    /// after the other pays neither a system call nor a fight for the lock for each.
    fn run(&self) {
        sleep_exactly();
        let mut backoff = Backoff::default();
        loop {
            self.mailbox.hear();
            // What users' code can throw is caught where it is called; were anything else to panic,
            // the next pass goes on.
            let Ok(work) = caught(|| self.pass()) else {
                backoff.pause();
                continue;
            };
            if work.is_over {
                return self.retire_mailbox();
            }
            if work.has_progress {
                backoff = Backoff::default();
            }
            if work.is_pending {
                backoff.pause();
                continue;
            }
            if work.has_progress {
                thread::sleep(if work.freed > LARGE { LARGE_NAP } else { NAP });
            }
            if !self.mailbox.is_rung() {
                self.mailbox.sleep();
                thread::sleep(NAP);
            }
        }
    }

    /// One pass; the caller is in no hook.
    pub(crate) fn pass(&self) -> Pass {
        let (mut tree, released) = self.release_notified();
        let departed = self.bury_departed(&mut tree);
        let armed = arm::arm_emptied(self, &mut tree, HOLD);
        if !tree.retired.is_empty() {
            let world = World::clone(&tree.world);
            self.publish(&mut tree, world);
        }
        let mut garbage = std::mem::take(&mut tree.ripe);
        garbage.extend(tree.graces.close());
        let has_progress = released + armed > 0 || !garbage.is_empty();
        let (csses, unused) = sort_out(&mut tree, garbage);
        let (is_open, has_emptied) = (tree.graces.is_open(), !tree.emptied.is_empty());
        let is_over = tree.is_over() && csses.is_empty();
        drop(tree);
        // Under no lock, as these run the drops of users' values.
        let freed = csses.len();
        let parents: Vec<CssId> = csses.iter().filter_map(|css| css.parent_id()).collect();
        for css in csses {
            self.free(css);
        }
        self.let_go_of(&parents);
        self.counts.css_freed.add(freed);
        self.drop_each(departed);
        self.drop_each(unused);
        let is_pending = is_open || has_emptied || !self.mailbox.list.is_empty();
        Pass { has_progress, freed, is_pending, is_over }
    }

    /// Releases every css that was notified; returns the lock, held, and how many there were.
    ///
    /// Lets the lock go in between, so that a crowd of releases keeps nobody from it for long.
    fn release_notified(&self) -> (Structure<'_>, usize) {
        let mut released = 0;
        loop {
            let mut tree = self.lock();
            // What is taken and not yet released stays in the tree, where every pass sees it.
            let notified = self.mailbox.list.take(slots::domain());
            tree.notified.extend(notified);
            let some = tree.notified.len().min(HOLD);
            let ids: Vec<CssId> = tree.notified.drain(..some).collect();
            ids.iter().for_each(|id| lifecycle::look_at(self, &mut tree, *id));
            released += some;
            if tree.notified.is_empty() {
                return (tree, released);
            }
        }
    }

    /// Ends the tasks that were dropped where the lock could not be taken; the caller holds it, and
    /// drops what is returned when it does no more.
    pub(crate) fn bury_departed(&self, tree: &mut Tree) -> Vec<Arc<TaskShared>> {
        let departed = std::mem::take(&mut *self.departed.lock());
        for task in &departed {
            task::depart(self, tree, task);
        }
        departed
    }

    /// Counts, for each of `parents`, one child less that is not freed.
    fn let_go_of(&self, parents: &[CssId]) {
        if parents.is_empty() {
            return;
        }
        let tree = self.lock();
        for css in parents.iter().filter_map(|id| tree.css(*id)) {
            css.core().remove_child();
        }
    }

    /// Frees a css under no lock: drops its value.
    fn free(&self, css: Arc<dyn AnyCss>) {
        let id = css.core().id;
        debug_assert_eq!(Arc::strong_count(&css), 1, "a css is freed by its last owner");
        let header = css.core().header;
        let was_freeing = FREEING.replace(true);
        self.tolerate("drop", caught(|| drop(css)));
        FREEING.set(was_freeing);
        if !header.is_worn_out() {
            slots::domain().give_back_id(id);
        }
    }

    pub(crate) fn reap(&self) -> bool {
        if self.is_forked() || is_in_structure() || guard::is_held() {
            return false;
        }
        self.pass().is_pending || !self.departed.lock().is_empty()
    }

    pub(crate) fn synchronize(&self) -> Result<(), StructuralError> {
        let mut tree = self.structure("synchronize", the_registry)?;
        let world = World::clone(&tree.world);
        let number = self.publish(&mut tree, world);
        drop(tree);
        self.wait(|tree| tree.graces.is_closed(number));
        Ok(())
    }

    pub(crate) fn wait_reclaimed(&self) -> Result<(), StructuralError> {
        if is_freeing() {
            let (operation, target) = ("wait_reclaimed", the_registry());
            return Err(StructuralError::Reentrant { operation, target });
        }
        drop(self.structure("wait_reclaimed", the_registry)?);
        let mut backoff = Backoff::default();
        loop {
            let released = self.counts.css_released.get();
            // Then nobody stands between a release and what the drop of the css pushes in turn.
            let is_settled = self.counts.css_freed.get() == released;
            let is_pending = self.pass().is_pending;
            if is_settled && !is_pending && self.counts.css_released.get() == released {
                return Ok(());
            }
            backoff.pause();
        }
    }

    /// Waits, under the structural lock, until no world up to publication `number` has a reader.
    ///
    /// Garbage whose grace period ends on the way waits in [`Tree::ripe`] for the next pass, as its drop
    /// runs users' code: whoever called lets the lock go and then wakes the reclaimer.
    ///
    /// # Concurrency
    ///
    /// Blocks as long as a guard of such a world is held, or a lookup by a cache under way. That cannot be a deadlock: whoever holds a
    /// guard never waits for the structural lock (structural calls are refused, and a task's drop is
    /// handed over), and the calling thread holds none.
    pub(crate) fn wait_for_readers(&self, tree: &mut Tree, number: u64) {
        let mut backoff = Backoff::default();
        loop {
            let garbage = tree.graces.close();
            tree.ripe.extend(garbage);
            if tree.graces.is_closed(number) {
                return;
            }
            backoff.pause();
        }
    }

    fn wait(&self, is_over: impl Fn(&Tree) -> bool) {
        let mut backoff = Backoff::default();
        loop {
            self.pass();
            if is_over(&self.lock()) {
                return;
            }
            backoff.pause();
        }
    }

    /// Frees what can be freed as the registry ends, and leaves the rest to the thread.
    ///
    /// Who finds that it is over gives the mailbox away, and then nobody of this registry may look into it
    /// any more: so it is over only once the passes here are done.
    pub(crate) fn finish(self: &Arc<Self>) {
        while self.pass().has_progress {}
        let mut tree = self.lock();
        tree.is_closed = true;
        let is_over = tree.is_over();
        drop(tree);
        // Ordering: Relaxed: set by a structural call, which happened before the last handle's drop.
        let has_thread = self.has_thread.load(Ordering::Relaxed);
        match (has_thread, is_over) {
            (true, _) => {
                self.mailbox.ring();
            }
            (false, true) => self.retire_mailbox(),
            (false, false) => self.start(),
        }
    }
}

/// What a pass came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) has_progress: bool,
    /// How many css were freed.
    freed: usize,
    /// Something can be reclaimed without another call in between, a little later.
    is_pending: bool,
    /// The registry has ended and nothing is left.
    pub(crate) is_over: bool,
}

/// Returns whether the calling thread drops a css.
pub(crate) fn is_freeing() -> bool {
    FREEING.get()
}

/// What an error calls the registry.
fn the_registry() -> String {
    "the registry".to_owned()
}

/// Makes the calling thread's short sleeps as short as they are asked for.
#[cfg(target_os = "linux")]
fn sleep_exactly() {
    // Refused, a sleep takes 50 µs longer.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).ok();
}

#[cfg(not(target_os = "linux"))]
fn sleep_exactly() {}

/// Gives indexes back; returns the css and controllers that are to be dropped under no lock.
fn sort_out(tree: &mut Tree, garbage: Vec<Garbage>) -> (Vec<Arc<dyn AnyCss>>, Vec<Bound>) {
    let (mut csses, mut unused) = (Vec::new(), Vec::new());
    for garbage in garbage {
        match garbage {
            Garbage::Css(css) => {
                unused.extend(bind::one_css_freed(tree, &*css));
                csses.push(css);
            }
            Garbage::Index(node) => node.hierarchy.give_back(node.index),
            Garbage::Rest(node) => arm::rested(&node),
            Garbage::Hierarchy(hier) => {
                tree.hierarchies.try_remove(hier.index as usize);
                hier.forget();
            }
        }
    }
    (csses, unused)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        Registry, Removal,
        registry::Owner,
        sync::{AtomicBool, barrier::Barrier},
        world::{cache::Cache, guard::ReadGuard},
    };

    fn owner() -> Arc<Owner> {
        Owner::new(Barrier::Auto, Reclaimer::Manual)
    }

    /// Publishes the world as it is, and waits for the readers of the one before.
    fn republish(engine: &Engine) -> Result<(), StructuralError> {
        let mut tree = engine.structure("test", the_registry)?;
        let world = World::clone(&tree.world);
        let number = engine.publish(&mut tree, world);
        engine.wait_for_readers(&mut tree, number);
        assert!(tree.graces.is_closed(number));
        Ok(())
    }

    #[test]
    fn a_guard_on_another_thread_is_waited_for_under_the_lock() {
        let owner = owner();
        let engine = &owner.engine;
        let (held, is_held) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let guard = ReadGuard::new(&engine.views);
                held.send(()).expect("somebody waits");
                may_go.recv().expect("sent below");
                drop(guard);
            });
            is_held.recv().expect("the guard is taken");
            scope.spawn(move || {
                republish(engine).expect("no guard is held here");
                done.send(()).expect("somebody waits");
            });
            while !engine.is_locked() {
                thread::yield_now();
            }
            let early = is_done.recv_timeout(Duration::from_millis(30));
            assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout), "the guard is held");
            assert!(engine.is_locked(), "it waits under the lock");
            go.send(()).expect("the reader waits");
            is_done.recv_timeout(Duration::from_secs(30)).expect("the guard is gone");
        });
    }

    #[test]
    fn a_parked_cache_is_not_waited_for_under_the_lock_and_a_lookup_is() {
        let owner = owner();
        let engine = &owner.engine;
        let parked = Cache::new(&engine.views, engine.is_asymmetric());
        drop(parked.enter());
        let (done, is_done) = mpsc::channel();
        let there = Arc::clone(&owner);
        thread::spawn(move || done.send(republish(&there.engine)));
        let waited = is_done.recv_timeout(Duration::from_secs(30));
        waited.expect("the cache is parked").expect("no guard is held");
        let (entered, is_entered) = mpsc::channel();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let over = &over;
            scope.spawn(move || {
                let cache = Cache::new(&engine.views, engine.is_asymmetric());
                let pin = cache.enter();
                entered.send(pin.is_some()).expect("somebody waits");
                thread::sleep(Duration::from_millis(30));
                // Ordering: Relaxed: the end of the lookup that follows releases it.
                over.store(true, Ordering::Relaxed);
                drop(pin);
            });
            let is_waited_for = is_entered.recv().expect("it enters");
            republish(engine).expect("no guard is held here");
            // Ordering: Relaxed: the end of the lookup was seen.
            assert!(over.load(Ordering::Relaxed) || !is_waited_for);
        });
    }

    #[test]
    fn a_reader_that_reaps_does_not_wait_for_who_waits_for_it() {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("one").expect("the name is free");
        let group = hierarchy.root().create_child("group").expect("the name is free");
        group.remove(Removal::Detach).expect("nobody is in it");
        let guard = registry.read();
        assert!(!registry.reap(), "does nothing");
        drop(guard);
        assert_eq!(registry.stats().grace_periods, 0);
        registry.reap();
        assert!(registry.stats().grace_periods > 0);
    }

    #[test]
    fn what_is_closed_on_the_way_waits_for_the_next_pass() {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("one").expect("the name is free");
        let group = hierarchy.root().create_child("group").expect("the name is free");
        group.remove(Removal::Detach).expect("nobody is in it");
        let engine = &hierarchy.owner().engine;
        republish(engine).expect("no guard is held");
        assert_eq!(engine.lock().ripe.len(), 1, "the group's index");
        engine.pass();
        assert!(engine.lock().ripe.is_empty());
    }
}
