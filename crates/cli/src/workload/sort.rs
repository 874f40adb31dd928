//! An external merge sort, as far as memory is short.
//!
//! Entries go into a buffer that grows by a chunk at a time, each charged before it is there. What has no room
//! is sorted and written to a file as a *run*, which empties the buffer; so is what somebody else is short of.
//! In the end the runs are merged, each read a little at a time, and what comes out is hashed in its order.
//! With no runs the buffer is all there is to sort.

use std::{cmp::Reverse, collections::BinaryHeap};

use anyhow::Result;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    soak::bench::Compute,
    workload::{
        query::Expensive,
        spool::{Reader, Spool, Spooled},
    },
};

/// What memory a query may use, and what it is to do without.
pub(crate) trait Room {
    /// Has `bytes` more to use.
    fn grow(&mut self, bytes: usize, patience: Patience) -> Grown;

    /// Has `bytes` less, which are free by now.
    fn shrink(&mut self, bytes: usize);

    /// Says that what is held can be spilled, or that it cannot.
    fn offer(&mut self, bytes: usize);

    /// Returns whether somebody is short of what was offered.
    fn is_wanted(&self) -> bool;

    /// Returns whether the query is to end without an answer.
    fn is_over(&self) -> bool;

    /// Begins a file for what is spilled, and takes the request to do so, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    fn begin_spill(&mut self) -> Result<Spool>;

    /// Ends a spill of so many bytes, which are not held any more.
    fn end_spill(&mut self, bytes: usize);
}

/// Whether to wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// There is something else that can be done.
    None,
    /// There is not.
    Wait,
}

/// What became of a request for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    Granted,
    /// There is none now; not with [`Patience::Wait`].
    Refused,
    /// The query is to end without an answer.
    Over,
}

/// What a sort does when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It writes what it has to a file.
    Spills,
    /// It waits, and keeps what it has.
    Waits,
}

/// What came out of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sorted {
    rows: u64,
    /// Of all entries in their order.
    hash: u64,
}

/// A sort that takes its entries in.
pub(crate) struct Sorter<'a, C> {
    room: &'a mut dyn Room,
    cpu: &'a C,
    manner: Manner,
    /// By how many entries the buffer grows.
    chunk: usize,
    buffer: Vec<Expensive>,
    /// How many entries there is room for.
    granted: usize,
    runs: Vec<Run>,
}

/// Sorted entries in a file.
pub(crate) struct Run {
    pub(crate) file: Spooled,
    pub(crate) entries: usize,
}

/// A run that is read, with the entry that is next.
pub(crate) struct Source {
    pub(crate) reader: Reader,
    /// Entries after the next.
    pub(crate) left: usize,
}

/// Hashes entries in the order in which they come.
#[derive(Default)]
pub(crate) struct Hasher {
    rows: u64,
    hasher: Xxh3,
}

impl<'a, C: Compute> Sorter<'a, C> {
    /// A sort of `all` entries at most, computed by `cpu`.
    pub(crate) fn new(all: usize, manner: Manner, room: &'a mut dyn Room, cpu: &'a C) -> Self {
        let chunk = chunk(all);
        Self { room, cpu, manner, chunk, buffer: Vec::new(), granted: 0, runs: Vec::new() }
    }

    /// Takes `entries` in; false if the sort is to end without an answer.
    ///
    /// # Errors
    ///
    /// Those of writing files.
    pub(crate) fn extend(&mut self, entries: impl Iterator<Item = Expensive>) -> Result<bool> {
        for entry in entries {
            if self.buffer.len() == self.granted && !self.grow()? {
                return Ok(false);
            }
            self.buffer.push(entry);
        }
        if self.room.is_wanted() { self.spill() } else { Ok(true) }
    }

