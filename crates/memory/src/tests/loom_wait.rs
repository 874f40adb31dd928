//! Edge `waiting↔uncharge`: nobody sleeps beside room that is theirs, whoever comes, goes or gives up. Edge
//! `killed↔zero`: no group without usage stays a victim.

use std::time::Duration;

use loom::thread;

use crate::{
    line::{self, Line, Request},
    mark::Mark,
    pocket::FENCED,
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
    tests::deep,
};

/// One level, and those who wait there.
struct Book {
    key: u64,
    max: u64,
    usage: AtomicU64,
    line: Line<Arc<Bell>>,
    is_closed: AtomicBool,
}

/// Wakes a waiter.
#[derive(Debug)]
struct Bell(AtomicBool);

/// A charge that waits, as `wait.rs` has it.
struct Waiter {
    ticket: u64,
    need: u64,
    bell: Arc<Bell>,
}

/// Where a waiter has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    Room,
    Told,
    Asleep,
}

/// The keys that models go through: those of either barrier.
const KEYS: [u64; 2] = [7, 7 | FENCED];

impl Book {
    fn new(key: u64, max: u64, usage: u64) -> Arc<Self> {
        Arc::new(Self {
            key,
            max,
            usage: AtomicU64::new(usage),
            line: Line::new(key),
            is_closed: AtomicBool::new(false),
        })
    }

    fn room(&self) -> u64 {
        self.max - self.usage.load(Ordering::Relaxed)
    }

    /// As `Counter` does.
    fn charge(&self, need: u64) -> bool {
        let mut usage = self.usage.load(Ordering::Relaxed);
        while usage + need <= self.max {
            let exchanged = self.usage.compare_exchange(
                usage,
                usage + need,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchanged {
                Ok(_) => return true,
                Err(found) => usage = found,
            }
        }
        false
    }

    /// As `chain.rs` does.
    fn uncharge(&self, amount: u64) {
        self.usage.fetch_sub(amount, Ordering::Relaxed);
        line::look(self.key);
        if self.line.is_awaited() {
            ring(self.line.call(|| self.room()));
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if self.line.is_awaited() {
            ring(self.line.summon(|_| true));
        }
    }

    fn join(&self, ticket: u64, need: u64) -> Waiter {
        let request = Request { need, payer: self.key, deadline: Some(Duration::ZERO), passed: 0 };
        self.line.join(ticket, request);
        Waiter { ticket, need, bell: Arc::new(Bell(AtomicBool::new(false))) }
    }

    /// One step of a waiter that has a place.
    fn step(&self, waiter: &Waiter) -> Got {
        loop {
            if self.line.begin(waiter.ticket, Arc::clone(&waiter.bell)).is_err() {
                return Got::Asleep;
            }
            if self.is_closed.load(Ordering::Relaxed) {
                self.leave(waiter);
                return Got::Told;
            }
            let is_next = self.line.before(Some(waiter.ticket), waiter.need, self.room()) == 0;
            if is_next && self.charge(waiter.need) {
                self.leave(waiter);
                return Got::Room;
            }
            let bell = Arc::clone(&waiter.bell);
            if let Ok(called) = self.line.sleep(waiter.ticket, bell, || self.room()) {
                ring(called);
                return Got::Asleep;
            }
        }
    }

    fn leave(&self, waiter: &Waiter) {
        let left = self.line.leave(waiter.ticket, || self.room());
        left.into_iter().for_each(|left| ring(left.called));
    }
}

impl Waiter {
    fn is_called(&self) -> bool {
        self.bell.0.load(Ordering::Relaxed)
    }
}

fn ring(called: Vec<Arc<Bell>>) {
    called.iter().for_each(|bell| bell.0.store(true, Ordering::Relaxed));
}

fn both_barriers(model: impl Fn(u64) + Send + Sync + Copy + 'static) {
    for key in KEYS {
        deep(move || model(key));
    }
}

/// Either the attempt after the join sees the room, or who makes it sees the waiter.
#[test]
fn no_wake_up_is_lost() {
    both_barriers(|key| {
        let book = Book::new(key, 1, 1);
        let other = thread::spawn({
            let book = Arc::clone(&book);
            move || book.uncharge(1)
        });
        let waiter = book.join(1, 1);
        let got = book.step(&waiter);
        other.join().unwrap();
        if got == Got::Asleep {
            assert!(waiter.is_called(), "asleep beside its room");
            assert_eq!(book.step(&waiter), Got::Room);
        }
        assert_eq!(book.usage.load(Ordering::Relaxed), 1);
    });
}

/// The first is called, or about to be, and goes away: the second is called by one of those who know.
#[test]
fn who_is_called_and_goes_away_calls_the_next() {
    both_barriers(|key| {
        let book = Book::new(key, 1, 1);
        let [first, second] = [1, 2].map(|ticket| book.join(ticket, 1));
        assert_eq!([&first, &second].map(|waiter| book.step(waiter)), [Got::Asleep; 2]);
        let other = thread::spawn({
            let book = Arc::clone(&book);
            move || book.uncharge(1)
        });
        book.leave(&first);
        other.join().unwrap();
        assert!(second.is_called());
        assert_eq!(book.step(&second), Got::Room);
    });
}

/// The first needs all there is, and finds that somebody took a part; the second needs no more than the rest.
#[test]
fn who_finds_no_room_hands_on_what_there_is() {
    both_barriers(|key| {
        let book = Book::new(key, 2, 2);
        let (first, second) = (book.join(1, 2), book.join(2, 1));
        assert_eq!([&first, &second].map(|waiter| book.step(waiter)), [Got::Asleep; 2]);
        let others = [
            thread::spawn({
                let book = Arc::clone(&book);
                move || {
                    book.uncharge(2);
                    false
                }
            }),
            thread::spawn({
                let book = Arc::clone(&book);
                move || book.charge(1)
            }),
        ];
        let mut got = book.step(&first);
        let [_, is_taken] = others.map(|other| other.join().unwrap());
        if got == Got::Asleep && first.is_called() {
            got = book.step(&first);
        }
        match got {
            Got::Room => assert!(!is_taken),
            _ => assert!(is_taken && second.is_called(), "asleep beside its room"),
        }
    });
}

/// It is told by what it finds, or by being sent to look again.
#[test]
fn who_is_summoned_while_it_tries_tries_again() {
    both_barriers(|key| {
        let book = Book::new(key, 1, 1);
        let waiter = book.join(1, 1);
        let other = thread::spawn({
            let book = Arc::clone(&book);
            move || book.close()
        });
        let got = book.step(&waiter);
        other.join().unwrap();
        if got == Got::Asleep {
            assert!(waiter.is_called(), "asleep in a group that is gone");
            assert_eq!(book.step(&waiter), Got::Told);
        }
    });
}

/// The last byte goes as the group is made a victim.
#[test]
fn no_group_without_usage_stays_marked() {
    both_barriers(|key| {
        let group = Arc::new((AtomicU64::new(1), Mark::new()));
        let other = thread::spawn({
            let group = Arc::clone(&group);
            move || {
                let (usage, mark) = &*group;
                usage.fetch_sub(1, Ordering::Relaxed);
                line::look(key);
                mark.clear();
            }
        });
        let (usage, mark) = &*group;
        mark.set(key, || usage.load(Ordering::Relaxed));
        other.join().unwrap();
        assert!(!mark.is_set());
    });
}
