//! Writes a [`View`] the way `cat` shows cgroupfs: one block a group, one flat-keyed line a file.
//!
//! Sorted, and without ids, addresses and times, so that it can stand in a snapshot. Lines that say
//! nothing are left out: limits at `max`, no controllers, all of them enabled below, no members, nothing below.

use std::fmt::Write;

use crate::view::{CssView, DetachedView, GroupView, View};

/// Renders a tree.
#[must_use]
pub fn render(view: &View) -> String {
    let mut out = String::new();
    for group in &view.groups {
        render_group(&mut out, group);
    }
    for (subsystem, css) in &view.inactive {
        line(&mut out, format_args!("inactive {subsystem}: {}", css_text(css)));
    }
    for reference in &view.detached {
        line(&mut out, format_args!("{}", detached_text(reference)));
    }
    out
}

fn render_group(out: &mut String, group: &GroupView) {
    line(out, format_args!("{}", group.path));
    if !group.controllers.is_empty() {
        line(out, format_args!("  cgroup.controllers: {}", group.controllers.join(" ")));
    }
    if let Some(enabled) = &group.subtree_control {
        let names = if enabled.is_empty() { "none".to_owned() } else { enabled.join(" ") };
        line(out, format_args!("  cgroup.subtree_control: {names}"));
    }
    let frozen = if group.frozen { " frozen 1" } else { "" };
    line(out, format_args!("  cgroup.events: populated {}{frozen}", u8::from(group.populated)));
    if group.freeze {
        line(out, format_args!("  cgroup.freeze: 1"));
    }
    if !group.asked.is_empty() {
        line(out, format_args!("  asked to freeze: {}", group.asked.join(" ")));
    }
    if let Some(limit) = group.max_depth {
        line(out, format_args!("  cgroup.max.depth: {limit}"));
    }
    if let Some(limit) = group.max_descendants {
        line(out, format_args!("  cgroup.max.descendants: {limit}"));
    }
    let (descendants, dying) = (group.descendants, group.dying_descendants);
    if descendants + dying > 0 {
        let stat = format_args!("nr_descendants {descendants} nr_dying_descendants {dying}");
        line(out, format_args!("  cgroup.stat: {stat}"));
    }
    if !group.members.is_empty() {
        line(out, format_args!("  cgroup.tasks: {}", group.members.join(" ")));
    }
    if group.notify_on_release {
        line(out, format_args!("  notify_on_release: 1"));
    }
    for (subsystem, css) in &group.css {
        line(out, format_args!("  {subsystem}: {}", css_text(css)));
    }
}

fn css_text(css: &CssView) -> String {
    if let Some(group) = &css.of {
        return format!("of {group}");
    }
    let mut text = css.stage.clone();
    if css.usage > 0 {
        text.push_str(&format!(", usage {}", css.usage));
    }
    if !css.holders.is_empty() {
        text.push_str(&format!(", held by {}", css.holders.join(" ")));
    }
    text
}

fn detached_text(reference: &DetachedView) -> String {
    let DetachedView { name, subsystem, path, stage } = reference;
    format!("detached {name}: {subsystem} of {path}, {stage}")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(out, "{text}").ok();
}
