//! What a script can see of a tree, without the objects: filled by `check.rs` from a real registry
//! and by `model.rs` from the reference model, written by `render.rs`.

/// The current hierarchy, or a subtree of it, and what hangs outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct View {
    /// Sorted by path, parents first.
    pub groups: Vec<GroupView>,
    /// Registered controllers bound nowhere, and who holds their root css.
    pub inactive: Vec<(String, CssView)>,
    /// Named references to css whose group has gone, by name.
    pub detached: Vec<DetachedView>,
}

impl View {
    /// Puts groups into the order of their paths, name by name.
    pub(crate) fn sort(&mut self) {
        sort_by_path(&mut self.groups, |group| &group.path);
    }
}

/// Puts what is about groups into the order of their paths, name by name.
pub(crate) fn sort_by_path<T>(all: &mut [T], path: impl Fn(&T) -> &str) {
    all.sort_by(|a, b| path(a).split('/').cmp(path(b).split('/')));
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a file of its own")]
pub struct GroupView {
    /// From the root of the hierarchy, `/` for the root itself.
    pub path: String,
    /// Names of the bound controllers; on the root only.
    pub controllers: Vec<String>,
    /// Names of the controllers that the groups below have css of; `None` when it is all that this group has.
    pub subtree_control: Option<Vec<String>>,
    /// `cgroup.events`: whether a member sits here or below.
    pub populated: bool,
    /// `cgroup.freeze`: whether a freeze is requested of it.
    pub freeze: bool,
    /// `cgroup.events`: whether one is in effect, and no member here or below runs.
    pub frozen: bool,
    /// Those of the direct members that are asked to freeze, sorted; with `*`, if they have stopped.
    pub asked: Vec<String>,
    /// `notify_on_release`.
    pub notify_on_release: bool,
    /// `None` is `max`.
    pub max_depth: Option<u64>,
    /// `None` is `max`.
    pub max_descendants: Option<u64>,
    /// Groups below.
    pub descendants: u32,
    /// Removed groups below whose css are not all released.
    pub dying_descendants: u32,
    /// Direct members, sorted.
    pub members: Vec<String>,
    /// The group's css by subsystem, or those it shares, in the order of registration.
    pub css: Vec<(String, CssView)>,
}

/// One css.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CssView {
    /// `online`, `dying`, `offline` or `released`.
    pub stage: String,
    /// What was charged to it.
    pub usage: u64,
    /// The group above whose css it is, for a group that has none of its own.
    pub of: Option<String>,
    /// Names of the references held by the script, sorted.
    pub holders: Vec<String>,
}

/// A reference that outlived its group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachedView {
    /// The reference's name.
    pub name: String,
    /// The subsystem's.
    pub subsystem: String,
    /// The group's path, as it can still be read.
    pub path: String,
    /// As in [`CssView`].
    pub stage: String,
}
