//! What is done at its time: controllers bound and rebound, files written, members moved, tenants removed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fief_core::{AnyController, Cgroup, MemberPolicy, RebindOptions, Removal};

use super::{
    belongings,
    checks::Checks,
    config::{Deed, Policy, Rebind, Remove, Shift},
    tenant::Tenant,
    world::World,
};
use crate::{
    soak::{
        lookup::{Kind, Lookups, Windows},
        sample,
    },
    sync::{Arc, Flag, thread},
};

/// How long a tenant that is removed may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does a deed, and says what was done.
///
/// # Errors
///
/// Whatever is refused: a scenario that goes on as if it were not shows nothing.
pub(crate) fn perform(world: &Arc<World>, checks: &Checks, deed: &Deed) -> Result<String> {
    if let Some(names) = &deed.bind {
        let names: Vec<&str> = names.iter().map(|name| name.get_ref().as_str()).collect();
        return bind(world, &names);
    }
    if let Some(files) = &deed.write {
        let mut said = Vec::new();
        for (path, value) in files {
            write(world, checks, path.get_ref(), value)?;
            said.push(format!("{} = {value}", path.get_ref()));
        }
        return Ok(said.join(", "));
    }
    if let Some(paths) = &deed.show {
        let said = paths.iter().map(|path| {
            let (group, file) = find(world, path.get_ref())?;
            let text = group.read(&file)?;
            let text = text.trim_end().replace('\n', ", ");
            Ok(format!("{} is {text}", path.get_ref()))
        });
        return Ok(said.collect::<Result<Vec<_>>>()?.join("; "));
    }
    if let Some(order) = &deed.rebind {
        return rebind(world, checks, order);
    }
    if let Some(order) = &deed.shift {
        return shift(world, order);
    }
    match &deed.remove {
        Some(order) => remove(world, checks, order),
        None => Ok("nothing".to_owned()),
    }
}

/// Binds controllers to the first tree, as it is, with everybody at work in it.
fn bind(world: &World, names: &[&str]) -> Result<String> {
    let tree = world.trees.first().context("there is no tree")?;
    let before = tree.controllers();
    let wanted = before.iter().map(String::as_str).chain(names.iter().copied());
    let wanted: Vec<&dyn AnyController> =
        wanted.filter_map(|name| world.controller(name)).collect();
    let start = Instant::now();
    tree.remount(&wanted)?;
    let took = start.elapsed();
    for name in names {
        match *name {
            "cpu" => world.is_shared.raise(),
            "io" => world.asks.raise(),
            _ => {}
        }
    }
    Ok(format!(
        "{} bound to {}: {} groups, {} members, {took:.1?}",
        names.join(", "),
        tree.name(),
        tree.root().descendant_count(),
        world.registry.stats().tasks,
    ))
}

/// Finds the group of a control file's path, in the tree where its controller is, and the file's name.
fn find(world: &World, path: &str) -> Result<(Cgroup, String)> {
    let (group, file) = path.rsplit_once('/').context("a path has a group")?;
    let group = if group.is_empty() { "/" } else { group };
    let controller = file.split_once('.').map_or(file, |(controller, _)| controller);
    let tree = match controller {
        "cgroup" => world.trees.first().cloned(),
        _ => world.hierarchy_of(controller),
    };
    let tree = tree.with_context(|| format!("{path}: {controller} is bound nowhere"))?;
    Ok((tree.lookup(group)?, file.to_owned()))
}

/// Writes a control file.
fn write(world: &World, checks: &Checks, path: &str, value: &str) -> Result<()> {
    let (group, file) = find(world, path)?;
    group.write(&file, value)?;
    checks.written();
    Ok(())
}

/// Which groups are counterparts: the tenants' own, and by their names those below.
fn mapping(world: &World, from: usize, to: usize) -> Vec<(Cgroup, Cgroup)> {
    let pair = |tenant: &Arc<Tenant>| Some((tenant.top(from)?, tenant.top(to)?));
    let there = world.tenants.iter().filter(|tenant| !tenant.is_removed.is_raised());
    there.filter_map(pair).collect()
}

/// Moves controllers to and fro; half of the time none moves, and lookups are timed in both.
fn rebind(world: &Arc<World>, checks: &Checks, order: &Rebind) -> Result<String> {
    let controllers: Vec<&dyn AnyController> =
        order.controllers.iter().filter_map(|name| world.controller(name.get_ref())).collect();
    let first = controllers.first().context("there is no controller")?;
    let from = world.tree_of(first.name()).context("the controller is bound nowhere")?;
    let to = world.trees.iter().position(|tree| tree.name() == *order.to.get_ref());
    let to = to.context("there is no such tree")?;
    ensure!(from != to, "{} is where it is to go", first.name());
    let policy = match world.tenants.iter().any(|tenant| tenant.is_shifted()) {
        true => MemberPolicy::Move,
        false => MemberPolicy::Refuse,
    };
    let (times, half) = (*order.times.get_ref(), order.every / 2);
    let windows = &checks.windows;
    let before = belongings::of(world, from, order);
    let mut took = Vec::new();
    let mut refused = None;
    let is_over = Flag::default();
    thread::scope(|scope| {
        let prober = scope.spawn(|| probe(world, windows, &is_over));
        for number in 0..times {
            if refused.is_some() || world.has_failed() || world.is_ending.is_raised() {
                break;
            }
            let (here, there) = if number % 2 == 0 { (from, to) } else { (to, from) };
            let begun = Instant::now();
            windows.within(Kind::Rebind, || {
                match go(world, &controllers, (here, there), policy) {
                    Ok(time) => took.push(time),
                    Err(error) => refused = Some(format!("{error:#}")),
                }
                thread::sleep(half.saturating_sub(begun.elapsed()));
            });
            windows.within(Kind::Quiet, || thread::sleep(half));
        }
        is_over.raise();
        prober.join().map_err(|_| anyhow!("the thread that looks up has panicked"))?
    })?;
    took.sort_unstable();
    checks.rebound(&took);
    let names: Vec<&str> = controllers.iter().map(|controller| controller.name()).collect();
    let (names, to_name) = (names.join(" "), order.to.get_ref());
    if let Some(why) = refused {
        let said =
            format!("{names} REFUSED to move to {to_name} after {} times: {why}", took.len());
        checks.refused(why);
        return Ok(said);
    }
    // One that was ended early may be where it was.
    if world.tree_of(first.name()) == Some(to) {
        let after = belongings::of(world, to, order);
        checks.carried(before.len(), belongings::changes(&before, &after));
    }
    let middle = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(format!(
        "{names} rebound to {to_name}, {} times, {middle:.1?} each; none was refused",
        took.len(),
    ))
}

