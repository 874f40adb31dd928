//! A cache that gives memory back, over real charges.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use fief_core::CssRef;
use fief_memory::{Charge, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer};

/// Holds entries of one size, charged to its group.
pub(crate) struct Cache {
    pub(crate) css: CssRef<MemoryCss>,
    pub(crate) pass: Pass,
    pub(crate) entry: u64,
    pub(crate) entries: Mutex<u64>,
    pub(crate) asked: AtomicU64,
    /// Whether it was ever asked for what low would keep.
    pub(crate) was_protected: AtomicBool,
}

impl Cache {
    pub(crate) fn filled(css: CssRef<MemoryCss>, entry: u64, bytes: u64) -> Arc<Self> {
        Self::of_pass(Pass::Evict, css, entry, bytes)
    }

    pub(crate) fn of_pass(pass: Pass, css: CssRef<MemoryCss>, entry: u64, bytes: u64) -> Arc<Self> {
        let entries = bytes / entry;
        (0..entries).for_each(|_| css.try_charge(entry).expect("there is room"));
        Arc::new(Self {
            css,
            pass,
            entry,
            entries: Mutex::new(entries),
            asked: AtomicU64::new(0),
            was_protected: AtomicBool::new(false),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        *self.entries.lock().expect("nobody panics with it") * self.entry
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Reclaimer for Cache {
    fn pass(&self) -> Pass {
        self.pass
    }

    fn reclaimable(&self) -> u64 {
        self.entries.try_lock().map_or(0, |entries| *entries * self.entry)
    }

    fn reclaim(&self, want: u64, cx: &ReclaimCx<'_>) -> Reclaimed {
        let Ok(mut entries) = self.entries.try_lock() else { return Reclaimed::Busy };
        self.asked.fetch_add(1, Ordering::Relaxed);
        if cx.is_protected() {
            self.was_protected.store(true, Ordering::Relaxed);
        }
        let mut freed = 0;
        while freed < want && *entries > 0 {
            *entries -= 1;
            self.css.uncharge(self.entry);
            freed += self.entry;
        }
        Reclaimed::Done(freed)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.css.uncharge(self.bytes());
    }
}

/// Charges `bytes`, and reclaims what is lacking.
pub(crate) fn charge(css: &MemoryCss, bytes: u64) -> bool {
    css.charge_with(bytes, Charge::Reclaim).is_ok()
}
