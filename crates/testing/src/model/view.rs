//! What `show` prints, according to the model.

use super::{CssId, Group, GroupId, Model, Outcome, Stage};
use crate::{
    render::render,
    view::{CssView, DetachedView, GroupView, View},
};

impl Model {
    pub(super) fn show(&self, path: Option<&str>) -> Outcome {
        let top = self.lookup(path.unwrap_or("/"))?;
        let mut groups = vec![top];
        groups.extend(self.descendants(top));
        let mut view = View {
            groups: groups.into_iter().map(|group| self.group_view(group)).collect(),
            inactive: self.inactive(),
            detached: self.detached(),
        };
        view.sort();
        Ok(render(&view))
    }

    fn group_view(&self, group: GroupId) -> GroupView {
        let below = self.descendants(group);
        let tree = self.groups[group].tree;
        let is_root = self.groups[group].parent.is_none();
        let bound = if is_root { self.bound_to(tree) } else { Vec::new() };
        let name = |task: usize| self.tasks[task].name.clone();
        let mut members: Vec<String> = self.members(group).into_iter().map(name).collect();
        members.sort();
        GroupView {
            path: self.path(group),
            controllers: bound.iter().map(|&index| self.subsystems[index].name.clone()).collect(),
            subtree_control: self.subtree_control(group),
            populated: [group].iter().chain(&below).any(|&group| !self.members(group).is_empty()),
            freeze: self.groups[group].freezes,
            frozen: self.is_frozen(group),
            asked: self.asked(group),
            notify_on_release: self.groups[group].notifies,
            max_depth: self.groups[group].max_depth,
            max_descendants: self.groups[group].max_descendants,
            descendants: count(below.len()),
            dying_descendants: self.dying(group),
            members,
            css: self.group_css(group),
        }
    }

    /// The css of a group by subsystem, or those it shares.
    fn group_css(&self, group: GroupId) -> Vec<(String, CssView)> {
        let view = |index: usize| {
            let css = self.shared_css(group, index)?;
            let of = (self.css[css].group != Some(group)).then(|| self.css_path(css));
            Some((self.subsystems[index].name.clone(), CssView { of, ..self.css_view(css) }))
        };
        self.registered().into_iter().filter_map(view).collect()
    }

    /// The controllers enabled below, unless it is all that the group has.
    fn subtree_control(&self, group: GroupId) -> Option<Vec<String>> {
        let bound = self.bound_to(self.groups[group].tree);
        let is_here = |index: &usize| {
            let parent = self.groups[group].parent;
            parent.is_none_or(|parent| self.groups[parent].enabled.contains(index))
        };
        let is_enabled = |index: &&usize| self.groups[group].enabled.contains(*index);
        let (here, enabled): (Vec<_>, Vec<_>) = (
            bound.iter().copied().filter(is_here).collect(),
            bound.iter().filter(is_enabled).copied().collect(),
        );
        let name = |index: usize| self.subsystems[index].name.clone();
        (here != enabled).then(|| enabled.into_iter().map(name).collect())
    }

    fn css_view(&self, css: CssId) -> CssView {
        let held = self.references.iter().filter(|&(_, &held)| held == css);
        CssView {
            stage: self.stage(css),
            usage: self.css[css].usage,
            of: None,
            holders: held.map(|(name, _)| name.clone()).collect(),
        }
    }

    pub(super) fn stage(&self, css: CssId) -> String {
        format!("{:?}", self.css[css].stage).to_lowercase()
    }

    /// Removed groups below with a css that is not released.
    fn dying(&self, group: GroupId) -> u32 {
        let lingers = |other: GroupId| {
            self.css.iter().any(|css| css.group == Some(other) && css.stage < Stage::Released)
        };
        let dying = |&other: &GroupId| {
            let Group { born, removed, .. } = self.groups[other];
            born && removed
                && other != group
                && self.ancestors(other).contains(&group)
                && lingers(other)
        };
        count((0..self.groups.len()).filter(dying).count())
    }

    fn inactive(&self) -> Vec<(String, CssView)> {
        let all = self.registered().into_iter().map(|index| &self.subsystems[index]);
        let inactive = all.filter(|subsystem| subsystem.tree.is_none());
        inactive.map(|subsystem| (subsystem.name.clone(), self.css_view(subsystem.root))).collect()
    }

    pub(super) fn subsystem_of(&self, css: CssId) -> String {
        self.subsystems[self.css[css].subsystem].name.clone()
    }

    fn detached(&self) -> Vec<DetachedView> {
        let gone = self.references.iter().filter(|&(_, &css)| self.css[css].stage > Stage::Online);
        let view = |(name, &css): (&String, &CssId)| DetachedView {
            name: name.clone(),
            subsystem: self.subsystem_of(css),
            path: self.css_path(css),
            stage: self.stage(css),
        };
        gone.map(view).collect()
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
