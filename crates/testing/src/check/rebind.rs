//! The commands about where controllers are bound, and what can be seen of that.

use fief_core::{
    AnyController, Cgroup, Controller, Css, CssRef, Hierarchy, MemberPolicy, RebindOptions,
};

use super::{Session, done};
use crate::{
    recorder::{Recorder, Recording},
    refusal::{Failure, Refusal},
    script::Command,
    view::sort_by_path,
};

type Outcome = Result<String, Failure>;

impl Session {
    pub(super) fn apply_binding(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Bind { subsystem, hierarchy } => {
                Ok(done(self.controller(subsystem)?.bind(&self.named(hierarchy)?)?))
            }
            Command::Unbind(name) => Ok(done(self.controller(name)?.unbind()?)),
            Command::Rebind { subsystems, hierarchy, mapping, moves } => {
                self.rebind(subsystems, hierarchy, mapping, *moves)
            }
            Command::Remount { hierarchy, subsystems } => self.remount(hierarchy, subsystems),
            Command::Subtree { path, enable, disable } => {
                let (enable, disable) = (names(enable), names(disable));
                Ok(done(self.group(path)?.set_subtree_control(&enable, &disable)?))
            }
            Command::Charge { subsystem, path, amount } => self.charge(subsystem, path, *amount),
            Command::Css(subsystem) => self.list_css(subsystem),
            Command::Resolve { task, subsystem } => self.resolve(task, subsystem),
            Command::Parents(reference) => {
                let css: &Css<Recording> = self.held(reference)?;
                let chain = std::iter::successors(Some(css), |css| css.parent());
                Ok(chain.map(|css| self.line(css)).collect())
            }
            _ => self.apply_members(command),
        }
    }

    fn controllers(&self, names: &[String]) -> Result<Vec<&Controller<Recorder>>, Refusal> {
        names.iter().map(|name| self.controller(name)).collect()
    }

    fn rebind(
        &self,
        subsystems: &[String],
        hierarchy: &str,
        mapping: &[(String, String)],
        moves: bool,
    ) -> Outcome {
        let controllers = self.controllers(subsystems)?;
        let target = self.named(hierarchy)?;
        let mut pairs: Vec<(Cgroup, Cgroup)> = Vec::new();
        // Bound nowhere, the first has no groups that could have counterparts; it is refused below.
        if let Some(source) = controllers.first().and_then(|first| first.hierarchy()) {
            for (from, to) in mapping {
                pairs.push((find(&source, from)?, find(&target, to)?));
            }
        }
        let policy = if moves { MemberPolicy::Move } else { MemberPolicy::Refuse };
        let options = RebindOptions::new().mapping(pairs).members(policy);
        if let [controller] = controllers[..] {
            return Ok(done(controller.rebind(&target, &options)?));
        }
        Ok(done(self.registry.rebind(&any(&controllers), &target, &options)?))
    }

    fn remount(&self, hierarchy: &str, subsystems: &[String]) -> Outcome {
        let controllers = self.controllers(subsystems)?;
        Ok(done(self.named(hierarchy)?.remount(&any(&controllers))?))
    }

    fn charge(&self, subsystem: &str, path: &str, amount: u64) -> Outcome {
        self.css_of(subsystem, path)?.charge(amount);
        Ok(String::new())
    }

    /// Takes a reference to the css that a group has, or shares.
    pub(super) fn css_of(&self, subsystem: &str, path: &str) -> Result<CssRef<Recording>, Failure> {
        let group = self.group(path)?;
        let css = self.controller(subsystem)?.css(&group);
        Ok(css.ok_or_else(|| Refusal::NoCss { subsystem: subsystem.to_owned() })?)
    }

    fn list_css(&self, subsystem: &str) -> Outcome {
        let controller = self.controller(subsystem)?;
        let top = self.group("/")?;
        let mut lines = Vec::new();
        let guard = self.registry.read();
        for group in top.descendants_pre() {
            let Some(css) = guard.css(controller, &group) else { continue };
            let path = group.path();
            let text = match guard.cgroup(css).filter(|shows| *shows != group) {
                Some(above) => format!("{path}: of {}\n", above.path()),
                None => format!("{path}: {}", self.line(css)),
            };
            lines.push((path, text));
        }
        sort_by_path(&mut lines, |(path, _)| path);
        Ok(lines.into_iter().map(|(_, text)| text).collect())
    }

    fn resolve(&self, task: &str, subsystem: &str) -> Outcome {
        let (task, controller) = (self.member(task)?, self.controller(subsystem)?);
        let guard = self.registry.read();
        let css = guard.task_css(controller, task).ok_or(Refusal::Gone)?;
        Ok(self.line(css))
    }

    /// Returns all that a script can see without changing anything.
    pub(super) fn everything(&mut self) -> String {
        let selected = self.current.clone();
        let mut text = String::new();
        for hierarchy in self.registry.hierarchies() {
            text.push_str(&format!("hierarchy {}\n", hierarchy.name()));
            self.current = Some(hierarchy);
            text.push_str(&self.show(None).unwrap_or_else(|failure| failure.text));
            for controller in &self.controllers {
                let css = self.list_css(controller.name());
                text.push_str(&css.unwrap_or_else(|failure| failure.text));
            }
        }
        self.current = selected;
        let guard = self.registry.read();
        for controller in &self.controllers {
            for task in &self.tasks {
                let css = guard.task_css(controller, task).map(|css| self.line(css));
                text.push_str(&format!("{}: {}", task.name(), css.unwrap_or_default()));
            }
        }
        drop(guard);
        for css in self.references.values() {
            text.push_str(&self.line(css));
        }
        let (told, refused) = self.told_and_refused();
        text.push_str(&format!("{told} told, {refused} refused, {} watches\n", self.watches.len()));
        text
    }

    /// What is to stay the same of a css wherever it is shown, and where that is.
    fn line(&self, css: &Css<Recording>) -> String {
        let mut ids = self.ids.borrow_mut();
        let id = *ids.entry(css.number()).or_insert_with(|| css.id());
        let changed = if id == css.id() { "" } else { ", under another id" };
        let under = css.parent().map(|parent| format!(" under {}", parent.number()));
        let usage =
            if css.usage() > 0 { format!(", usage {}", css.usage()) } else { String::new() };
        let stage = format!("{:?}", css.state()).to_lowercase();
        let (number, path, under) = (css.number(), css.path(), under.unwrap_or_default());
        format!("css {number}{under} of {path}, {stage}{usage}{changed}\n")
    }
}

fn names(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn any<'c>(controllers: &[&'c Controller<Recorder>]) -> Vec<&'c dyn AnyController> {
    controllers.iter().map(|controller| *controller as _).collect()
}

/// Finds a group by its path from a hierarchy's root.
fn find(hierarchy: &Hierarchy, path: &str) -> Result<Cgroup, Failure> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    Ok(hierarchy.lookup(&format!("/{relative}"))?)
}
