//! Edge `owner↔revoke`: room is given back once, whoever calls it in. Edge `ahead↔forbid`: nothing is
//! charged ahead where that is forbidden.

use loom::thread;

use crate::{
    gate::{self, Gate},
    pocket::{Called, FENCED, Pocket, Step, Turn, heavy_for},
    sync::{Arc, AtomicU64, Mutex, Ordering},
    tests::deep,
};

/// A pocket of one node, whose counter has what is in use and what is in the pocket.
struct Book {
    usage: AtomicU64,
    pocket: Pocket,
    /// The list of the node: the turn of the pocket, if it is there.
    list: Mutex<Option<Turn>>,
}

/// The keys that models go through: those of either barrier.
const KEYS: [u64; 2] = [7, 7 | FENCED];

impl Book {
    /// Makes a book in which `room` is charged ahead.
    fn new(key: u64, room: u64) -> Arc<Self> {
        let book = Self { usage: AtomicU64::new(0), pocket: Pocket::new(), list: Mutex::new(None) };
        book.fill(key, room);
        Arc::new(book)
    }

    fn fill(&self, key: u64, room: u64) {
        self.usage.fetch_add(room, Ordering::Relaxed);
        let mut list = self.list.lock();
        *list = Some(self.pocket.fill(key, room, 8));
    }

    /// The owner's slow path: settles the pocket, unless a drainer has.
    fn settle(&self) {
        if let Some(room) = self.pocket.settle() {
            *self.list.lock() = None;
            self.usage.fetch_sub(room, Ordering::Relaxed);
        }
    }

    /// Takes one; returns whether that was from the pocket.
    fn take(&self, key: u64) -> bool {
        let step = self.pocket.take(key, 1);
        if step != Step::Done && self.pocket.is_filled() && self.pocket.is_for(0) {
            self.settle();
        }
        step != Step::Missed
    }

    fn put(&self, key: u64) {
        match self.pocket.put(key, 1) {
            Step::Done => {}
            Step::Revoked => self.settle(),
            Step::Missed => {
                self.settle();
                self.usage.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// What a drainer does; returns what it got.
    fn drain(&self, key: u64) -> u64 {
        let revoked = {
            let list = self.list.lock();
            if list.is_some() {
                self.pocket.revoke();
            }
            *list
        };
        let Some(turn) = revoked else { return 0 };
        heavy_for(key);
        match self.pocket.call_in(turn) {
            Called::In(room) => {
                let mut list = self.list.lock();
                if *list == Some(turn) {
                    *list = None;
                }
                drop(list);
                self.usage.fetch_sub(room, Ordering::Relaxed);
                room
            }
            Called::Busy | Called::Gone => 0,
        }
    }

    fn usage(&self) -> u64 {
        self.usage.load(Ordering::Relaxed)
    }
}

fn both_barriers(model: impl Fn(u64) + Send + Sync + Copy + 'static) {
    for key in KEYS {
        deep(move || model(key));
    }
}

/// What is left in the end is what the owner took; nothing stays in a pocket that was called in.
#[test]
fn room_is_called_in_while_its_owner_takes() {
    both_barriers(|key| {
        let book = Book::new(key, 3);
        let drainer = thread::spawn({
            let book = Arc::clone(&book);
            move || book.drain(key)
        });
        let taken = u64::from(book.take(key)) + u64::from(book.take(key));
        drainer.join().unwrap();
        assert!(!book.pocket.is_filled(), "called in, and settled by nobody");
        assert_eq!(book.usage(), taken);
    });
}

/// The owner knows at every moment what it used, by what the room says, whoever took that.
#[test]
fn the_room_that_stays_is_what_was_taken_out() {
    both_barriers(|key| {
        let book = Book::new(key, 3);
        let drainer = thread::spawn({
            let book = Arc::clone(&book);
            move || book.drain(key)
        });
        let mut taken = 0;
        for _ in 0..2 {
            taken += u64::from(book.take(key));
            assert_eq!(3 - book.pocket.room(), taken);
        }
        let drained = drainer.join().unwrap();
        assert_eq!(3 - book.pocket.room(), taken);
        assert!(drained == 0 || drained == book.pocket.room());
    });
}

/// What is put into a pocket that is called in is given back.
#[test]
fn room_is_called_in_while_its_owner_gives() {
    both_barriers(|key| {
        let book = Book::new(key, 1);
        assert!(book.take(key));
        let drainer = thread::spawn({
            let book = Arc::clone(&book);
            move || book.drain(key)
        });
        book.put(key);
        drainer.join().unwrap();
        assert!(!book.pocket.is_filled());
        assert_eq!(book.usage(), 0);
    });
}

/// Whoever settles, it is once.
#[test]
fn two_drainers_and_the_owner_settle_once() {
    both_barriers(|key| {
        let book = Book::new(key, 2);
        let drainers = [(); 2].map(|()| {
            let book = Arc::clone(&book);
            thread::spawn(move || book.drain(key))
        });
        let taken = u64::from(book.take(key));
        for drainer in drainers {
            drainer.join().unwrap();
        }
        assert!(!book.pocket.is_filled());
        assert_eq!(book.usage(), taken);
    });
}

/// A drainer of an earlier turn leaves the next one alone.
#[test]
fn a_pocket_is_filled_again_while_a_drainer_is_late() {
    both_barriers(|key| {
        let book = Book::new(key, 2);
        let drainer = thread::spawn({
            let book = Arc::clone(&book);
            move || book.drain(key)
        });
        // The thread needs the place for another group, and comes back to this one.
        book.settle();
        book.fill(key, 4);
        let taken = u64::from(book.take(key));
        drainer.join().unwrap();
        let left = if book.pocket.is_filled() { book.pocket.look() } else { 0 };
        assert_eq!(book.usage(), taken + left);
    });
}

/// Where stock is forbidden at a level, nothing stays filled below it.
#[test]
fn a_pocket_is_filled_while_stock_is_forbidden_above() {
    both_barriers(|key| {
        let levels = Arc::new([Gate::new(), Gate::new()]);
        let list = Arc::new(Mutex::new(false));
        let filler = thread::spawn({
            let (levels, list) = (Arc::clone(&levels), Arc::clone(&list));
            move || {
                levels.iter().for_each(Gate::enter);
                gate::look_ahead(key);
                let mut is_filled = list.lock();
                if levels.iter().any(Gate::is_forbidden) {
                    drop(is_filled);
                    levels.iter().for_each(Gate::leave);
                } else {
                    *is_filled = true;
                }
            }
        });
        let [leaf, root] = &*levels;
        root.forbid(key);
        // The drain: from the top down, past what has nothing.
        if !root.is_empty() && !leaf.is_empty() {
            *list.lock() = false;
        }
        filler.join().unwrap();
        assert!(!*list.lock(), "filled where it is forbidden");
    });
}
