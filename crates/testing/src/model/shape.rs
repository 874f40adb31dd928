//! Rebinding between trees of one shape, and what is seen of css wherever they are shown.

use super::{CssId, GroupId, Model, Outcome, TreeId};
use crate::{script::Command, view::sort_by_path};

/// Groups and their counterparts, in pre-order.
pub(super) type Pairs = Vec<(GroupId, GroupId)>;

impl Model {
    pub(super) fn apply_binding(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Bind { subsystem, hierarchy } => self.bind(subsystem, hierarchy),
            Command::Unbind(name) => self.unbind(name),
            Command::Rebind { subsystems, hierarchy, mapping, moves } => {
                self.rebind(subsystems, hierarchy, mapping, *moves)
            }
            Command::Remount { hierarchy, subsystems } => self.remount(hierarchy, subsystems),
            Command::Subtree { path, enable, disable } => self.subtree(path, enable, disable),
            Command::Charge { subsystem, path, amount } => self.charge(subsystem, path, *amount),
            Command::Css(subsystem) => self.list_css(subsystem),
            Command::Resolve { task, subsystem } => {
                let (task, index) = (self.task_named(task)?, self.known(subsystem)?);
                Ok(self.line(self.seat(task, index)))
            }
            Command::Parents(reference) => {
                let css = self.held(reference)?;
                let chain = std::iter::successors(Some(css), |css| self.css[*css].parent);
                Ok(chain.map(|css| self.line(css)).collect())
            }
            _ => self.apply_members(command),
        }
    }

    fn rebind(
        &mut self,
        names: &[String],
        hierarchy: &str,
        mapping: &[(String, String)],
        moves: bool,
    ) -> Outcome {
        let named = names.iter().map(|name| self.known(name)).collect::<Result<Vec<_>, _>>()?;
        let target = self.tree_named(hierarchy).ok_or("UnknownHierarchy")?;
        let mut mapped: Pairs = Vec::new();
        if let Some(source) = named.first().and_then(|&first| self.subsystems[first].tree) {
            for (from, to) in mapping {
                mapped.push((self.lookup_in(source, from)?, self.lookup_in(target, to)?));
            }
        }
        for (before, &index) in named.iter().enumerate() {
            match self.subsystems[index].tree {
                None => return Err("Unbound".to_owned()),
                Some(tree) if tree == target => return Err("Bound".to_owned()),
                Some(_) if named[..before].contains(&index) => return Err("Twice".to_owned()),
                Some(_) => {}
            }
        }
        for (before, (source, image)) in mapped.iter().enumerate() {
            let is_named = |(other, taken): &(GroupId, GroupId)| other == source || taken == image;
            if mapped[..before].iter().any(is_named) {
                return Err("Mapping".to_owned());
            }
        }
        let mut plans = Vec::new();
        for index in named {
            let source = self.subsystems[index].tree.ok_or("Unbound")?;
            let of_source = |(group, _): &&(GroupId, GroupId)| self.groups[*group].tree == source;
            let mapped = mapped.iter().filter(of_source).copied().collect();
            let pairs = self.compare(source, target, &mapped)?;
            plans.push(self.plan_rebind(index, target, pairs));
        }
        let ways: Vec<_> = plans.iter().flat_map(Self::ways).collect();
        if let Some(first) = ways.first().filter(|_| !moves) {
            let path = |tree: TreeId| {
                format!("{}:{}", self.trees[tree].name, self.path(self.place(first.task, tree)))
            };
            let (source, subsystem) =
                (self.subsystems[first.index].tree.ok_or("Unbound")?, first.index);
            return Err(format!(
                "{} members would change css of {}, first {}, from {} to {}",
                ways.len(),
                self.subsystems[subsystem].name,
                self.tasks[first.task].name,
                path(source),
                path(target)
            ));
        }
        self.carry_plans_out(&plans)
    }

    /// Finds every group's counterpart, or says what the first difference is.
    fn compare(&self, source: TreeId, target: TreeId, mapped: &Pairs) -> Result<Pairs, String> {
        let (root, image) = (self.trees[source].root, self.trees[target].root);
        let of_root = mapped.iter().find(|(group, _)| *group == root);
        if of_root.is_some_and(|(_, mapped)| *mapped != image) {
            return Err(self.elsewhere(root, target));
        }
        let mut pairs = vec![(root, image)];
        self.compare_below(root, image, mapped, &mut pairs)?;
        Ok(pairs)
    }

    /// Pairs the children first, then what is below each.
    fn compare_below(
        &self,
        group: GroupId,
        image: GroupId,
        mapped: &Pairs,
        pairs: &mut Pairs,
    ) -> Result<(), String> {
        let (source, target) = (self.groups[group].tree, self.groups[image].tree);
        let mut children: Pairs = Vec::new();
        for child in self.children(group) {
            let counterpart = match mapped.iter().find(|(it, _)| *it == child) {
                Some((_, other)) if self.groups[*other].parent == Some(image) => *other,
                Some(_) => return Err(self.elsewhere(child, target)),
                None => {
                    let named = self.child(image, &self.groups[child].name);
                    let is_taken = |it: &GroupId| mapped.iter().any(|(_, taken)| taken == it);
                    let missing = || self.differ(child, "has no counterpart in", source, target);
                    named.filter(|it| !is_taken(it)).ok_or_else(missing)?
                }
            };
            children.push((child, counterpart));
        }
        let is_used = |it: &GroupId| children.iter().any(|(_, used)| used == it);
        if let Some(extra) = self.children(image).into_iter().find(|it| !is_used(it)) {
            let what = format!("{} of {}", self.path(extra), self.trees[target].name);
            let trees = self.between(source, target);
            return Err(format!("{trees}{what} has no counterpart in {}", self.trees[source].name));
        }
        for (child, counterpart) in children {
            pairs.push((child, counterpart));
            self.compare_below(child, counterpart, mapped, pairs)?;
        }
        Ok(())
    }

    fn between(&self, source: TreeId, target: TreeId) -> String {
        format!("hierarchies {} and {} differ: ", self.trees[source].name, self.trees[target].name)
    }

    fn differ(&self, group: GroupId, how: &str, source: TreeId, target: TreeId) -> String {
        let (path, name) = (self.path(group), &self.trees[source].name);
        let trees = self.between(source, target);
        format!("{trees}{path} of {name} {how} {}", self.trees[target].name)
    }

    fn elsewhere(&self, group: GroupId, target: TreeId) -> String {
        let source = self.groups[group].tree;
        let (trees, path) = (self.between(source, target), self.path(group));
        let how = "is mapped to a group that is not below its parent's counterpart";
        format!("{trees}{path} of {} {how}", self.trees[source].name)
    }

    fn charge(&mut self, subsystem: &str, path: &str, amount: u64) -> Outcome {
        let group = self.lookup(path)?;
        let index = self.known(subsystem)?;
        let css = self.shared_css(group, index).ok_or("NoCss")?;
        self.css[css].usage = self.css[css].usage.saturating_add(amount);
        // It was looked up by a reference that is gone again.
        self.css[css].busy |= self.is_armed_css(css);
        self.note_unheld(css);
        Ok(String::new())
    }

    fn list_css(&self, subsystem: &str) -> Outcome {
        let index = self.known(subsystem)?;
        let top = self.lookup("/")?;
        let mut lines = Vec::new();
        for group in self.preorder(top) {
            let Some(css) = self.shared_css(group, index) else { continue };
            let path = self.path(group);
            let text = if self.css[css].group == Some(group) {
                format!("{path}: {}", self.line(css))
            } else {
                format!("{path}: of {}\n", self.css_path(css))
            };
            lines.push((path, text));
        }
        sort_by_path(&mut lines, |(path, _)| path);
        Ok(lines.into_iter().map(|(_, text)| text).collect())
    }

    fn line(&self, css: CssId) -> String {
        let it = &self.css[css];
        let under = it.parent.map(|parent| format!(" under {}", self.css[parent].number));
        let usage = if it.usage > 0 { format!(", usage {}", it.usage) } else { String::new() };
        let (number, path, under) = (it.number, self.css_path(css), under.unwrap_or_default());
        format!("css {number}{under} of {path}, {}{usage}\n", self.stage(css))
    }
}
