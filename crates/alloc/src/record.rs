//! The record of a group: what trailers and cells point to.
//!
//! A record has what was flushed from cells, how much of it is charged, and the charge itself. A trailer may name it long after its group and its handles are gone, and a cell even
//! after its last block; so records are *type-stable*: 64 at a time from the system allocator, never
//! given back, but handed out again. 128 bytes each.
//!
//! What a record has counted is never reset. Who gets it next begins where its two sums were equal.
//!
//! # Orderings
//!
//! Edge `record`: `add` is Release, reading is Acquire; `block.rs` says what for. Edge `handle`: the last
//! handle is dropped with Release and noticed with Acquire, so that what was allocated under any handle
//! happened before the record is retired. Edge `due`: see [`Record::leave_due`]. Edge `stack`: see
//! [`Stack`].
//!
//! # Tests
//!
//! `tests/loom_block.rs`, `tests/loom_due.rs`.

#[cfg(not(loom))]
use std::alloc::{GlobalAlloc, Layout, System};
use std::{fmt, ptr};

#[cfg(not(loom))]
use fief_memory::ForcedCharge;

#[cfg(not(loom))]
use crate::{
    block::BATCH,
    sync::{Mutex, fence},
};
use crate::{
    block::Totals,
    sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering, constructor, order},
};

/// Records in a piece of memory, which is aligned to its size.
#[cfg(not(loom))]
const CHUNK: usize = 64;

/// What a group has of the memory, and where it is charged.
#[repr(align(128))]
pub(crate) struct Record {
    allocated: AtomicU64,
    freed: AtomicU64,
    /// On, or about to be on, the stack of those that are to be settled.
    is_due: AtomicBool,
    links: [AtomicPtr<Self>; 3],
    #[cfg(not(loom))]
    book: Book,
}

/// What is not counted in, but said of a record.
#[cfg(not(loom))]
struct Book {
    /// How much of what is left is charged; written by whoever has the charge.
    settled: AtomicU64,
    /// What had been allocated, and freed, when it was last handed out.
    born: AtomicU64,
    handles: AtomicU64,
    /// Whether there is a charge.
    is_charged: AtomicBool,
    /// None, too, while somebody settles.
    charge: Mutex<Option<ForcedCharge>>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record>() == 128, "whole cache lines");

/// A list of records that anybody pushes to, and that is taken as a whole.
///
/// Which of a record's links it uses is the stack's, so a record can be on one stack of each link;
/// who pushes has seen to it that it is on none of that link.
///
/// # Invariants
///
/// The head, and the link of each record on it, is null or points to a record that lives for ever.
///
/// # Orderings
///
/// Edge `stack`: a push is Release, a look at the head Acquire, so the links behind it are seen.
#[derive(Debug)]
pub(crate) struct Stack {
    head: AtomicPtr<Record>,
    link: usize,
}

impl Record {
    constructor!(Self {
        allocated: AtomicU64::new(0),
        freed: AtomicU64::new(0),
        is_due: AtomicBool::new(false),
        links: [
            AtomicPtr::new(ptr::null_mut()),
            AtomicPtr::new(ptr::null_mut()),
            AtomicPtr::new(ptr::null_mut()),
        ],
        #[cfg(not(loom))]
        book: Book {
            settled: AtomicU64::new(0),
            born: AtomicU64::new(0),
            handles: AtomicU64::new(0),
            is_charged: AtomicBool::new(false),
            charge: Mutex::new(None),
        },
    });

