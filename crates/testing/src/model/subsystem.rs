//! Subsystems: registered, bound, inactive, gone.

use super::{Css, Model, Outcome, Stage, Subsystem, TreeId};
use crate::{
    hook::Hook,
    inject::{Action, Plan},
};

impl Model {
    pub(super) fn register(&mut self, name: &str) -> Outcome {
        check_name(name)?;
        if self.subsystem_named(name).is_some() {
            return Err("Exists".to_owned());
        }
        let prefix = format!("{name}.");
        if self.groups.iter().any(|group| !group.removed && group.name.starts_with(&prefix)) {
            return Err("Collides".to_owned());
        }
        let (index, root) = (self.subsystems.len(), self.css.len());
        self.css.push(Css {
            subsystem: index,
            parent: None,
            group: None,
            stage: Stage::Online,
            busy: false,
            came_online: true,
            seen_at: "/".to_owned(),
            number: self.made + 1,
            usage: 0,
        });
        self.made += 1;
        let (name, plan) = (name.to_owned(), Plan::default());
        self.subsystems.push(Subsystem { name, registered: true, root, tree: None, plan });
        self.call(index, Hook::NewCss, "root").ok();
        self.call(index, Hook::Online, "/").ok();
        for hook in [Hook::CanFork, Hook::Fork] {
            for task in 0..self.tasks.len() {
                let at = format!("{} at /", self.tasks[task].name);
                self.call(index, hook, &at).ok();
            }
        }
        Ok(String::new())
    }

    pub(super) fn unregister(&mut self, name: &str) -> Outcome {
        let index = self.known(name)?;
        if self.subsystems[index].tree.is_some() {
            return Err("Bound".to_owned());
        }
        let root = self.subsystems[index].root;
        self.drain(&[root]);
        self.bury(&[root]);
        self.subsystems[index].registered = false;
        Ok(String::new())
    }

    pub(super) fn inject(&mut self, name: &str, hook: Hook, nth: u32, panic: bool) -> Outcome {
        let index = self.known(name)?;
        let action = if panic { Action::Panic } else { Action::Veto };
        self.subsystems[index].plan.add(hook, nth, action);
        Ok(String::new())
    }

    pub(super) fn known(&self, name: &str) -> Result<usize, &'static str> {
        self.subsystem_named(name).ok_or("UnknownSubsystem")
    }

    fn subsystem_named(&self, name: &str) -> Option<usize> {
        self.registered().into_iter().find(|&index| self.subsystems[index].name == name)
    }

    /// Those that are, in order of registration.
    pub(super) fn registered(&self) -> Vec<usize> {
        let all = 0..self.subsystems.len();
        all.filter(|&index| self.subsystems[index].registered).collect()
    }

    /// Those on a tree, in order of registration.
    pub(super) fn bound_to(&self, tree: TreeId) -> Vec<usize> {
        let bound = |&index: &usize| self.subsystems[index].tree == Some(tree);
        self.registered().into_iter().filter(bound).collect()
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let first = name.starts_with(|char: char| char.is_ascii_lowercase());
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if first && name != "cgroup" && name.len() <= 32 && name.bytes().all(legal) {
        Ok(())
    } else {
        Err("Name")
    }
}