    /// Sorts what was taken in; `None` if the sort is to end without an answer.
    ///
    /// # Errors
    ///
    /// Those of writing and reading files.
    pub(crate) fn finish(mut self) -> Result<Option<Sorted>> {
        if self.runs.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            return self.cpu.run(move || Sorted::of(in_order(buffer).into_iter()));
        }
        if !self.buffer.is_empty() && !self.spill()? {
            return Ok(None);
        }
        let runs = std::mem::take(&mut self.runs);
        let each = (self.chunk / runs.len()).max(1);
        if self.room.grow(bytes(each * runs.len()), Patience::Wait) != Grown::Granted {
            return Ok(None);
        }
        let merged = merge(runs, bytes(each), &*self.room)?;
        Ok(merged)
    }

    /// Makes room for a chunk more.
    fn grow(&mut self) -> Result<bool> {
        loop {
            let can_spill = self.manner == Manner::Spills && !self.buffer.is_empty();
            let patience = if can_spill { Patience::None } else { Patience::Wait };
            match self.room.grow(bytes(self.chunk), patience) {
                Grown::Granted => break,
                Grown::Refused if self.spill()? => {}
                Grown::Refused => return Ok(false),
                Grown::Over => return Ok(false),
            }
        }
        self.granted += self.chunk;
        self.buffer.reserve_exact(self.chunk);
        if self.manner == Manner::Spills {
            self.room.offer(bytes(self.granted));
        }
        Ok(true)
    }

    /// Writes what is in the buffer to a file, and frees the buffer; false if that was cut short.
    fn spill(&mut self) -> Result<bool> {
        let mut spool = self.room.begin_spill()?;
        let buffer = std::mem::take(&mut self.buffer);
        let Some(buffer) = self.cpu.run(move || in_order(buffer))? else { return Ok(false) };
        self.buffer = buffer;
        for entry in &self.buffer {
            spool.write(&entry.to_bytes())?;
        }
        self.runs.push(Run { file: spool.finish()?, entries: self.buffer.len() });
        let written = bytes(self.buffer.len());
        self.buffer = Vec::new();
        self.room.shrink(bytes(self.granted));
        self.granted = 0;
        self.room.offer(0);
        self.room.end_spill(written);
        Ok(true)
    }
}

fn in_order(mut entries: Vec<Expensive>) -> Vec<Expensive> {
    entries.sort_unstable();
    entries
}

/// Merges `runs`, with `buffer` bytes for each.
fn merge(runs: Vec<Run>, buffer: usize, room: &dyn Room) -> Result<Option<Sorted>> {
    let mut hasher = Hasher::default();
    let mut sources = Vec::with_capacity(runs.len());
    let mut next = BinaryHeap::with_capacity(runs.len());
    for Run { file, entries } in runs {
        let mut source = Source { reader: file.read(buffer), left: entries };
        next.extend(source.next()?.map(|entry| Reverse((entry, sources.len()))));
        sources.push(source);
    }
    while let Some(Reverse((entry, index))) = next.pop() {
        if hasher.rows.is_multiple_of(ENTRIES_BETWEEN_LOOKS) && room.is_over() {
            return Ok(None);
        }
        hasher.add(entry);
        next.extend(sources[index].next()?.map(|entry| Reverse((entry, index))));
    }
    Ok(Some(hasher.sorted()))
}

impl Source {
    /// The next entry; `None` after the last.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub(crate) fn next(&mut self) -> Result<Option<Expensive>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let mut entry = [0; Expensive::BYTES];
        self.reader.read_exact(&mut entry)?;
        self.left = left;
        Ok(Some(Expensive::from_bytes(entry)))
    }
}

impl Sorted {
    /// The answer if these are all entries in their order.
    pub(crate) fn of(entries: impl Iterator<Item = Expensive>) -> Self {
        let mut hasher = Hasher::default();
        entries.for_each(|entry| hasher.add(entry));
        hasher.sorted()
    }
}

impl Hasher {
    pub(crate) fn add(&mut self, entry: Expensive) {
        self.rows += 1;
        self.hasher.update(&entry.to_bytes());
    }

    pub(crate) fn sorted(&self) -> Sorted {
        Sorted { rows: self.rows, hash: self.hasher.digest() }
    }
}

/// How many bytes a sort of `rows` entries uses, if it has them all in memory.
pub(crate) fn bytes(rows: usize) -> usize {
    rows * Expensive::BYTES
}

/// By how many entries a sort of `all` at most grows.
fn chunk(all: usize) -> usize {
    all.div_ceil(CHUNKS).max(1)
}

/// In how many chunks all rows would be taken in.
const CHUNKS: usize = 16;

