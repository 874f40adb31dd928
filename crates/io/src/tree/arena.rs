//! Values by small numbers that are given again, and names that are not: an index and a generation.

use std::ops::{Index, IndexMut};

/// No place.
pub(super) const NONE: u32 = u32::MAX;

/// How many values there can be: two bits less than an index has, so that two planes fit in one table.
pub(super) const MOST: u32 = 1 << 30;

/// Names a value: its index, and which of those that had the index it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Values that live are found by key, or by index if the caller knows that they live.
#[derive(Debug)]
pub(super) struct Arena<T> {
    values: Vec<T>,
    /// Odd while the value lives.
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl<T: Default> Arena<T> {
    pub(super) const fn new() -> Self {
        Self { values: Vec::new(), generations: Vec::new(), free: Vec::new() }
    }

    /// O(1), amortised; `None` if the arena is full.
    pub(super) fn insert(&mut self, value: T) -> Option<Key> {
        if let Some(index) = self.free.pop() {
            let at = index as usize;
            self.values[at] = value;
            self.generations[at] = self.generations[at].wrapping_add(1);
            return Some(Key { index, generation: self.generations[at] });
        }
        let index = u32::try_from(self.values.len()).ok().filter(|index| *index < MOST)?;
        self.values.push(value);
        self.generations.push(1);
        Some(Key { index, generation: 1 })
    }

    /// Takes the value out; the key names nothing from now on.
    pub(super) fn remove(&mut self, index: u32) -> T {
        let at = index as usize;
        self.generations[at] = self.generations[at].wrapping_add(1);
        self.free.push(index);
        std::mem::take(&mut self.values[at])
    }

    /// The index, if what the key names lives.
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        let is_it = self.generations.get(key.index as usize) == Some(&key.generation);
        is_it.then_some(key.index)
    }

    pub(super) fn key(&self, index: u32) -> Key {
        Key { index, generation: self.generations[index as usize] }
    }

    /// Indices so far: one more than the greatest.
    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) const fn count(&self) -> usize {
        self.values.len() - self.free.len()
    }

    #[cfg(test)]
    pub(super) fn is_live(&self, index: u32) -> bool {
        self.generations[index as usize] % 2 == 1
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.values[index as usize]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.values[index as usize]
    }
}
