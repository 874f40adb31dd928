//! The bytes that threads charge and give back under load, counted by `fief-memory`; and a second book.
//!
//! Each thread writes down, for each css, what it has charged less what it has given back: less than nothing,
//! if it gave back what others charged. At rest the sums of all books are what groups are to show; what
//! is held of a removed group, its nearest ancestor that is online.

use std::{
    collections::{HashMap, VecDeque},
    iter, mem,
};

use fief_core::{Cgroup, Controller, Css, CssId, CssRef, Task, WeakCss};
use fief_memory::{Memory, MemoryCss};

use super::{below, refuse};
use crate::{
    refusal::Failure,
    stress::Random,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock, thread},
};

/// The controller, once there is one, and everybody's books.
#[derive(Debug, Default)]
pub(super) struct Till {
    controller: Mutex<Option<Controller<Memory>>>,
    books: Mutex<Vec<Arc<Book>>>,
    /// Charges that whoever comes by gives back.
    left: Mutex<Vec<Held>>,
    /// What the script itself holds.
    own: Mutex<Vec<Held>>,
    own_book: Book,
    charged: AtomicU64,
    refused: AtomicU64,
}

/// What one thread has charged less what it has given back.
#[derive(Debug, Default)]
struct Book(Mutex<HashMap<CssId, (WeakCss<MemoryCss>, i64)>>);

/// Bytes that are charged to a group.
#[derive(Debug)]
struct Held {
    css: CssRef<MemoryCss>,
    bytes: u64,
}

/// A thread's charges, and its book.
#[derive(Debug)]
pub(super) struct Purse<'t> {
    till: &'t Till,
    book: Arc<Book>,
    held: VecDeque<Held>,
}

impl Till {
    pub(super) fn set(&self, controller: Controller<Memory>) {
        *lock(&self.controller) = Some(controller);
    }

    pub(super) fn controller(&self) -> Option<Controller<Memory>> {
        lock(&self.controller).clone()
    }

    /// Charges granted, and refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        // Ordering: Relaxed, here and below: counts.
        (self.charged.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Charges `bytes` for the script itself.
    pub(super) fn charge(&self, group: &Cgroup, bytes: u64) -> Result<(), Failure> {
        let css = self.css(group)?;
        css.try_charge(bytes).map_err(|refused| refuse(refused.to_string()))?;
        self.charged.fetch_add(1, Ordering::Relaxed);
        self.own_book.add(&css, bytes);
        lock(&self.own).push(Held { css, bytes });
        Ok(())
    }

    /// Gives back `bytes` of what the script has charged to a group, by however many charges.
    pub(super) fn uncharge(&self, group: &Cgroup, bytes: u64) -> Result<(), Failure> {
        let css = self.css(group)?;
        let mut own = lock(&self.own);
        let held: u64 =
            own.iter().filter(|held| held.css.id() == css.id()).map(|it| it.bytes).sum();
        if held < bytes {
            let path = group.path();
            return Err(refuse(format!("the script holds {held} bytes of {path}, not {bytes}")));
        }
        own.retain(|held| held.css.id() != css.id());
        css.uncharge(bytes);
        self.own_book.take(&css, bytes);
        own.push(Held { css, bytes: held - bytes });
        Ok(())
    }

    fn css(&self, group: &Cgroup) -> Result<CssRef<MemoryCss>, Failure> {
        let css = self.controller().and_then(|memory| memory.css(group));
        css.ok_or_else(|| refuse(format!("memory is not bound to {}", group.path())))
    }

    /// Compares what each group shows with what is held there and below, while no thread works.
    pub(super) fn compare(&self) -> Result<(), Failure> {
        let Some(controller) = self.controller() else { return Ok(()) };
        let Some(root) = controller.root() else { return Ok(()) };
        let expected = self.expected()?;
        let groups = controller.hierarchy().into_iter().flat_map(below);
        let css = groups.filter_map(|group| controller.css(&group)).chain(iter::once(root));
        for css in css {
            let (shown, held) = (exact(&css)?, expected.get(&css.id()).copied().unwrap_or(0));
            let stats = css.stats();
            let path = css.path();
            if i64::try_from(shown) != Ok(held) {
                return Err(refuse(format!("memory: {path} shows {shown}, and {held} are held")));
            }
            let was_over = stats.events_local.max_lowered_over + stats.events_local.force_over_max;
            if was_over == 0 && !stats.max.allows(shown) {
                return Err(refuse(format!("memory: {path} is above its max: {stats:?}")));
            }
            if stats.is_tainted() {
                return Err(refuse(format!("memory: {path} was found wrong: {stats:?}")));
            }
        }
        Ok(())
    }

    /// Adds the books up: for each css that is online, what is held there and below.
    fn expected(&self) -> Result<HashMap<CssId, i64>, Failure> {
        let books = lock(&self.books);
        let mut all: HashMap<CssId, (WeakCss<MemoryCss>, i64)> = HashMap::new();
        for book in books.iter().map(Arc::as_ref).chain(iter::once(&self.own_book)) {
            for (&id, (css, bytes)) in &*lock(&book.0) {
                all.entry(id).or_insert_with(|| (css.clone(), 0)).1 += bytes;
            }
        }
        let mut expected = HashMap::new();
        for (css, bytes) in all.into_values().filter(|(_, bytes)| *bytes != 0) {
            let held = css.upgrade();
            let held =
                held.ok_or_else(|| refuse(format!("{bytes} bytes of a css that is freed")))?;
            let levels = iter::successors(Some(&*held), |css: &&Css<MemoryCss>| css.parent());
            levels.for_each(|css| *expected.entry(css.id()).or_default() += bytes);
        }
        Ok(expected)
    }

    /// Gives back what is left, unbinds and unregisters, now that no thread works.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        for Held { css, bytes } in mem::take(&mut *lock(&self.own)) {
            css.uncharge(bytes);
            self.own_book.take(&css, bytes);
        }
        self.compare()?;
        let Some(controller) = lock(&self.controller).take() else { return Ok(()) };
        if let Some(root) = controller.root() {
            match exact(&root)? {
                0 => {}
                left => return Err(refuse(format!("{left} bytes were not given back"))),
            }
        }
        if controller.hierarchy().is_some() {
            controller.unbind()?;
        }
        Ok(controller.unregister()?)
    }
}