/// Moves controllers once.
fn go(
    world: &World,
    controllers: &[&dyn AnyController],
    (from, to): (usize, usize),
    policy: MemberPolicy,
) -> Result<Duration> {
    let options = RebindOptions::new().mapping(mapping(world, from, to)).members(policy);
    let start = Instant::now();
    world.registry.rebind(controllers, &world.trees[to], &options)?;
    Ok(start.elapsed())
}

/// Looks up css, a little all the time, until it is over.
fn probe(world: &World, windows: &Windows, is_over: &Flag) -> Result<()> {
    const BURST: u32 = 64;
    let places: Vec<Cgroup> =
        (0..world.trees.len()).filter_map(|tree| world.tenants.first()?.top(tree)).collect();
    let task = world.registry.create_task_in("probe", &places.iter().collect::<Vec<_>>())?;
    let mut lookups = Lookups::of(windows, &world.registry, sample::clock_overhead());
    while !is_over.is_raised() {
        for _ in 0..BURST {
            ensure!(lookups.css(&world.cpu, &task).is_some(), "a lookup found nothing");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn shift(world: &World, order: &Shift) -> Result<String> {
    let (name, tree) = (order.tenant.get_ref(), order.tree.get_ref());
    let tenant = world.tenant(name).context("there is no such tenant")?;
    let index = world.trees.iter().position(|other| other.name() == *tree);
    let index = index.context("there is no such tree")?;
    let to = world.trees[index].lookup(order.to.get_ref())?;
    let moved = tenant.shift(index, &to)?;
    Ok(format!("{moved} members of {name} moved to {} of {tree}", to.path()))
}

/// Kills a tenant, lets its members leave, and removes its groups.
fn remove(world: &Arc<World>, checks: &Checks, order: &Remove) -> Result<String> {
    let name = order.tenant.get_ref();
    let tenant = world.tenant(name).context("there is no such tenant")?;
    let groups: Vec<Cgroup> = tenant.places().into_iter().map(|place| place.top).collect();
    let start = Instant::now();
    checks.leaves(world, tenant);
    let receivers: Vec<_> = world.trees.iter().map(|tree| tree.notices()).collect();
    tenant.is_removed.raise();
    tenant.is_running.lower();
    if order.policy == Policy::Notice {
        checks.awaits(&groups);
        groups.iter().try_for_each(|group| group.set_notify_on_release(true))?;
    }
    let mut killed = 0;
    for group in &groups {
        killed += group.kill()?;
    }
    tenant.dismiss();
    let until = start + PATIENCE;
    if order.policy == Policy::Detach {
        wait_empty(&groups, until)?;
        let removed = detach(world, &groups)?;
        return Ok(format!(
            "{name} removed at once: {killed} members killed, {removed} groups gone, {:.1?}",
            start.elapsed()
        ));
    }
    for (receiver, group) in receivers.iter().zip(&groups) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(notice) = receiver.recv_timeout(left) else {
                let why = group.remove(Removal::Strict).map_err(|error| error.to_string());
                let why = why.err().unwrap_or_else(|| "though it could be removed".to_owned());
                return Ok(format!("NO NOTICE of {} in {PATIENCE:?}: {why}", group.path()));
            };
            let Some(released) = notice.accept() else { continue };
            checks.noticed(&released);
            // What is below it comes first.
            released.remove(Removal::Strict)?;
            if released.id() == group.id() {
                break;
            }
        }
    }
    Ok(format!(
        "{name} removed by notice: {killed} members killed, nothing left, {:.1?}",
        start.elapsed()
    ))
}

/// Waits until neither groups nor those below them have members.
///
/// # Errors
///
/// Names a group that has some at that time.
pub(crate) fn wait_empty(groups: &[Cgroup], until: Instant) -> Result<()> {
    for group in groups {
        let changes = group.watch()?;
        while group.is_populated() {
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} still has members", group.path());
            // Whatever came is looked at anew; nothing came is found out above.
            changes.recv_timeout(left).ok();
        }
    }
    Ok(())
}

/// Removes groups and all below them, in all trees at once.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn detach(world: &World, groups: &[Cgroup]) -> Result<usize> {
    let all: Vec<Cgroup> = groups.iter().flat_map(Cgroup::descendants_post).collect();
    let (_, ()) = world.registry.edit(|edit| {
        all.iter().for_each(|group| edit.remove(group, Removal::Detach));
    })?;
    Ok(all.len())
}
