//! Reading a scenario: what TOML and types cannot say is checked here, and told with its line.

use std::{collections::BTreeSet, fs, ops::RangeInclusive, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use toml::Spanned;

use super::config::{Act, Deed, Rebind, Requests, Scenario, Tenant};

/// Reads a scenario's text; `name` is what errors call it.
///
/// # Errors
///
/// Names the line and the key, and the rule that is broken.
pub(crate) fn read(name: &str, text: &str) -> Result<Scenario> {
    let scenario: Scenario = toml::from_str(text)
        .map_err(|error| anyhow!("{}", error.to_string().trim_end().to_owned()))
        .with_context(|| format!("{name} is no scenario"))?;
    Check { name, text, scenario: &scenario }.all()?;
    Ok(scenario)
}

struct Check<'s> {
    name: &'s str,
    text: &'s str,
    scenario: &'s Scenario,
}

/// The controllers there are.
pub(crate) const CONTROLLERS: [&str; 3] = ["memory", "cpu", "io"];

impl Check<'_> {
    fn all(&self) -> Result<()> {
        let Scenario { trees, tenants, acts, data, device, .. } = self.scenario;
        let count = trees.get_ref().len();
        self.ensure(trees, (1..=8).contains(&count), "trees", || {
            format!("has {count} names; 1 to 8 are allowed")
        })?;
        let names: BTreeSet<_> = trees.get_ref().iter().collect();
        self.ensure(trees, names.len() == count, "trees", || "has a name twice".to_owned())?;
        let scale = *data.scale.get_ref();
        self.ensure(&data.scale, (0.001..=1.0).contains(&scale), "scale", || {
            format!("is {scale}, not in 0.001..=1")
        })?;
        self.within(&device.depth, "depth", 1..=1024)?;
        if tenants.is_empty() || acts.is_empty() {
            return Err(anyhow!("{}: a scenario has a [[tenant]] and an [[act]]", self.name));
        }
        let mut seen = BTreeSet::new();
        for tenant in tenants {
            let name = tenant.name.get_ref();
            self.ensure(&tenant.name, seen.insert(name), "name", || format!("{name:?} is taken"))?;
            self.tenant(tenant)?;
        }
        acts.iter().try_for_each(|act| self.act(act))
    }

    fn tenant(&self, tenant: &Tenant) -> Result<()> {
        let (trees, groups) = (self.scenario.trees.get_ref(), tenant.groups.get_ref());
        self.ensure(&tenant.groups, trees.len() == groups.len(), "groups", || {
            format!("has {} paths; there are {} trees", groups.len(), trees.len())
        })?;
        for path in groups {
            let is_top =
                path.strip_prefix('/').is_some_and(|name| !name.is_empty() && !name.contains('/'));
            self.ensure(&tenant.groups, is_top, "groups", || {
                format!("has {path:?}, which is not like \"/name\"")
            })?;
        }
        let Tenant { requests, queries, backup, .. } = tenant;
        let kinds = [requests.is_some(), queries.is_some(), backup.is_some()];
        let count = kinds.into_iter().filter(|is_there| *is_there).count();
        self.ensure(&tenant.name, count == 1, "name", || {
            format!(
                "{:?} has {count} kinds of work; one of requests, queries and backup is needed",
                tenant.name.get_ref()
            )
        })?;
        if let Some(requests) = requests {
            self.requests(tenant, requests)?;
        }
        if let Some(queries) = queries {
            self.within(&queries.concurrent, "concurrent", 1..=256)?;
            self.within(&queries.sorts, "sorts", 0..=*queries.concurrent.get_ref())?;
        }
        backup.iter().try_for_each(|backup| self.within(&backup.streams, "streams", 1..=64))
    }

    fn requests(&self, tenant: &Tenant, requests: &Requests) -> Result<()> {
        let Requests { rate, arrivals, speed, users, rows, .. } = requests;
        self.ensure(&tenant.name, rate.is_some() != arrivals.is_some(), "requests", || {
            "needs either a rate or arrivals".to_owned()
        })?;
        if let Some(rate) = rate {
            self.within(rate, "rate", 1..=20_000)?;
        }
        if let Some(speed) = speed {
            let value = *speed.get_ref();
            self.ensure(speed, value.is_finite() && value > 0.0, "speed", || {
                format!("is {value}, which is no speed")
            })?;
        }
        self.within(users, "users", 1..=64)?;
        self.within(rows, "rows", 1..=4096)
    }

    fn act(&self, act: &Act) -> Result<()> {
        let lasts = *act.lasts.get_ref();
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(3600));
        self.ensure(&act.lasts, (least..=most).contains(&lasts), "lasts", || {
            format!("is {lasts:?}, not in 500ms..=1h")
        })?;
        act.start.iter().try_for_each(|name| self.a_tenant(name, "start"))?;
        for spanned in &act.deeds {
            let deed = spanned.get_ref();
            self.ensure(spanned, deed.at < lasts, "at", || {
                format!("is {:?}; the act lasts {lasts:?}", deed.at)
            })?;
            self.deed(spanned, deed)?;
        }
        Ok(())
    }

    fn deed(&self, spanned: &Spanned<Deed>, deed: &Deed) -> Result<()> {
        let Deed { bind, write, show, rebind, shift, remove, .. } = deed;
        let kinds = [
            bind.is_some(),
            write.is_some(),
            show.is_some(),
            rebind.is_some(),
            shift.is_some(),
            remove.is_some(),
        ];
        let count = kinds.into_iter().filter(|is_there| *is_there).count();
        self.ensure(spanned, count == 1, "do", || {
            format!(
                "does {count} things; one of bind, write, show, rebind, move and remove is needed"
            )
        })?;
        bind.iter().flatten().try_for_each(|name| self.a_controller(name))?;
        let written = write.iter().flatten().map(|(path, _)| path);
        for path in written.chain(show.iter().flatten()) {
            let file = path.get_ref().rsplit_once('/');
            let is_file = file.is_some_and(|(group, file)| {
                (group.is_empty() || group.starts_with('/')) && file.contains('.')
            });
            self.ensure(path, is_file, "do", || {
                format!("names {:?}, which is not like \"/group/cpu.weight\"", path.get_ref())
            })?;
        }
        rebind.iter().try_for_each(|rebind| self.rebind(rebind))?;
        if let Some(shift) = shift {
            self.a_tenant(&shift.tenant, "tenant")?;
            self.a_tree(&shift.tree, "tree")?;
        }
        remove.iter().try_for_each(|remove| self.a_tenant(&remove.tenant, "tenant"))
    }

    fn rebind(&self, rebind: &Rebind) -> Result<()> {
        rebind.controllers.iter().try_for_each(|name| self.a_controller(name))?;
        self.a_tree(&rebind.to, "to")?;
        self.within(&rebind.times, "times", 1..=100_001)?;
        self.ensure(&rebind.times, rebind.times.get_ref() % 2 == 1, "times", || {
            format!("is {}; only after an odd number they are elsewhere", rebind.times.get_ref())
        })
    }

    fn a_tenant(&self, name: &Spanned<String>, key: &str) -> Result<()> {
        let names = self.scenario.tenants.iter().map(|tenant| tenant.name.get_ref().as_str());
        self.one_of(name, key, "tenants", names.collect())
    }

    fn a_tree(&self, name: &Spanned<String>, key: &str) -> Result<()> {
        let trees = self.scenario.trees.get_ref().iter().map(String::as_str);
        self.one_of(name, key, "trees", trees.collect())
    }

    fn a_controller(&self, name: &Spanned<String>) -> Result<()> {
        self.one_of(name, "controllers", "controllers", CONTROLLERS.to_vec())
    }

    fn one_of(&self, name: &Spanned<String>, key: &str, what: &str, of: Vec<&str>) -> Result<()> {
        self.ensure(name, of.contains(&name.get_ref().as_str()), key, || {
            format!("names {:?}; the {what} are {}", name.get_ref(), of.join(", "))
        })
    }

    fn within(&self, value: &Spanned<u32>, key: &str, range: RangeInclusive<u32>) -> Result<()> {
        self.ensure(value, range.contains(value.get_ref()), key, || {
            format!("is {}, not in {range:?}", value.get_ref())
        })
    }

    fn ensure<T>(
        &self,
        place: &Spanned<T>,
        holds: bool,
        key: &str,
        why: impl FnOnce() -> String,
    ) -> Result<()> {
        if holds {
            return Ok(());
        }
        let before = self.text.get(..place.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Err(anyhow!("{}, line {line}: `{key}` {}", self.name, why()))
    }
}

/// Reads a scenario's file.
///
/// # Errors
///
/// Names the file where it cannot be read, and what [`read`] refuses.
pub(crate) fn read_file(path: &Path) -> Result<Scenario> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    read(&name, &text)
}
