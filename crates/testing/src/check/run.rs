//! The commands that take more than one call.

use fief_core::{Cgroup, CreateWithError, CssRef, Limit, Removal};

use super::{Session, done};
use crate::{
    hook::Hook,
    inject::Action,
    names::{fresh, split},
    recorder::{Recorder, Recording},
    refusal::{Failure, Refusal},
};

type Outcome = Result<String, Failure>;

impl Session {
    pub(super) fn hierarchy(&mut self, name: &str) -> Outcome {
        self.current = Some(self.registry.create_hierarchy(name)?);
        Ok(String::new())
    }

    pub(super) fn select(&mut self, name: &str) -> Outcome {
        self.current = Some(self.named(name)?);
        Ok(String::new())
    }

    pub(super) fn register(&mut self, name: &str) -> Outcome {
        let controller = self.registry.register(Recorder::new(name, &self.log))?;
        self.controllers.push(controller);
        Ok(String::new())
    }

    pub(super) fn unregister(&mut self, name: &str) -> Outcome {
        self.controller(name)?.unregister()?;
        self.controllers.retain(|controller| controller.name() != name);
        Ok(String::new())
    }

    pub(super) fn mkdir(&self, path: &str) -> Outcome {
        let (parent, name) = split(path);
        self.group(parent)?.create_child(name)?;
        Ok(String::new())
    }

    pub(super) fn mkdir_with(&self, path: &str, tasks: &[String]) -> Outcome {
        let tasks = tasks.iter().map(|task| self.member(task)).collect::<Result<Vec<_>, _>>()?;
        let (parent, name) = split(path);
        match self.group(parent)?.create_child_with(name, &tasks) {
            Ok(_) => Ok(String::new()),
            Err(CreateWithError::Create(error)) => Err(error.into()),
            Err(CreateWithError::Attach(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn rmdir(&self, path: &str, strict: bool, subtree: bool) -> Outcome {
        let group = self.group(path)?;
        let removal = if strict { Removal::Strict } else { Removal::Detach };
        if !subtree {
            return Ok(done(group.remove(removal)?));
        }
        Ok(format!("{} removed\n", group.remove_subtree(removal)?))
    }

    pub(super) fn get(&mut self, path: &str, subsystem: &str, name: Option<&str>) -> Outcome {
        let css = self.css_of(subsystem, path)?;
        self.hold(css, name)
    }

    pub(super) fn root(&mut self, subsystem: &str, name: Option<&str>) -> Outcome {
        let css = self.controller(subsystem)?.root().ok_or(Refusal::Gone)?;
        self.hold(css, name)
    }

    pub(super) fn clone_reference(&mut self, reference: &str, name: Option<&str>) -> Outcome {
        let css = self.held(reference)?.clone();
        self.hold(css, name)
    }

    pub(super) fn put(&mut self, name: &str) -> Outcome {
        self.held(name)?;
        drop(self.references.remove(name));
        Ok(String::new())
    }

    pub(super) fn weak(&mut self, reference: &str, name: Option<&str>) -> Outcome {
        let weak = CssRef::downgrade(self.held(reference)?);
        let name = fresh(name, 'w', |name| self.weaks.contains_key(name))?;
        self.weaks.insert(name, weak);
        Ok(String::new())
    }

    pub(super) fn upgrade(&mut self, weak: &str, name: Option<&str>) -> Outcome {
        let unknown = || Refusal::UnknownReference(weak.to_owned());
        let weak = self.weaks.get(weak).ok_or_else(unknown)?;
        let css = weak.upgrade().ok_or(Refusal::Gone)?;
        self.hold(css, name)
    }

    pub(super) fn inject(&self, name: &str, hook: Hook, nth: u32, panic: bool) -> Outcome {
        let action = if panic { Action::Panic } else { Action::Veto };
        self.controller(name)?.subsystem().inject(hook, nth, action);
        Ok(String::new())
    }

    /// Finds a group by its path from the current root.
    pub(super) fn group(&self, path: &str) -> Result<Cgroup, Failure> {
        let relative = path.strip_prefix('/').unwrap_or(path);
        Ok(self.current()?.lookup(&format!("/{relative}"))?)
    }

    fn hold(&mut self, css: CssRef<Recording>, name: Option<&str>) -> Outcome {
        let name = fresh(name, 'r', |name| self.references.contains_key(name))?;
        self.references.insert(name, css);
        Ok(String::new())
    }
}

/// The core's spelling of a limit.
pub(super) fn limit(limit: Option<u64>) -> Limit {
    limit.map_or(Limit::Max, Limit::At)
}
