//! Removing groups, by either policy.

use super::{CssId, GroupId, Model, Outcome};

impl Model {
    pub(super) fn rmdir(&mut self, path: &str, strict: bool, subtree: bool) -> Outcome {
        let top = self.lookup(path)?;
        let parent = self.groups[top].parent.ok_or("Root")?;
        let groups = self.going(top, subtree)?;
        let csses: Vec<CssId> = groups.iter().flat_map(|&group| self.live_css(group)).collect();
        self.drain(&csses);
        let holders = self.holder_texts(&csses);
        if strict && !holders.is_empty() {
            self.refused += 1;
            for group in groups {
                self.groups[group].told = None;
            }
            return Err(format!("{} is in use: {}", self.path(top), holders.join(", ")));
        }
        self.bury(&csses);
        for &group in &groups {
            self.groups[group].ended_frozen = self.is_frozen(group);
            self.groups[group].removed = true;
        }
        self.note_emptied(parent);
        Ok(if subtree { format!("{} removed\n", groups.len()) } else { String::new() })
    }

    /// The groups that are to go, children before their parents.
    fn going(&self, top: GroupId, subtree: bool) -> Result<Vec<GroupId>, &'static str> {
        if !subtree && !self.children(top).is_empty() {
            return Err("Busy");
        }
        let groups: Vec<GroupId> = self.preorder(top).into_iter().rev().collect();
        let is_busy = groups.iter().any(|&group| !self.members(group).is_empty());
        if is_busy { Err("Busy") } else { Ok(groups) }
    }

    /// Each css with references, and how many; of more than eight, how many more there are.
    fn holder_texts(&self, csses: &[CssId]) -> Vec<String> {
        let held = csses.iter().filter(|&&css| self.holders(css) > 0);
        let text = |&css: &CssId| {
            let (count, subsystem) = (self.holders(css), self.subsystem_of(css));
            let s = if count == 1 { "" } else { "s" };
            format!("{count} reference{s} to {subsystem} of {}", self.css_path(css))
        };
        let mut texts: Vec<String> = held.map(text).collect();
        if texts.len() > 8 {
            let more = texts.drain(8..).count();
            texts.push(format!("and {more} more"));
        }
        texts
    }
}
