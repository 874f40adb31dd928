//! Release notices and watches: when a group is told, and to whom.

use super::{CssId, GroupId, Model, Outcome, Stage};
use crate::{check::told, names::fresh, script::Command};

/// What a watch has told.
#[derive(Debug)]
pub(super) struct Watching {
    group: GroupId,
    populated: bool,
    frozen: bool,
    removed: bool,
}

impl Model {
    pub(super) fn apply_notices(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Notify { path, on } => self.notify(path, *on),
            Command::Notices => self.accept_all(),
            Command::Notice(name) => self.receive_one(name.as_deref()),
            Command::Accept(name) => {
                let group = self.end_notice(name)?;
                Ok(told(&self.path(group), self.is_releasable(group)))
            }
            Command::Ignore(name) => Ok(self.end_notice(name).map(|_| String::new())?),
            Command::Renotify => self.renotify(),
            Command::Watch { path, name } => self.watch(path, name.as_deref()),
            Command::Hear(name) => self.hear(name),
            Command::Unwatch(name) => {
                self.watches.remove(name).ok_or("UnknownWatch")?;
                Ok(String::new())
            }
            _ => unreachable!("`apply` knows the others"),
        }
    }

    fn notify(&mut self, path: &str, on: bool) -> Outcome {
        let group = self.lookup(path)?;
        self.groups[group].notifies = on;
        if !on {
            self.disarm(group);
            self.emptied.retain(|&emptied| emptied != group);
        } else if self.is_to_be_armed(group) && !self.emptied.contains(&group) {
            self.arm(&[group]);
        }
        Ok(String::new())
    }

    /// Whether an armed css belongs to a group whose use is waited for.
    pub(super) fn is_armed_css(&self, css: CssId) -> bool {
        let is_online = self.css[css].stage == Stage::Online;
        is_online && self.css[css].group.is_some_and(|group| self.groups[group].armed)
    }

    /// Notes that a group has lost a member or a child.
    pub(super) fn note_emptied(&mut self, group: GroupId) {
        if self.is_to_be_armed(group) && !self.emptied.contains(&group) {
            self.emptied.push(group);
        }
    }

    fn is_to_be_armed(&self, group: GroupId) -> bool {
        let it = &self.groups[group];
        it.notifies
            && !it.armed
            && it.parent.is_some()
            && !it.removed
            && self.members(group).is_empty()
            && self.children(group).is_empty()
    }

    /// Has the css of groups counted exactly.
    fn arm(&mut self, groups: &[GroupId]) {
        let csses: Vec<CssId> = groups.iter().flat_map(|&group| self.live_css(group)).collect();
        self.drain(&csses);
        for css in csses {
            self.css[css].busy = self.holders(css) > 0;
        }
        for &group in groups {
            self.groups[group].armed = true;
        }
    }

    /// Stops that: the group gets a member or a child, or nobody asks any more.
    pub(super) fn disarm(&mut self, group: GroupId) {
        self.groups[group].armed = false;
        self.groups[group].told = None;
        for css in self.live_css(group) {
            self.css[css].busy = false;
        }
    }

    /// Has an armed group be in use for a while, whatever else: css come to it, or leave it.
    pub(super) fn rest(&mut self, group: GroupId) {
        let is_busy = self.live_css(group).into_iter().any(|css| self.css[css].busy);
        if is_busy {
            self.groups[group].told = None;
        } else if self.groups[group].rests == 0 {
            self.groups[group].told = Some(self.groups[group].notice);
        }
        self.groups[group].rests += 1;
    }

    /// Ends the rests of groups, and tells of those that are in use no more; not if that was told before,
    /// and nothing has happened since.
    pub(super) fn end_rests(&mut self, groups: Vec<GroupId>) {
        for group in groups {
            self.groups[group].rests -= 1;
            let it = &self.groups[group];
            if it.told != Some(it.notice) {
                self.tell_if_unused(group);
            }
        }
    }

    /// Arms what was emptied, and tells of it if it is not in use; hierarchy by hierarchy.
    pub(super) fn arm_emptied(&mut self) {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.retain(|&group| self.is_to_be_armed(group));
        emptied.sort_by_key(|&group| self.groups[group].tree);
        self.arm(&emptied);
        for group in emptied {
            self.tell_if_unused(group);
        }
    }

    /// Looks at a css whose last reference went; returns whether it is to be released.
    pub(super) fn look_at(&mut self, css: CssId) -> bool {
        if self.css[css].stage == Stage::Offline {
            return !self.is_held(css);
        }
        if let Some(group) = self.css[css].group {
            // It was used.
            self.groups[group].told = None;
            if self.is_armed_css(css) && self.css[css].busy && self.holders(css) == 0 {
                self.css[css].busy = false;
                self.tell_if_unused(group);
            }
        }
        false
    }

    fn is_releasable(&self, group: GroupId) -> bool {
        let it = &self.groups[group];
        let is_unused = || self.live_css(group).into_iter().all(|css| !self.css[css].busy);
        it.armed && it.rests == 0 && !it.removed && is_unused()
    }

    fn tell_if_unused(&mut self, group: GroupId) -> bool {
        let is_new = self.is_releasable(group) && self.groups[group].notice == 0;
        if is_new {
            self.told += 1;
            self.groups[group].notice = self.told;
            self.outbox.push(group);
        }
        is_new
    }

    fn renotify(&mut self) -> Outcome {
        let tree = self.current()?;
        if self.trees[tree].destroyed {
            return Err("Destroyed".to_owned());
        }
        let mut groups = self.preorder(self.trees[tree].root);
        groups.sort_by_key(|&group| self.path(group));
        let count = groups.into_iter().filter(|&group| self.tell_if_unused(group)).count();
        Ok(format!("{count} told\n"))
    }

    fn accept_all(&mut self) -> Outcome {
        let tree = self.receiving()?;
        let (here, elsewhere) =
            self.outbox.iter().partition(|&&group| self.groups[group].tree == tree);
        let here: Vec<GroupId> = here;
        self.outbox = elsewhere;
        let mut lines = Vec::new();
        for group in here {
            self.groups[group].notice = 0;
            lines.push(told(&self.path(group), self.is_releasable(group)));
        }
        lines.sort();
        Ok(lines.concat())
    }

    fn receive_one(&mut self, name: Option<&str>) -> Outcome {
        let tree = self.receiving()?;
        let first = self.outbox.iter().position(|&group| self.groups[group].tree == tree);
        let first = first.ok_or("Empty")?;
        let name = fresh(name, 'n', |name| self.notices.contains_key(name)).map_err(|_| "Taken")?;
        let group = self.outbox.remove(first);
        let line = format!("{name}: {}\n", self.path(group));
        self.notices.insert(name, group);
        Ok(line)
    }

    fn receiving(&self) -> Result<usize, &'static str> {
        let tree = self.current()?;
        if self.trees[tree].destroyed { Err("Disconnected") } else { Ok(tree) }
    }

    fn end_notice(&mut self, name: &str) -> Result<GroupId, &'static str> {
        let group = self.notices.remove(name).ok_or("UnknownNotice")?;
        self.groups[group].notice = 0;
        Ok(group)
    }

    /// Drops every notice and watch, but what nobody has received.
    pub(super) fn forget_notices(&mut self) {
        for group in std::mem::take(&mut self.notices).into_values() {
            self.groups[group].notice = 0;
        }
        self.watches.clear();
    }

    fn watch(&mut self, path: &str, name: Option<&str>) -> Outcome {
        let group = self.lookup(path)?;
        if self.groups[group].parent.is_none() {
            return Err("Root".to_owned());
        }
        let name = fresh(name, 'v', |name| self.watches.contains_key(name)).map_err(|_| "Taken")?;
        let (populated, frozen) = (self.is_populated(group), self.is_frozen(group));
        let watching = Watching { group, populated, frozen, removed: false };
        self.watches.insert(name, watching);
        Ok(String::new())
    }

    fn hear(&mut self, name: &str) -> Outcome {
        let watching = self.watches.get(name).ok_or("UnknownWatch")?;
        let Watching { group, populated, frozen, removed } = *watching;
        let now = self.is_populated(group);
        let is_frozen = self.is_frozen(group);
        let is_removed = self.groups[group].removed;
        let mut events = Vec::new();
        if !removed && now != populated {
            events.push(if now { "populated" } else { "emptied" });
        }
        if !removed && is_frozen != frozen {
            events.push(if is_frozen { "frozen" } else { "thawed" });
        }
        if !removed && is_removed {
            events.push("removed");
        }
        if is_removed {
            events.push("the end");
        }
        let told = Watching { group, populated: now, frozen: is_frozen, removed: is_removed };
        self.watches.insert(name.to_owned(), told);
        let path = self.path(group);
        Ok(events.into_iter().map(|event| format!("{path}: {event}\n")).collect())
    }

    /// Whether it, or a group below, has members.
    pub(super) fn is_populated(&self, group: GroupId) -> bool {
        self.preorder(group).into_iter().any(|group| !self.members(group).is_empty())
    }
}
