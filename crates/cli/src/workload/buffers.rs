//! What tenant `backup` read back, kept for comparing, as long as nobody else needs the memory.
//!
//! The same rows are written over and over, and give the same file each time. So the bytes of the last file
//! with them are worth keeping, in pieces; they are charged to the tenant's group, and the first to go when memory
//! is short.

use std::{collections::VecDeque, mem};

use fief_memory::{MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer, Reservation};

use crate::{
    soak::tally::Tally,
    sync::{Arc, Mutex},
};

/// The buffers.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// The oldest first.
    kept: Mutex<VecDeque<Buffer>>,
    tally: Arc<Tally>,
}

/// A piece of a file, and what is charged for it.
#[derive(Debug)]
struct Buffer {
    /// Where the rows of the file begin, and where in the file the piece does.
    at: (usize, usize),
    bytes: Vec<u8>,
    memory: Reservation,
}

impl Buffers {
    /// No buffers, of the tenant that has `tally`.
    pub(crate) fn new(tally: &Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), tally: Arc::clone(tally) })
    }

    /// Keeps the bytes of the file with the rows from `first`, charged to `payer`, as far as there is room for them.
    ///
    /// Returns whether they are those of the file before, as far as that was kept; `None` if nothing was.
    pub(crate) fn keep(&self, first: usize, bytes: &[u8], payer: &MemoryCss) -> Option<bool> {
        let mut is_same = None;
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            let at = (first, index);
            if let Some(before) = self.take(at) {
                is_same = Some(is_same.unwrap_or(true) && before.bytes == piece);
                self.drop_one(before);
            }
            // No charge is made under the lock, under which charges of others come to reclaim.
            let mut memory = payer.reserve();
            if memory.grow(piece.len() as u64).is_ok() {
                self.tally.reserved.add(memory.used());
                self.kept.lock().push_back(Buffer { at, bytes: piece.to_vec(), memory });
            }
        }
        is_same
    }

    /// Drops all buffers.
    pub(crate) fn clear(&self) {
        let all = mem::take(&mut *self.kept.lock());
        for buffer in all {
            self.drop_one(buffer);
        }
    }

    /// How many bytes are kept, and charged.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_of(&self.kept.lock())
    }

    fn take(&self, at: (usize, usize)) -> Option<Buffer> {
        let mut kept = self.kept.lock();
        let index = kept.iter().position(|buffer| buffer.at == at)?;
        kept.remove(index)
    }

    /// Frees a buffer, then gives back what was charged for it; returns how much.
    fn drop_one(&self, buffer: Buffer) -> u64 {
        let Buffer { bytes, mut memory, .. } = buffer;
        drop(bytes);
        let freed = memory.free();
        self.tally.unreserved.add(freed);
        freed
    }
}

impl Reclaimer for Buffers {
    fn pass(&self) -> Pass {
        Pass::Benign
    }

    fn reclaimable(&self) -> u64 {
        self.kept.try_lock().map_or(0, |kept| bytes_of(&kept))
    }

    fn reclaim(&self, want: u64, _: &ReclaimCx<'_>) -> Reclaimed {
        let mut freed = 0;
        while freed < want {
            let Some(mut kept) = self.kept.try_lock() else { break };
            let Some(oldest) = kept.pop_front() else { break };
            // Nothing is freed or given back under the lock.
            drop(kept);
            freed += self.drop_one(oldest);
        }
        self.tally.given_way.add(freed);
        Reclaimed::Done(freed)
    }
}

fn bytes_of(kept: &VecDeque<Buffer>) -> u64 {
    kept.iter().map(|buffer| buffer.memory.used()).sum()
}

/// How large a piece is at most, in bytes.
const PIECE: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::{Limit, Registry};
    use fief_memory::Memory;

    fn with_buffers(test: impl FnOnce(&MemoryCss, &Arc<Buffers>, &Tally)) {
        let registry = Registry::new();
        let tree = registry.create_hierarchy("test").unwrap();
        let memory = registry.register(Memory::new()).unwrap();
        memory.bind(&tree).unwrap();
        let group = tree.root().create_child("backup").unwrap();
        let tally = Arc::new(Tally::default());
        test(&memory.css(&group).unwrap(), &Buffers::new(&tally), &tally);
    }

    #[test]
    fn a_file_is_compared_with_the_last_one_of_its_rows() {
        with_buffers(|css, buffers, tally| {
            let keep = |first, bytes: &[u8]| buffers.keep(first, bytes, css);
            assert_eq!(keep(0, b"one"), None);
            assert_eq!(keep(8, b"two"), None);
            assert_eq!(keep(0, b"one"), Some(true));
            assert_eq!(keep(8, b"tw"), Some(false));
            assert_eq!(buffers.bytes(), 5);
            assert!(css.current() >= 5);
            buffers.clear();
            assert_eq!((buffers.bytes(), css.current()), (0, 0));
            assert_eq!((tally.reserved.get(), tally.unreserved.get()), (11, 11));
        });
    }

    #[test]
    fn a_file_is_kept_in_pieces_as_far_as_there_is_room() {
        with_buffers(|css, buffers, tally| {
            css.set_max(Limit::At(2 * PIECE as u64));
            let mut file = vec![1; 3 * PIECE];
            assert_eq!(buffers.keep(0, &file, css), None);
            assert_eq!((buffers.bytes(), css.current()), (2 * PIECE as u64, 2 * PIECE as u64));
            // Of the last piece nothing is known.
            file[3 * PIECE - 1] = 2;
            assert_eq!(buffers.keep(0, &file, css), Some(true));
            file[PIECE] = 2;
            assert_eq!(buffers.keep(0, &file, css), Some(false));
            buffers.clear();
            assert_eq!((css.current(), tally.reserved.get()), (0, tally.unreserved.get()));
        });
    }

    #[test]
    fn the_oldest_give_way_to_others() {
        with_buffers(|css, buffers, tally| {
            let buffers_asked = Arc::clone(buffers);
            let asked = css.add_reclaimer(buffers_asked);
            assert_eq!(buffers.keep(0, &[1; 3 * PIECE], css), None);
            let piece = PIECE as u64;
            css.set_max(Limit::At(2 * piece));
            assert_eq!((buffers.bytes(), tally.given_way.get()), (2 * piece, piece));
            // The first is not there to be compared.
            assert_eq!(buffers.keep(0, &[2; PIECE], css), None);
            assert_eq!(buffers.keep(0, &[1; 3 * PIECE], css), Some(true));
            drop(asked);
        });
    }

    #[test]
    fn what_has_no_room_is_not_kept() {
        with_buffers(|css, buffers, tally| {
            css.set_max(Limit::At(2));
            assert_eq!(buffers.keep(0, b"one", css), None);
            assert_eq!(buffers.keep(0, b"one", css), None);
            assert_eq!((buffers.bytes(), css.current(), tally.reserved.get()), (0, 0, 0));
        });
    }
}
