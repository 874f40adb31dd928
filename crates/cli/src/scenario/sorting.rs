//! Sorts, in polls of about a millisecond: what has no room is written to files, and merged in the end.

use std::{cmp::Reverse, collections::BinaryHeap};

use anyhow::{Result, bail};
use fief_memory::Reservation;

use super::{
    disk::{self, Way},
    queries::{Desk, Kind, Turn, grow},
    world::World,
};
use crate::workload::{
    query::{Answer, Expensive, Query},
    sort::{Hasher, Run, Sorted, Source},
    spool::Spool,
};

/// By how many entries the buffer grows.
const CHUNK: usize = 4096;

/// How many entries are merged, or sorted, before the clock is looked at.
const STEP: usize = 1024;

/// Sorts the rows of a query.
///
/// # Errors
///
/// Those of files, and when its group is gone.
pub(crate) async fn sort(desk: &Desk, kind: Kind, query: Query) -> Result<Answer> {
    let mut room = desk.member.reserve(&desk.world)?;
    let (mut buffer, mut granted) = (Vec::new(), 0);
    let mut runs = Vec::new();
    let mut turn = Turn::begin();
    for (first, rows) in query.morsels(&desk.world.data) {
        for entry in query.shipped(first, rows) {
            if buffer.len() == granted {
                let is_refused = room.grow(bytes(CHUNK)).is_err();
                if is_refused && kind == Kind::Spill && !buffer.is_empty() {
                    runs.push(spill(desk, std::mem::take(&mut buffer)).await?);
                    room.shrink(bytes(granted));
                    granted = 0;
                }
                if is_refused {
                    grow(desk, &mut room, bytes(CHUNK)).await?;
                }
                granted += CHUNK;
                buffer.reserve_exact(CHUNK);
            }
            buffer.push(entry);
        }
        turn.maybe_end().await;
    }
    let sorted = if runs.is_empty() {
        let mut hasher = Hasher::default();
        for entries in in_order(buffer, &mut turn).await.chunks(STEP) {
            entries.iter().for_each(|entry| hasher.add(*entry));
            turn.maybe_end().await;
        }
        hasher.sorted()
    } else {
        runs.push(spill(desk, buffer).await?);
        room.free();
        merge(desk, runs, &mut room, &mut turn).await?
    };
    Ok(Answer::Sorted(sorted))
}

/// Sorts pieces that take no longer than a poll, and merges them.
async fn in_order(mut entries: Vec<Expensive>, turn: &mut Turn) -> Vec<Expensive> {
    for piece in entries.chunks_mut(STEP * 8) {
        piece.sort_unstable();
        turn.maybe_end().await;
    }
    // Sorted pieces are what a stable sort looks for.
    entries.sort();
    turn.maybe_end().await;
    entries
}

/// Writes a sorted buffer to a file, which asks for its turn on the disk.
async fn spill(desk: &Desk, buffer: Vec<Expensive>) -> Result<Run> {
    let mut turn = Turn::begin();
    let buffer = in_order(buffer, &mut turn).await;
    let (entries, size) = (buffer.len(), bytes(buffer.len()));
    let write = move |world: &World| {
        let mut spool = Spool::begin(&world.directory)?;
        buffer.iter().try_for_each(|entry| spool.write(&entry.to_bytes()))?;
        spool.finish()
    };
    let whose = (&desk.world, &desk.tenant, &desk.member);
    let file = disk::operate(whose, (Way::Write, size, 0), write).await?;
    desk.tenant.tally.spills.add(1);
    Ok(Run { file, entries })
}

/// Merges files, each through a buffer of its own.
async fn merge(
    desk: &Desk,
    runs: Vec<Run>,
    room: &mut Reservation,
    turn: &mut Turn,
) -> Result<Sorted> {
    let each = (CHUNK / runs.len()).max(1);
    grow(desk, room, bytes(each * runs.len())).await?;
    let mut hasher = Hasher::default();
    let mut sources = Vec::with_capacity(runs.len());
    let mut next = BinaryHeap::with_capacity(runs.len());
    let Ok(buffer) = usize::try_from(bytes(each)) else { bail!("a buffer is too large") };
    for Run { file, entries } in runs {
        let mut source = Source { reader: file.read(buffer), left: entries };
        next.extend(source.next()?.map(|entry| Reverse((entry, sources.len()))));
        sources.push(source);
    }
    let mut merged = 0_usize;
    while let Some(Reverse((entry, index))) = next.pop() {
        hasher.add(entry);
        next.extend(sources[index].next()?.map(|entry| Reverse((entry, index))));
        merged += 1;
        if merged.is_multiple_of(STEP) {
            turn.maybe_end().await;
        }
    }
    Ok(hasher.sorted())
}

fn bytes(entries: usize) -> u64 {
    (entries * Expensive::BYTES) as u64
}
