//! A tenant that reads and writes the file, a MiB at a time, as fast as it goes; some of it is compressed.

use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, write::DeflateEncoder};

use super::{
    disk::{self, Way},
    member::Member,
    queries::Turn,
    tenant::Tenant,
    world::World,
};
use crate::{
    sync::Arc,
    workload::drive::{BLOCK, BULK, Buffer, CHUNK, PIECE, ROOM},
};

/// Of so many chunks, one is compressed.
const COMPRESSED: u64 = 8;

/// How much of the rows is compressed then.
const SAMPLE: usize = 256 << 10;

/// What is compressed before others may run.
const STEP: usize = 16 << 10;

/// Goes through the file, and starts over, until the tenant stops; every fourth stream writes.
///
/// # Errors
///
/// Those of reading and writing.
pub(crate) async fn run(
    world: Arc<World>,
    tenant: Arc<Tenant>,
    member: Member,
    index: u32,
) -> Result<()> {
    let (way, part) = if index % 4 == 3 { (Way::Write, ROOM) } else { (Way::Read, BULK) };
    let chunks = (part.end - part.start) / CHUNK as u64;
    let mut chunk = u64::from(index) * 7 % chunks;
    let mut buffer = Buffer::new(CHUNK);
    while tenant.is_running.is_raised() && !world.has_failed() {
        let place = part.start + chunk * CHUNK as u64;
        let copied =
            copy(Arc::clone(&world), Arc::clone(&tenant), member.clone(), buffer, place, way);
        let job = member.spawn(&world, &tenant, copied)?;
        buffer = match job.output().await? {
            Some(Ok(buffer)) => buffer,
            // It was killed, or refused as its group goes.
            Some(Err(_)) | None if !tenant.is_running.is_raised() => return Ok(()),
            Some(Err(error)) => return Err(error),
            None => Buffer::new(CHUNK),
        };
        tenant.tally.operations.add(1);
        chunk = (chunk + 1) % chunks;
    }
    Ok(())
}

/// Reads or writes one chunk, and compresses some rows if it is its turn.
async fn copy(
    world: Arc<World>,
    tenant: Arc<Tenant>,
    member: Member,
    mut buffer: Buffer,
    place: u64,
    way: Way,
) -> Result<Buffer> {
    let mut room = member.reserve(&world)?;
    room.grow_async(CHUNK as u64).await?;
    let step = if world.asks.is_raised() { PIECE } else { CHUNK };
    for at in (0..CHUNK).step_by(step) {
        let (range, offset) = (at..at + step, place + at as u64);
        let transfer = move |world: &World| {
            match way {
                Way::Write => world.drive.write(&buffer.bytes()[range], offset)?,
                Way::Read => world.drive.read(&mut buffer.bytes_mut()[range], offset)?,
            }
            Ok(buffer)
        };
        let whose = (&world, &tenant, &member);
        buffer = disk::operate(whose, (way, step as u64, offset), transfer).await?;
    }
    if way == Way::Read {
        let is_right = (0..CHUNK / BLOCK)
            .all(|block| buffer.is_block(block * BLOCK, place + (block * BLOCK) as u64));
        tenant.tally.wrong.add(u64::from(!is_right));
        if (place / CHUNK as u64).is_multiple_of(COMPRESSED) {
            let rows = world.data.text(0..world.data.len()).unwrap_or_default();
            let from = usize::try_from(place)? % rows.len().saturating_sub(SAMPLE).max(1);
            compress(rows.get(from..from + SAMPLE).unwrap_or(rows)).await?;
        }
    }
    Ok(buffer)
}

async fn compress(text: &[u8]) -> Result<()> {
    let mut encoder = DeflateEncoder::new(std::io::sink(), Compression::fast());
    let mut turn = Turn::begin();
    for step in text.chunks(STEP) {
        encoder.write_all(step)?;
        turn.maybe_end().await;
    }
    encoder.finish()?;
    Ok(())
}
