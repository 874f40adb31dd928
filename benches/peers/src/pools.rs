//! DataFusion's memory pools: a reservation grown and shrunk.

use std::{hint::black_box, num::NonZeroUsize, sync::Arc};

use benches::pair::Pair;
use datafusion_execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryPool, TrackConsumersPool,
};

/// Bytes of a charge.
pub const BYTES: usize = 64;

/// A limit that no measurement reaches.
pub const FAR: usize = 1 << 40;

/// Consumers that an error of [`tracked`] lists: the default of DataFusion's `with_memory_limit`.
const TOP: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

/// First come, first served.
#[must_use]
pub fn greedy(limit: usize) -> Arc<dyn MemoryPool> {
    Arc::new(GreedyMemoryPool::new(limit))
}

/// An equal part for each consumer that can spill.
#[must_use]
pub fn fair(limit: usize) -> Arc<dyn MemoryPool> {
    Arc::new(FairSpillPool::new(limit))
}

/// First come, first served, with a book of who has what: DataFusion's default.
#[must_use]
pub fn tracked(limit: usize) -> Arc<dyn MemoryPool> {
    Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(limit), TOP))
}

/// A pool; each run has a consumer and a reservation of its own.
#[derive(Debug)]
pub struct Pool(pub Arc<dyn MemoryPool>);

impl Pair for Pool {
    fn run(&self, pairs: u64) {
        let consumer = MemoryConsumer::new("query").with_can_spill(true);
        let reservation = consumer.register(&self.0);
        for _ in 0..pairs {
            let reservation = black_box(&reservation);
            assert!(reservation.try_grow(BYTES).is_ok(), "the limit is far");
            reservation.shrink(BYTES);
        }
    }
}
