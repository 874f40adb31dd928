//! One operation on a file, done by a thread of the runtime's, after its turn came.

use anyhow::Result;
use fief_io::Op;
use tokio::task::spawn_blocking;

use super::{
    member::{Member, timed},
    tenant::Tenant,
    world::World,
};
use crate::sync::Arc;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// Asks, once operations do, and has `work` done; what was granted is in the tenant's books.
///
/// # Errors
///
/// When the group is gone, and those of `work`.
pub(crate) async fn operate<R: Send + 'static>(
    (world, tenant, member): (&Arc<World>, &Arc<Tenant>, &Member),
    (way, bytes, offset): (Way, u64, u64),
    work: impl FnOnce(&World) -> Result<R> + Send + 'static,
) -> Result<R> {
    let op = match way {
        Way::Read => Op::read(bytes),
        Way::Write => Op::write(bytes),
    };
    let (world, tenant, stream) = (Arc::clone(world), Arc::clone(tenant), member.stream.clone());
    // It waits there as well, and not in the job: whoever has a place in flight uses it at once, and gives it back at
    // once, however long the job itself waits for a CPU.
    let done = spawn_blocking(move || {
        let permit = match world.asks.is_raised() {
            true => Some(stream.acquire_blocking(op.at(offset))?),
            false => None,
        };
        // What is granted is charged, whatever becomes of it.
        let book = match (&permit, way) {
            (None, _) => &tenant.tally.unasked,
            (Some(_), Way::Read) => &tenant.tally.read,
            (Some(_), Way::Write) => &tenant.tally.written,
        };
        book.add(bytes);
        timed(&tenant, || work(&world))
    });
    done.await?
}
