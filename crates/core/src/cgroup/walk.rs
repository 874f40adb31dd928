//! Walks over a tree while others create and remove.
//!
//! A walker keeps its position by handle, and finds the next sibling as the first whose id is
//! above. So a group that is there from the beginning of a walk to its end is met exactly once,
//! whatever comes and goes beside it, the position itself included; one that comes or goes meanwhile
//! may be met or not. The rule is the kernel's (`css_next_child`).

use crate::{
    cgroup::{Cgroup, Node},
    registry::Owner,
    sync::Arc,
};

/// A group's children in order of creation; from [`Cgroup::children`].
#[derive(Debug, Clone)]
pub struct Children {
    owner: Arc<Owner>,
    parent: Arc<Node>,
    last: u64,
}

/// A group and the groups above it; from [`Cgroup::ancestors`].
#[derive(Debug, Clone)]
pub struct Ancestors {
    next: Option<Cgroup>,
}

/// A group and all below it, parents before children; from [`Cgroup::descendants_pre`].
#[derive(Debug, Clone)]
pub struct DescendantsPre {
    owner: Arc<Owner>,
    top: Arc<Node>,
    last: Option<Arc<Node>>,
    is_done: bool,
}

/// A group and all below it, children before parents; from [`Cgroup::descendants_post`].
#[derive(Debug, Clone)]
pub struct DescendantsPost {
    owner: Arc<Owner>,
    top: Arc<Node>,
    last: Option<Arc<Node>>,
}

impl Children {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        Self { owner: Arc::clone(cgroup.owner()), parent: Arc::clone(cgroup.node()), last: 0 }
    }
}

impl Ancestors {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        Self { next: Some(cgroup.clone()) }
    }
}

impl DescendantsPre {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        let (owner, top) = (Arc::clone(cgroup.owner()), Arc::clone(cgroup.node()));
        Self { owner, top, last: None, is_done: false }
    }
}

impl DescendantsPost {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        let (owner, top) = (Arc::clone(cgroup.owner()), Arc::clone(cgroup.node()));
        Self { owner, top, last: None }
    }
}

impl Node {
    /// Returns this group and every one below it, parents before their children.
    pub(crate) fn with_all_below(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut nodes = vec![Arc::clone(self)];
        while let Some(next) = nodes.last().and_then(|last| next_pre(self, last)) {
            nodes.push(next);
        }
        nodes
    }
}

/// Returns what follows `last` in a walk of parents before children below `top`.
pub(crate) fn next_pre(top: &Arc<Node>, last: &Arc<Node>) -> Option<Arc<Node>> {
    last.child_after(0).or_else(|| {
        let mut node = Arc::clone(last);
        while !Arc::ptr_eq(&node, top) {
            let parent = Arc::clone(node.parent.as_ref()?);
            if let Some(sibling) = parent.child_after(node.id) {
                return Some(sibling);
            }
            node = parent;
        }
        None
    })
}

/// Returns what comes before everything else in a walk of children before parents.
fn leftmost(top: &Arc<Node>) -> Arc<Node> {
    let mut node = Arc::clone(top);
    while let Some(child) = node.child_after(0) {
        node = child;
    }
    node
}

impl Iterator for Children {
    type Item = Cgroup;

    fn next(&mut self) -> Option<Cgroup> {
        let node = self.parent.child_after(self.last)?;
        self.last = node.id;
        Some(Cgroup::new(Arc::clone(&self.owner), node))
    }
}

impl Iterator for Ancestors {
    type Item = Cgroup;

    fn next(&mut self) -> Option<Cgroup> {
        let cgroup = self.next.take()?;
        self.next = cgroup.parent();
        Some(cgroup)
    }
}

impl Iterator for DescendantsPre {
    type Item = Cgroup;

    fn next(&mut self) -> Option<Cgroup> {
        if self.is_done {
            return None;
        }
        let node = match &self.last {
            None => Some(Arc::clone(&self.top)),
            Some(last) => next_pre(&self.top, last),
        };
        self.is_done = node.is_none();
        self.last.clone_from(&node);
        node.map(|node| Cgroup::new(Arc::clone(&self.owner), node))
    }
}

impl Iterator for DescendantsPost {
    type Item = Cgroup;

    fn next(&mut self) -> Option<Cgroup> {
        let node = match &self.last {
            None => leftmost(&self.top),
            Some(last) if Arc::ptr_eq(last, &self.top) => return None,
            Some(last) => {
                let parent = last.parent.as_ref()?;
                parent
                    .child_after(last.id)
                    .map_or_else(|| Arc::clone(parent), |next| leftmost(&next))
            }
        };
        self.last = Some(Arc::clone(&node));
        Some(Cgroup::new(Arc::clone(&self.owner), node))
    }
}

impl std::iter::FusedIterator for DescendantsPre {}
impl std::iter::FusedIterator for DescendantsPost {}
