//! What `show` sees of a real registry.

use fief_core::{Cgroup, Controller, Css, CssRef, Limit, Subsystem};

use super::Session;
use crate::{
    recorder::{Recorder, Recording},
    refusal::Failure,
    render::render,
    view::{CssView, DetachedView, GroupView, View},
};

impl Session {
    pub(super) fn show(&self, path: Option<&str>) -> Result<String, Failure> {
        let top = self.group(path.unwrap_or("/"))?;
        let groups = top.descendants_pre().map(|group| self.group_view(&group));
        let (inactive, detached) = (self.inactive(), self.detached());
        let mut view = View { groups: groups.collect(), inactive, detached };
        view.sort();
        Ok(render(&view))
    }

    fn group_view(&self, group: &Cgroup) -> GroupView {
        let is_root = group.depth() == 0;
        let mut members: Vec<String> =
            group.members().into_iter().map(|member| member.name).collect();
        members.sort();
        GroupView {
            path: group.path(),
            controllers: if is_root { group.hierarchy().controllers() } else { Vec::new() },
            subtree_control: Some(group.subtree_control()).filter(|it| *it != group.controllers()),
            populated: group.is_populated(),
            freeze: group.is_freeze_requested(),
            frozen: group.is_frozen(),
            asked: self.asked(group),
            notify_on_release: group.notify_on_release(),
            max_depth: bounded(group.max_depth()),
            max_descendants: bounded(group.max_descendants()),
            descendants: group.descendant_count(),
            dying_descendants: group.dying_descendant_count(),
            members,
            css: self.group_css(group),
        }
    }

    fn asked(&self, group: &Cgroup) -> Vec<String> {
        let here = self
            .tasks
            .iter()
            .filter(|task| task.cgroup(&group.hierarchy()).as_ref() == Some(group));
        let asked = here.filter(|task| task.is_freeze_requested());
        let star = |is_frozen| if is_frozen { "*" } else { "" };
        let mut asked: Vec<String> =
            asked.map(|task| format!("{}{}", task.name(), star(task.is_frozen()))).collect();
        asked.sort();
        asked
    }

    /// Looks without counting, so that looking changes nothing.
    fn group_css(&self, group: &Cgroup) -> Vec<(String, CssView)> {
        let guard = self.registry.read();
        let view = |controller: &Controller<Recorder>| {
            let css = guard.css(controller, group)?;
            let above = guard.cgroup(css).filter(|shows| shows != group);
            let of = above.map(|above| above.path());
            Some((controller.subsystem().name().to_owned(), CssView { of, ..self.css_view(css) }))
        };
        self.controllers.iter().filter_map(view).collect()
    }

    fn css_view(&self, css: &Css<Recording>) -> CssView {
        let held = self.references.iter().filter(|(_, held)| held.id() == css.id());
        CssView {
            stage: stage(css),
            usage: css.usage(),
            of: None,
            holders: held.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn inactive(&self) -> Vec<(String, CssView)> {
        let inactive = self.controllers.iter().filter(|it| it.hierarchy().is_none());
        let view = |controller: &Controller<Recorder>| {
            let root = controller.root()?;
            Some((controller.subsystem().name().to_owned(), self.css_view(&root)))
        };
        inactive.filter_map(view).collect()
    }

    fn detached(&self) -> Vec<DetachedView> {
        let gone = self.references.iter().filter(|(_, css)| stage(css) != "online");
        let view = |(name, css): (&String, &CssRef<Recording>)| DetachedView {
            name: name.clone(),
            subsystem: css.subsystem().to_owned(),
            path: css.path(),
            stage: stage(css),
        };
        gone.map(view).collect()
    }
}

fn stage(css: &Css<Recording>) -> String {
    format!("{:?}", css.state()).to_lowercase()
}

fn bounded(limit: Limit) -> Option<u64> {
    match limit {
        Limit::At(limit) => Some(limit),
        Limit::Max => None,
    }
}