/// Returns what is charged without what is charged ahead; of threads that end meanwhile, too.
fn exact(css: &MemoryCss) -> Result<u64, Failure> {
    for _ in 0..PATIENCE {
        let (usage, inside) = css.usage_exact();
        if inside == 0 && css.stats().pockets == 0 {
            return Ok(usage);
        }
        thread::yield_now();
    }
    Err(refuse(format!("what is charged ahead cannot be called in: {:?}", css.stats())))
}

impl Book {
    fn add(&self, css: &CssRef<MemoryCss>, bytes: u64) {
        self.change(css, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn take(&self, css: &CssRef<MemoryCss>, bytes: u64) {
        self.change(css, -i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn change(&self, css: &CssRef<MemoryCss>, bytes: i64) {
        let mut book = lock(&self.0);
        book.entry(css.id()).or_insert_with(|| (CssRef::downgrade(css), 0)).1 += bytes;
    }
}

impl<'t> Purse<'t> {
    pub(super) fn new(till: &'t Till) -> Self {
        let book = Arc::new(Book::default());
        lock(&till.books).push(Arc::clone(&book));
        Self { till, book, held: VecDeque::new() }
    }

    /// Charges for `task`, gives older charges back, and leaves one to the others now and then.
    pub(super) fn turn(&mut self, task: &Task, random: &mut Random) {
        let Some(controller) = self.till.controller() else { return };
        let Some(css) = task.css(&controller) else { return };
        let most = if random.below(16) == 0 { LARGE } else { SMALL };
        let bytes = 1 + random.below(most) as u64;
        if css.try_charge(bytes).is_ok() {
            self.till.charged.fetch_add(1, Ordering::Relaxed);
            self.book.add(&css, bytes);
            self.held.push_back(Held { css, bytes });
        } else {
            self.till.refused.fetch_add(1, Ordering::Relaxed);
            let oldest = self.held.pop_front();
            self.give_back(oldest);
        }
        if self.held.len() > HELD {
            let oldest = self.held.pop_front();
            self.give_back(oldest);
        }
        if random.below(4) == 0 {
            let mut left = lock(&self.till.left);
            left.extend(self.held.pop_front());
            let theirs = if left.len() > HELD { Some(left.swap_remove(0)) } else { None };
            drop(left);
            self.give_back(theirs);
        }
    }

    fn give_back(&self, held: Option<Held>) {
        let Some(Held { css, bytes }) = held else { return };
        css.uncharge(bytes);
        self.book.take(&css, bytes);
    }
}

impl Drop for Purse<'_> {
    fn drop(&mut self) {
        while let Some(held) = self.held.pop_front().or_else(|| lock(&self.till.left).pop()) {
            self.give_back(Some(held));
        }
    }
}

/// Charges that a thread holds, and that are left to all.
const HELD: usize = 32;

/// The most bytes of most charges, and of a few.
const SMALL: usize = 4 << 10;
const LARGE: usize = 200 << 10;

/// How often to look again.
const PATIENCE: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::{Limit, Registry, Removal};

    #[test]
    fn what_a_group_shows_beyond_what_is_held_is_told() {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let web = hierarchy.root().create_child("web").unwrap();
        let till = Till::default();
        till.compare().unwrap();
        assert_eq!(till.charge(&web, 1).unwrap_err().text, "memory is not bound to /web");
        let memory = registry.register(Memory::new()).unwrap();
        till.set(memory.clone());
        memory.bind(&hierarchy).unwrap();
        till.charge(&web, 100).unwrap();
        till.charge(&web, 20).unwrap();
        till.compare().unwrap();
        till.uncharge(&web, 50).unwrap();
        till.compare().unwrap();
        let refused = till.uncharge(&web, 71).unwrap_err().text;
        assert_eq!(refused, "the script holds 70 bytes of /web, not 71");
        let css = memory.css(&web).unwrap();
        css.charge_forced(3);
        assert!(till.compare().unwrap_err().text.starts_with("memory: /"));
        css.uncharge(3);
        css.set_max(Limit::At(75));
        assert!(till.charge(&web, 6).unwrap_err().text.starts_with("memory.max of /web reached"));
        web.remove(Removal::Detach).unwrap();
        till.compare().unwrap();
        drop(css);
        till.settle().unwrap();
        assert!(till.controller().is_none());
    }
}
