//! The life of a css, and the callbacks on the way.

use super::{Css, CssId, GroupId, Model, Outcome, Stage};
use crate::{
    hook::Hook,
    inject::{Action, event},
};

impl Model {
    /// Creates the css of a new group: all made, then all brought online; undone when one refuses.
    pub(super) fn create_css(&mut self, group: GroupId) -> Result<(), &'static str> {
        let first = self.css.len();
        let Some(parent) = self.groups[group].parent else { return Ok(()) };
        for index in self.bound_to(self.groups[group].tree) {
            if !self.groups[parent].enabled.contains(&index) {
                continue;
            }
            let parent = self.shared_css(parent, index);
            if self.make_one(group, index, parent).is_err() {
                self.undo_css(first, first);
                return Err("Vetoed");
            }
        }
        for css in first..self.css.len() {
            if self.bring_online(css).is_err() {
                self.undo_css(first, css);
                return Err("Vetoed");
            }
        }
        Ok(())
    }

    /// Has one css of a group made, which is not online yet.
    pub(super) fn make_one(
        &mut self,
        group: GroupId,
        index: usize,
        parent: Option<CssId>,
    ) -> Result<(), ()> {
        let seen_at =
            parent.map_or_else(String::new, |css| format!("under {}", self.css_path(css)));
        self.call(index, Hook::NewCss, &seen_at)?;
        let (stage, group, came_online) = (Stage::Made, Some(group), false);
        let (busy, usage, subsystem) = (false, 0, index);
        self.made += 1;
        let number = self.made;
        self.css.push(Css {
            subsystem,
            parent,
            group,
            stage,
            busy,
            came_online,
            seen_at,
            number,
            usage,
        });
        Ok(())
    }

    /// Brings a css online that was made.
    pub(super) fn bring_online(&mut self, css: CssId) -> Result<(), ()> {
        let path = self.css_path(css);
        self.css[css].seen_at.clone_from(&path);
        self.call(self.css[css].subsystem, Hook::Online, &path)?;
        self.css[css].stage = Stage::Online;
        self.css[css].came_online = true;
        Ok(())
    }

    /// Takes the newest css back: from `first` those that came online, from `failed` the others.
    pub(super) fn undo_css(&mut self, first: CssId, failed: CssId) {
        let online: Vec<CssId> = (first..failed).collect();
        self.drain(&online);
        self.bury(&online);
        for css in failed..self.css.len() {
            self.css[css].stage = Stage::Offline;
            self.note_unheld(css);
        }
    }

    /// Has caches given back; comes before css are buried or armed.
    pub(super) fn drain(&mut self, all: &[CssId]) {
        for &css in all {
            self.call_css(css, Hook::Drain);
        }
    }

    /// Takes css offline that are drained, those of one call together.
    pub(super) fn bury(&mut self, all: &[CssId]) {
        for hook in [Hook::Killed, Hook::Offline] {
            for &css in all {
                self.call_css(css, hook);
            }
        }
        for &css in all {
            self.css[css].stage = Stage::Offline;
            self.note_unheld(css);
        }
    }

    /// Notes when a css has lost its last reference and somebody waits for that; call after taking one
    /// away.
    pub(super) fn note_unheld(&mut self, css: CssId) {
        let is_awaited = match self.css[css].stage {
            Stage::Offline => !self.is_held(css),
            Stage::Online => self.is_armed_css(css) && self.css[css].busy && self.holders(css) == 0,
            _ => false,
        };
        if is_awaited && !self.unheld.contains(&css) {
            self.unheld.push(css);
        }
    }

    /// Releases and frees what nobody holds, and tells of groups that are in use no more; what that lets
    /// go of comes in the next round.
    pub(super) fn reap(&mut self) -> Outcome {
        while !(self.unheld.is_empty() && self.emptied.is_empty() && self.resting.is_empty()) {
            let mut round = std::mem::take(&mut self.unheld);
            round.retain(|&css| self.look_at(css));
            for &css in &round {
                if self.css[css].came_online {
                    self.call_css(css, Hook::Released);
                }
                self.css[css].stage = Stage::Released;
            }
            self.arm_emptied();
            let rested = std::mem::take(&mut self.resting);
            self.end_rests(rested);
            for css in round {
                let path = self.css[css].seen_at.clone();
                self.call(self.css[css].subsystem, Hook::Free, &path).ok();
                self.css[css].stage = Stage::Freed;
                if let Some(parent) = self.css[css].parent {
                    self.note_unheld(parent);
                }
            }
        }
        Ok(String::new())
    }

    /// Whether a script's reference, a migration or an unfreed child keeps it.
    pub(super) fn is_held(&self, css: CssId) -> bool {
        let is_child = |other: &Css| other.parent == Some(css) && other.stage != Stage::Freed;
        let is_pinned = self.pinned.contains(&css);
        is_pinned || self.holders(css) > 0 || self.css.iter().any(is_child)
    }

    /// How many references a script holds.
    pub(super) fn holders(&self, css: CssId) -> usize {
        self.references.values().filter(|&&held| held == css).count()
    }

    /// The live css that a group has of its own, in order of registration.
    pub(super) fn live_css(&self, group: GroupId) -> Vec<CssId> {
        self.registered().into_iter().filter_map(|index| self.css_of(group, index)).collect()
    }

    /// The live css that a group has of its own.
    pub(super) fn css_of(&self, group: GroupId, index: usize) -> Option<CssId> {
        self.css.iter().position(|css| {
            css.stage == Stage::Online && css.group == Some(group) && css.subsystem == index
        })
    }

    /// The live css of a subsystem at a group, or at the nearest above that has one.
    pub(super) fn shared_css(&self, group: GroupId, index: usize) -> Option<CssId> {
        self.ancestors(group).into_iter().find_map(|group| self.css_of(group, index))
    }

    pub(super) fn css_path(&self, css: CssId) -> String {
        self.css[css].group.map_or_else(|| "/".to_owned(), |group| self.path(group))
    }

    /// Calls a hook that only looks at a css.
    pub(super) fn call_css(&mut self, css: CssId, hook: Hook) {
        let path = self.css_path(css);
        self.css[css].seen_at.clone_from(&path);
        self.call(self.css[css].subsystem, hook, &path).ok();
    }

    /// Records a callback; an error when it was planned to veto or to panic.
    pub(super) fn call(&mut self, index: usize, hook: Hook, what: &str) -> Result<(), ()> {
        let subsystem = &mut self.subsystems[index];
        let action: Option<Action> = subsystem.plan.call(hook);
        self.events.push(event(&subsystem.name, hook, what, action));
        action.map_or(Ok(()), |_| Err(()))
    }
}