    /// Returns its number among those made with it, for a place in a table.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        ptr::from_ref(self).addr() / size_of::<Self>()
    }

    /// Adds what was counted elsewhere. Lock-free: called in the allocator.
    pub(crate) fn add(&'static self, allocated: u64, freed: u64) {
        if allocated > 0 {
            // Ordering: Release (edge record). Before the other: who sees frees sees this.
            self.allocated.fetch_add(allocated, order("record_add", Ordering::Release));
        }
        if freed > 0 {
            // Ordering: Release (edge record).
            self.freed.fetch_add(freed, order("record_add", Ordering::Release));
        }
        #[cfg(not(loom))]
        if self.is_charged() && self.is_far() {
            self.make_due();
        }
    }

    /// Returns what is freed, as far as it was flushed.
    pub(crate) fn freed(&self) -> u64 {
        // Ordering: Acquire (edge record).
        self.freed.load(order("record_load", Ordering::Acquire))
    }

    /// Returns what is allocated, as far as it was flushed.
    pub(crate) fn allocated(&self) -> u64 {
        // Ordering: Acquire (edge record).
        self.allocated.load(order("record_load", Ordering::Acquire))
    }

    /// Returns both, as of one moment if that can be had soon.
    pub(crate) fn flushed(&self) -> Totals {
        let mut seen = Totals::default();
        for _ in 0..8 {
            let freed = self.freed();
            seen = Totals { allocated: self.allocated(), freed };
            if self.freed() == freed {
                break;
            }
        }
        seen
    }

    /// Has whoever takes it off the stack settle it, once however often it is asked for. Lock-free.
    pub(crate) fn make_due_on(&'static self, due: &Stack) {
        // Ordering: AcqRel (edge due): a later settling sees what was added before; and who is
        // first pushes.
        if !self.is_due.swap(true, order("due_swap", Ordering::AcqRel)) {
            due.push(self);
        }
    }

    /// Says that it is due no more; for whoever has just taken it off the stack, before looking at it.
    ///
    /// Edge `due`: whoever adds asks afterwards, by an exchange, whether it is due already; so either
    /// this exchange comes later and sees what was added, or theirs does and pushes it again. While it is on
    /// the stack nobody else clears the word, or it would be pushed twice.
    pub(crate) fn leave_due(&self) {
        // Ordering: AcqRel (edge due).
        self.is_due.swap(false, order("due_swap", Ordering::AcqRel));
    }
}