const ENTRIES_BETWEEN_LOOKS: u64 = 4096;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use tempfile::TempDir;

    use crate::soak::bench::tests::Here;

    /// Room for so many bytes.
    pub(crate) struct Bounded {
        pub(crate) max: usize,
        pub(crate) used: usize,
        pub(crate) peak: usize,
        pub(crate) offered: usize,
        pub(crate) spills: usize,
        pub(crate) spilled: usize,
        /// Whether somebody is always short of what is offered.
        pub(crate) is_wanted: bool,
        pub(crate) is_over: bool,
        directory: TempDir,
    }

    impl Bounded {
        pub(crate) fn to(max: usize) -> Self {
            Self {
                max,
                used: 0,
                peak: 0,
                offered: 0,
                spills: 0,
                spilled: 0,
                is_wanted: false,
                is_over: false,
                directory: tempfile::tempdir().unwrap(),
            }
        }
    }

    impl Room for Bounded {
        fn grow(&mut self, bytes: usize, patience: Patience) -> Grown {
            if self.used + bytes > self.max {
                return match patience {
                    Patience::None => Grown::Refused,
                    Patience::Wait => Grown::Over,
                };
            }
            self.used += bytes;
            self.peak = self.peak.max(self.used);
            Grown::Granted
        }

        fn shrink(&mut self, bytes: usize) {
            self.used -= bytes;
        }

        fn offer(&mut self, bytes: usize) {
            self.offered = bytes;
        }

        fn is_wanted(&self) -> bool {
            self.is_wanted && self.offered > 0
        }

        fn is_over(&self) -> bool {
            self.is_over
        }

        fn begin_spill(&mut self) -> Result<Spool> {
            Spool::begin(self.directory.path())
        }

        fn end_spill(&mut self, bytes: usize) {
            self.spills += 1;
            self.spilled += bytes;
        }
    }

    fn entries(count: usize) -> Vec<Expensive> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..count).map(|row| Expensive::priced(rng.i64(0..50), row)).collect()
    }

    fn sort(count: usize, manner: Manner, room: &mut Bounded) -> Option<Sorted> {
        let mut sorter = Sorter::new(count, manner, room, &Here);
        for morsel in entries(count).chunks(100) {
            if !sorter.extend(morsel.iter().copied()).unwrap() {
                return None;
            }
        }
        sorter.finish().unwrap()
    }

    fn plainly(count: usize) -> Sorted {
        let mut all = entries(count);
        all.sort_unstable();
        Sorted::of(all.into_iter())
    }

    #[test]
    fn what_fits_is_sorted_in_memory() {
        for count in [0, 1, 16, 1000] {
            let mut room = Bounded::to(usize::MAX);
            assert_eq!(sort(count, Manner::Spills, &mut room), Some(plainly(count)), "{count}");
            assert_eq!((room.spills, room.offered), (0, room.used));
            assert!(room.used >= bytes(count) && room.used < bytes(count + 64), "{}", room.used);
        }
    }

    #[test]
    fn what_does_not_fit_is_spilled_and_merged() {
        for part in [1, 2, 3, 7, 15] {
            let mut room = Bounded::to(bytes(63) * part);
            assert_eq!(sort(1000, Manner::Spills, &mut room), Some(plainly(1000)), "{part}");
            assert_eq!((room.spilled, room.offered), (bytes(1000), 0));
            assert_eq!(room.spills, 1000_usize.div_ceil(63 * part));
            assert!(room.peak <= room.max && room.used <= bytes(63), "{}", room.used);
        }
    }

    #[test]
    fn what_others_are_short_of_is_spilled() {
        let mut room = Bounded { is_wanted: true, ..Bounded::to(usize::MAX) };
        assert_eq!(sort(1000, Manner::Spills, &mut room), Some(plainly(1000)));
        assert_eq!((room.spills, room.spilled), (10, bytes(1000)));
    }

    #[test]
    fn who_waits_does_not_spill() {
        let mut room = Bounded { is_wanted: true, ..Bounded::to(bytes(1000) / 2) };
        assert_eq!(sort(1000, Manner::Waits, &mut room), None);
        assert_eq!((room.spills, room.offered), (0, 0));
    }

    #[test]
    fn a_sort_that_is_over_has_no_answer() {
        let mut room = Bounded::to(0);
        assert_eq!(sort(1000, Manner::Spills, &mut room), None);
        let mut room = Bounded { is_over: true, ..Bounded::to(bytes(500)) };
        assert_eq!(sort(1000, Manner::Spills, &mut room), None);
    }

    #[test]
    fn the_hash_is_of_the_order_too() {
        let all = entries(100);
        let reversed = Sorted::of(all.iter().rev().copied());
        assert_ne!(Sorted::of(all.iter().copied()), reversed);
        assert_eq!(reversed.rows, 100);
    }
}
