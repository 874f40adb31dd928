//! A cache that gives memory back when queries need it: `moka` under the memory controller.
//!
//! The cache has no share of its own: it takes what nobody needs, and is asked for it, when
//! a charge finds no room, and not before. Any cache that can drop entries when told to will do.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{error::Error, sync::Arc};

use fief_core::{CssRef, Limit, Registry};
use fief_memory::{
    Charge, Memory, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer, SharedReservation,
};
use moka::sync::Cache;

/// Pages by number.
type Pages = Cache<u64, Arc<[u8]>>;

/// How large a page is.
const PAGE: usize = 64 << 10;

/// A cache, and what it has charged.
struct PageCache {
    pages: Pages,
    held: Arc<SharedReservation>,
}

impl PageCache {
    /// Makes an empty cache that is charged to `css`.
    fn new(css: &MemoryCss) -> Arc<Self> {
        let held = Arc::new(css.reserve_shared());
        // Whatever becomes of an entry, the cache says so here once.
        let given_back = Arc::clone(&held);
        let pages = Cache::builder()
            .eviction_listener(move |_page, bytes: Arc<[u8]>, _cause| {
                given_back.shrink(bytes.len() as u64);
            })
            .build();
        Arc::new(Self { pages, held })
    }

    /// Returns a page, from the cache or made anew; it stays there if there is room.
    fn page(&self, number: u64) -> Arc<[u8]> {
        if let Some(page) = self.pages.get(&number) {
            return page;
        }
        let page: Arc<[u8]> = vec![0; PAGE].into();
        // Before it is there: so the cache never has more than it has charged.
        if self.held.try_grow(PAGE as u64).is_ok() {
            self.pages.insert(number, Arc::clone(&page));
        }
        page
    }
}

impl Reclaimer for PageCache {
    fn pass(&self) -> Pass {
        Pass::Evict
    }

    fn reclaimable(&self) -> u64 {
        self.held.used()
    }

    fn reclaim(&self, want: u64, _cx: &ReclaimCx<'_>) -> Reclaimed {
        let before = self.held.used();
        let mut left = want;
        for (page, bytes) in &self.pages {
            if left == 0 {
                break;
            }
            self.pages.invalidate(&*page);
            left = left.saturating_sub(bytes.len() as u64);
        }
        self.pages.run_pending_tasks(); // has it tell the listener
        Reclaimed::Done(before - self.held.used())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let process = registry.create_hierarchy("process")?;
    let memory = registry.register(Memory::new())?;
    memory.bind(&process)?;
    let budget = memory.root().ok_or("no root")?;
    budget.set_max(Limit::At(64 << 20));
    let css = |name: &str| -> Result<CssRef<MemoryCss>, Box<dyn Error>> {
        let group = process.root().create_child(name)?;
        Ok(memory.css(&group).ok_or("removed")?)
    };
    let (cached, queries) = (css("cache")?, css("queries")?);
    cached.set_min(Limit::At(8 << 20)); // what no query is to get

    let cache = PageCache::new(&cached);
    let _registered = cached.add_reclaimer(Arc::clone(&cache) as Arc<dyn Reclaimer>);
    for page in 0..2_000 {
        cache.page(page);
    }
    println!("the cache has {} of {} MiB", cached.current() >> 20, 64);

    // A query asks for what it needs, and the cache makes room.
    queries.charge_with(40 << 20, Charge::Reclaim)?;
    println!("a query has {}, the cache {} MiB", queries.current() >> 20, cached.current() >> 20);

    // What the cache is to keep is kept.
    let refused = queries.charge_with(20 << 20, Charge::Reclaim).expect_err("no room");
    println!("{refused}");
    println!("the cache has {} MiB", cached.current() >> 20);

    queries.uncharge(40 << 20);
    for page in 0..2_000 {
        cache.page(page);
    }
    println!("the query is over, the cache has {} MiB", cached.current() >> 20);
    Ok(())
}
