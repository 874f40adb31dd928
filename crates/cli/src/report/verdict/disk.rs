//! The invariants of the disk: no byte lost, nobody left waiting.

use crate::{report::verdict::Verdict, soak::io::Done};

/// What is compared of operations on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskBooks {
    /// Bytes and operations, read and written, as the root shows them, and as the threads know.
    at_root: [[u64; 2]; 2],
    done: [[u64; 2]; 2],
    /// Operations that wait, or are in flight, when nobody does anything any more.
    left: [u64; 2],
}

impl DiskBooks {
    pub(super) fn of(done: &Done) -> Self {
        let Done { bytes, operations, root } = *done;
        Self {
            at_root: [[root.rbytes, root.rios], [root.wbytes, root.wios]],
            done: [[bytes[0], operations[0]], [bytes[1], operations[1]]],
            left: [root.waiting, root.inflight],
        }
    }

    pub(super) fn read(&self) -> Verdict {
        self.compared("disk bytes read = done", 0)
    }

    pub(super) fn written(&self) -> Verdict {
        self.compared("disk bytes written = done", 1)
    }

    pub(super) fn left(&self) -> Verdict {
        let [waiting, in_flight] = self.left;
        Verdict::zero("disk operations waiting", waiting).and(in_flight == 0, "some are in flight")
    }

    fn compared(&self, claim: &'static str, way: usize) -> Verdict {
        let ([bytes, operations], [bytes_done, done]) = (self.at_root[way], self.done[way]);
        Verdict::equal(claim, bytes, [bytes_done]).and(operations == done, "not in as many pieces")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report::verdict) const SOUND: DiskBooks = DiskBooks {
        at_root: [[8_192, 2], [4_096, 1]],
        done: [[8_192, 2], [4_096, 1]],
        left: [0; 2],
    };

    /// Books with one claim broken each.
    pub(in crate::report::verdict) fn broken() -> [(DiskBooks, &'static str); 6] {
        let done = |read, written| DiskBooks { done: [read, written], ..SOUND };
        [
            (done([8_191, 2], [4_096, 1]), "disk bytes read = done"),
            (done([8_192, 3], [4_096, 1]), "disk bytes read = done"),
            (done([8_192, 2], [4_097, 1]), "disk bytes written = done"),
            (done([8_192, 2], [4_096, 0]), "disk bytes written = done"),
            (DiskBooks { left: [1, 0], ..SOUND }, "disk operations waiting"),
            (DiskBooks { left: [0, 1], ..SOUND }, "disk operations waiting"),
        ]
    }
}
