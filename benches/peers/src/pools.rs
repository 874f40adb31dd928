//! DataFusion's memory pools, by how they divide what there is.

use std::{num::NonZeroUsize, sync::Arc};

use datafusion_execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryPool, TrackConsumersPool,
};

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
