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
    let permit = match world.asks.is_raised() {
        true => Some(member.stream.acquire_owned(op.at(offset)).await?),
        false => None,
    };
    // What is granted is charged, whatever becomes of it.
    let book = match (&permit, way) {
        (None, _) => &tenant.tally.unasked,
        (Some(_), Way::Read) => &tenant.tally.read,
        (Some(_), Way::Write) => &tenant.tally.written,
    };
    book.add(bytes);
    let (world, tenant) = (Arc::clone(world), Arc::clone(tenant));
    let done = spawn_blocking(move || {
        let result = timed(&tenant, || work(&world));
        // Now, and not when the job runs again: its place in flight is somebody else's.
        drop(permit);
        result
    });
    done.await?
}
