//! A tenant that runs queries, so many at a time; each is a group of its own, and its only member.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use fief_memory::{ChargeError, Reservation};

use super::{config::Queries, member::Member, sorting, tenant::Tenant, world::World};
use crate::{
    soak::bench,
    sync::{Arc, Count, thread},
    workload::query::{Answer, Query},
};

/// How long a poll takes, about.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// How a query uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It keeps little.
    Scan,
    /// It keeps what it reads, and writes it to a file where memory is short.
    Spill,
    /// It keeps what it reads, and waits where memory is short.
    Wait,
}

/// Everything that a query needs.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) world: Arc<World>,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) member: Member,
}

/// Runs one query after the other in each slot, until the tenant stops.
///
/// # Errors
///
/// Those of the registry and of files, and wrong answers.
pub(crate) fn run(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    queries: &Queries,
    seed: u64,
) -> Result<()> {
    let (slots, sorts) = (*queries.concurrent.get_ref(), *queries.sorts.get_ref());
    let number = Count::default();
    thread::scope(|scope| {
        let slots: Vec<_> = (0..slots)
            .map(|slot| {
                let kind = match (slot < sorts, slot % 2) {
                    (false, _) => Kind::Scan,
                    (true, 0) => Kind::Spill,
                    (true, _) => Kind::Wait,
                };
                let rng = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(slot)));
                let number = &number;
                scope.spawn(move || {
                    // At once: the others would go on until somebody joins them.
                    let worked = work(world, tenant, kind, number, rng);
                    worked.unwrap_or_else(|error| world.fail(error.context(tenant.name.clone())));
                })
            })
            .collect();
        slots
            .into_iter()
            .try_for_each(|slot| slot.join().map_err(|_| anyhow!("a slot of queries panicked")))
    })
}

fn work(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    kind: Kind,
    number: &Count,
    mut rng: fastrand::Rng,
) -> Result<()> {
    while tenant.is_running.is_raised() && !world.has_failed() {
        let all = if kind == Kind::Scan { &world.queries } else { &world.sorts };
        ensure!(!all.is_empty(), "there are no queries");
        let (query, answer) = &all[rng.usize(..all.len())];
        let name = format!("query-{}", number.next());
        let (member, groups) = match world.fork(tenant, &name) {
            Ok(made) => made,
            // Its groups may just have been removed.
            Err(_) if !tenant.is_running.is_raised() => return Ok(()),
            Err(error) => return Err(error),
        };
        let desk =
            Desk { world: Arc::clone(world), tenant: Arc::clone(tenant), member: member.clone() };
        let job = member.spawn(world, tenant, answer_to(desk, kind, *query))?;
        let found = job.join(&world.runtime)?;
        world.unfork(tenant, member, &groups)?;
        match found {
            Some(Ok(found)) => {
                tenant.tally.operations.add(1);
                tenant.tally.wrong.add(u64::from(found != *answer));
            }
            Some(Err(error)) if !is_victim(&error) => return Err(error),
            // Somebody had to go, so that others can go on; or all do.
            _ => tenant.tally.victims.add(u64::from(tenant.is_running.is_raised())),
        }
    }
    Ok(())
}

/// Whether a query was refused memory as it was chosen to give way: it hears of that first where it waits.
fn is_victim(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<ChargeError>();
    refused
        .is_some_and(|why| matches!(why, ChargeError::Killed { .. } | ChargeError::Removed { .. }))
}

/// Runs a query in polls of about a millisecond.
async fn answer_to(desk: Desk, kind: Kind, query: Query) -> Result<Answer> {
    match kind {
        Kind::Scan => scan(&desk, query).await,
        Kind::Spill | Kind::Wait => sorting::sort(&desk, kind, query).await,
    }
}

async fn scan(desk: &Desk, query: Query) -> Result<Answer> {
    let mut partial = query.begin().ok_or_else(|| anyhow!("a sort is no scan"))?;
    let mut room = desk.member.reserve(&desk.world)?;
    let mut turn = Turn::begin();
    for (first, rows) in query.morsels(&desk.world.data) {
        let bytes = size_of_val(rows) as u64;
        grow(desk, &mut room, bytes).await?;
        let copy = rows.to_vec();
        partial.add(first, &copy, query.until());
        drop(copy);
        room.shrink(bytes);
        turn.maybe_end().await;
    }
    Ok(partial.finish())
}

/// Waits for room, and counts that it did.
///
/// # Errors
///
/// When the group is gone.
pub(crate) async fn grow(desk: &Desk, room: &mut Reservation, bytes: u64) -> Result<()> {
    if room.grow(bytes).is_err() {
        desk.tenant.tally.waits.add(1);
        room.grow_async(bytes).await?;
    }
    Ok(())
}

/// What a query does between two times at which others may run.
pub(crate) struct Turn(Instant);

impl Turn {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets others run if it was long enough.
    pub(crate) async fn maybe_end(&mut self) {
        if self.0.elapsed() >= POLL {
            bench::yield_now().await;
            self.0 = Instant::now();
        }
    }
}