#[cfg(not(loom))]
impl Record {
    /// Makes some records that live for ever; none if memory is out.
    pub(crate) fn make() -> &'static [Self] {
        let size = size_of::<[Self; CHUNK]>();
        let Ok(layout) = Layout::from_size_align(size, size.next_power_of_two()) else {
            return &[];
        };
        // SAFETY: the layout has a size.
        let made = unsafe { System.alloc(layout) }.cast::<Self>();
        if made.is_null() {
            return &[];
        }
        for place in 0..CHUNK {
            // SAFETY: within the piece, aligned as it is, and nobody else's yet.
            unsafe { made.wrapping_add(place).write(Self::new()) };
        }
        // SAFETY: that many were just written, and are never freed.
        unsafe { std::slice::from_raw_parts(made, CHUNK) }
    }

    /// Returns whether what is charged is a batch or more from what it should be.
    fn is_far(&self) -> bool {
        // Ordering: Relaxed: whether it is worth while.
        let settled = self.book.settled.load(Ordering::Relaxed);
        self.flushed().live().abs_diff(settled) >= BATCH
    }

    /// Returns what was counted before it was last handed out.
    pub(crate) fn born(&self) -> u64 {
        // Ordering: Relaxed: set before its first handle was there.
        self.book.born.load(Ordering::Relaxed)
    }

    /// Returns how much is charged.
    pub(crate) fn settled(&self) -> u64 {
        // Ordering: Relaxed: a figure; who changes it has the charge.
        self.book.settled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_settled(&self, bytes: u64) {
        // Ordering: Relaxed: as above.
        self.book.settled.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether what is counted is charged.
    pub(crate) fn is_charged(&self) -> bool {
        // Ordering: Relaxed: set before its first handle was there.
        self.book.is_charged.load(Ordering::Relaxed)
    }

    /// Takes the charge out, unless there is none or somebody else has it.
    pub(crate) fn take_charge(&self) -> Option<ForcedCharge> {
        self.book.charge.try_lock()?.take()
    }

    /// Puts the charge back that was taken out.
    pub(crate) fn put_charge_back(&self, charge: ForcedCharge) {
        *self.book.charge.lock() = Some(charge);
    }

    /// Begins anew, with one handle, where `counted` was allocated and freed.
    pub(crate) fn hand_out(&self, counted: u64, charge: Option<ForcedCharge>) {
        // Ordering: Relaxed, all: the handle is handed to others by whatever makes that visible.
        self.book.is_charged.store(charge.is_some(), Ordering::Relaxed);
        *self.book.charge.lock() = charge;
        self.book.born.store(counted, Ordering::Relaxed);
        self.book.settled.store(0, Ordering::Relaxed);
        self.book.handles.store(1, Ordering::Relaxed);
    }

    /// Takes another handle; the caller has one.
    pub(crate) fn hold(&self) {
        // Ordering: Relaxed: the caller's handle keeps it.
        self.book.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a handle back; returns whether it was the last.
    pub(crate) fn let_go(&self) -> bool {
        // Ordering: Release (edge handle).
        let is_last = self.book.handles.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            // Ordering: Acquire (edge handle).
            fence(Ordering::Acquire);
        }
        is_last
    }

    /// Returns whether it has handles.
    pub(crate) fn is_held(&self) -> bool {
        // Ordering: Relaxed: a figure.
        self.book.handles.load(Ordering::Relaxed) > 0
    }

    /// Has the next safe point settle it. Lock-free.
    pub(crate) fn make_due(&'static self) {
        self.make_due_on(&DUE);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("flushed", &self.flushed()).finish_non_exhaustive()
    }
}

/// The record of whoever has entered nothing.
#[cfg(not(loom))]
pub(crate) static ORPHAN: Record = Record::new();

/// Records that are to be settled at the next safe point.
#[cfg(not(loom))]
pub(crate) static DUE: Stack = Stack::new(0);

/// Records whose last handle is gone, and that nobody has put into the pool yet.
#[cfg(not(loom))]
pub(crate) static RETIRED: Stack = Stack::new(1);

/// Every record that was ever handed out.
#[cfg(not(loom))]
pub(crate) static ALL: Stack = Stack::new(2);

impl Stack {
    #[cfg(not(loom))]
    pub(crate) const fn new(link: usize) -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), link }
    }

    #[cfg(loom)]
    pub(crate) fn new(link: usize) -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), link }
    }

    /// Returns whether there is nothing on it, as far as the caller can see yet.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Relaxed: a hint.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Puts a record on it, which is on none with the same link. Lock-free.
    pub(crate) fn push(&self, record: &'static Record) {
        // Ordering: Relaxed, both loads and the link: published by the exchange.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            record.links[self.link].store(head, Ordering::Relaxed);
            // INVARIANT: a `&'static Record`, and its link is what the head was.
            let new = ptr::from_ref(record).cast_mut();
            // Ordering: Release (edge stack).
            let (pushed, failed) = (order("stack_push", Ordering::Release), Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, new, pushed, failed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all records off it, latest first. Each may be pushed again as soon as it is returned.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = &'static Record> {
        // Ordering: Acquire (edge stack).
        let head = self.head.swap(ptr::null_mut(), order("stack_take", Ordering::Acquire));
        self.from(head)
    }

    /// Returns all records on it, of a stack that nothing is ever taken off.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Record> {
        // Ordering: Acquire (edge stack).
        self.from(self.head.load(Ordering::Acquire))
    }

    fn from(&self, head: *mut Record) -> impl Iterator<Item = &'static Record> {
        let (link, mut next) = (self.link, head);
        std::iter::from_fn(move || {
            // SAFETY: the type's invariant.
            let record = unsafe { next.as_ref::<'static>() }?;
            // Ordering: Relaxed: seen with the head (edge stack). Before it is handed on, as it may
            // then be pushed again.
            next = record.links[link].load(Ordering::Relaxed);
            Some(record)
        })
    }
}
