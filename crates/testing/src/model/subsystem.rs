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
        });
        let (name, plan) = (name.to_owned(), Plan::default());
        self.subsystems.push(Subsystem { name, registered: true, root, tree: None, plan });
        self.call(index, Hook::NewCss, "root").ok();
        self.call(index, Hook::Online, "/").ok();
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

    pub(super) fn bind(&mut self, name: &str, hierarchy: &str) -> Outcome {
        let index = self.known(name)?;
        let tree = self.tree_named(hierarchy).ok_or("UnknownHierarchy")?;
        if self.subsystems[index].tree.is_some() {
            return Err("Bound".to_owned());
        }
        if !self.children(self.trees[tree].root).is_empty() {
            return Err("Populated".to_owned());
        }
        self.move_root(index, Some(tree));
        Ok(String::new())
    }

    pub(super) fn unbind(&mut self, name: &str) -> Outcome {
        let index = self.known(name)?;
        let tree = self.subsystems[index].tree.ok_or("Unbound")?;
        if !self.children(self.trees[tree].root).is_empty() {
            return Err("Populated".to_owned());
        }
        self.move_root(index, None);
        Ok(String::new())
    }

    /// Moves the root css to a hierarchy, or to the hidden default one.
    pub(super) fn move_root(&mut self, index: usize, tree: Option<TreeId>) {
        let root = self.subsystems[index].root;
        self.subsystems[index].tree = tree;
        self.css[root].group = tree.map(|tree| self.trees[tree].root);
        self.call_css(root, Hook::Bound);
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
