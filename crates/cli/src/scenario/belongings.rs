//! What belongs to a group and not to its path: when its controller moves, it moves along.

use std::time::Duration;

use fief_core::{Cgroup, CssId};

use super::{config::Rebind, world::World};

/// What a tenant's group has of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belongings {
    tenant: String,
    controller: &'static str,
    id: Option<CssId>,
    /// What its limits and weights read.
    settings: Vec<(&'static str, String)>,
    /// What only grows: CPU time, and bytes that went through.
    used: (Duration, u64),
}

/// What every tenant's group of a tree has of the controllers that are to move.
pub(crate) fn of(world: &World, tree: usize, order: &Rebind) -> Vec<Belongings> {
    let mut all = Vec::new();
    for tenant in world.tenants.iter().filter(|tenant| !tenant.is_removed.is_raised()) {
        let Some(group) = tenant.top(tree) else { continue };
        for name in &order.controllers {
            let tenant = tenant.name.clone();
            all.extend(Belongings::of(world, tenant, &group, name.get_ref()));
        }
    }
    all
}

/// What is not as it was, or less than it was.
pub(crate) fn changes(before: &[Belongings], after: &[Belongings]) -> Vec<String> {
    let mut changes = Vec::new();
    for (before, after) in before.iter().zip(after) {
        let Belongings { tenant, controller, .. } = before;
        if before.id.is_none()
            || (before.id, tenant, controller) != (after.id, &after.tenant, &after.controller)
        {
            changes.push(format!(
                "the {controller} css of {tenant} was {:?} and is {:?}",
                before.id, after.id
            ));
        }
        for ((file, was), (_, is)) in before.settings.iter().zip(&after.settings) {
            if was != is {
                changes.push(format!("{file} of {tenant} was {was:?} and is {is:?}"));
            }
        }
        if after.used.0 < before.used.0 || after.used.1 < before.used.1 {
            changes.push(format!(
                "the {controller} usage of {tenant} was {:?} and is {:?}",
                before.used, after.used
            ));
        }
    }
    if before.len() != after.len() {
        changes.push(format!("there were {} and are {}", before.len(), after.len()));
    }
    changes
}

impl Belongings {
    fn of(world: &World, tenant: String, group: &Cgroup, controller: &str) -> Option<Self> {
        let (controller, files, id, used) = match controller {
            "memory" => {
                let css = world.memory.css(group);
                let files: &[_] = &["memory.min", "memory.low", "memory.high", "memory.max"];
                ("memory", files, css.map(|css| css.id()), (Duration::ZERO, 0))
            }
            "cpu" => {
                let css = world.cpu.css(group);
                let used = css.as_ref().map_or(Duration::ZERO, |css| css.usage());
                let files: &[_] = &["cpu.weight", "cpu.max"];
                ("cpu", files, css.map(|css| css.id()), (used, 0))
            }
            "io" => {
                let css = world.io.css(group);
                let stats = css.as_ref().map(|css| css.stats(&world.disk));
                let used = stats.map_or(0, |stats| stats.rbytes + stats.wbytes);
                let files: &[_] = &["io.weight", "io.max"];
                ("io", files, css.map(|css| css.id()), (Duration::ZERO, used))
            }
            _ => return None,
        };
        let settings = files.iter().map(|file| {
            let text = group.read(file).unwrap_or_else(|error| error.to_string());
            (*file, text)
        });
        let settings = settings.collect();
        Some(Self { tenant, controller, id, settings, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belongings(id: Option<CssId>, weight: &str, used: u64) -> Belongings {
        let settings = vec![("cpu.weight", weight.to_owned())];
        let tenant = "api".to_owned();
        Belongings { tenant, controller: "cpu", id, settings, used: (Duration::ZERO, used) }
    }

    #[test]
    fn a_group_without_a_css_a_limit_that_changed_and_usage_that_shrank_are_told() {
        let told = changes(&[belongings(None, "100", 7)], &[belongings(None, "800", 6)]);
        assert_eq!(told.len(), 3, "{told:?}");
        for (told, expected) in told.iter().zip(["css of api", "\"800\"", "usage of api"]) {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert_eq!(changes(&[belongings(None, "100", 7)], &[]).len(), 1);
    }
}
