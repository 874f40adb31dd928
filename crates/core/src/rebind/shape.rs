//! Whether two trees have the same shape, and which group is whose counterpart.
//!
//! A group's counterpart has the same name under the counterpart of its parent, unless the caller's mapping
//! names another child of that group. Roots are each other's counterparts. The comparison goes parents
//! before children, siblings in order of creation, and ends at the first difference.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::{cgroup::Node, hierarchy::Hier, sync::Arc};

/// Groups and their counterparts.
#[derive(Default)]
pub(crate) struct Images {
    /// By the index of the first.
    pairs: Vec<Option<(Arc<Node>, Arc<Node>)>>,
    /// The indexes of all: what a column is built from, without a look at any group.
    indexes: Vec<(u32, u32)>,
    /// Those of which one or the other was armed as they were compared.
    armed: Vec<(Arc<Node>, Arc<Node>)>,
}

/// Counterparts that go by the caller's word instead of by name.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    images: HashMap<u64, Arc<Node>>,
    /// Groups that are somebody's counterpart by the mapping: the id of its hierarchy, and theirs.
    taken: HashSet<(u64, u64)>,
}

/// Why two trees differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Difference {
    /// The target has no counterpart of the source's group.
    Missing,
    /// The source has no counterpart of the target's group.
    Extra,
    /// The mapping gives the source's group a counterpart that is not below its parent's.
    Elsewhere,
}

/// The first difference between two trees.
#[derive(Debug)]
pub(crate) struct Differs {
    pub(crate) difference: Difference,
    /// In the source; of an extra group, in the target.
    pub(crate) path: String,
}

impl Images {
    /// Returns nothing but two roots.
    pub(crate) fn of_roots(source: Arc<Node>, target: Arc<Node>) -> Self {
        let indexes = vec![(source.index, target.index)];
        Self { pairs: vec![Some((source, target))], indexes, armed: Vec::new() }
    }

    /// Returns the counterpart of the group at `index`.
    pub(crate) fn image(&self, index: u32) -> Option<&Arc<Node>> {
        self.pairs.get(index as usize)?.as_ref().map(|(_, image)| image)
    }

    /// Yields groups and their counterparts.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &(Arc<Node>, Arc<Node>)> {
        self.pairs.iter().flatten()
    }

    /// Returns the indexes of groups and their counterparts.
    pub(crate) fn indexes(&self) -> &[(u32, u32)] {
        &self.indexes
    }

    /// Returns those of which one or the other was armed as they were compared.
    pub(crate) fn armed(&self) -> &[(Arc<Node>, Arc<Node>)] {
        &self.armed
    }

    fn add(&mut self, node: Arc<Node>, image: Arc<Node>) {
        if node.is_armed() || image.is_armed() {
            self.armed.push((Arc::clone(&node), Arc::clone(&image)));
        }
        self.indexes.push((node.index, image.index));
        let index = node.index as usize;
        if self.pairs.len() <= index {
            self.pairs.resize_with(index + 1, || None);
        }
        self.pairs[index] = Some((node, image));
    }
}

impl Mapping {
    /// Adds a counterpart; returns false if either has one already in the other's hierarchy.
    pub(crate) fn add(&mut self, source: &Node, target: &Arc<Node>) -> bool {
        let taken = (source.hierarchy.id(), target.id);
        let is_new = !self.images.contains_key(&source.id) && self.taken.insert(taken);
        if is_new {
            self.images.insert(source.id, Arc::clone(target));
        }
        is_new
    }
}

/// Finds the counterpart in `target` of every group of `source`, or the first difference.
///
/// Costs one or two short locks a group, and a look-up by name where siblings stand in another order.
pub(crate) fn compare(source: &Hier, target: &Hier, mapping: &Mapping) -> Result<Images, Differs> {
    let mut images = Images::default();
    let mut pairs: Vec<_> = source.root().zip(target.root()).into_iter().collect();
    for (source, target) in &pairs {
        let by_mapping = mapping.images.get(&source.id);
        if by_mapping.is_some_and(|image| !Arc::ptr_eq(image, target)) {
            return Err(Differs { difference: Difference::Elsewhere, path: source.path() });
        }
    }
    while let Some((node, image)) = pairs.pop() {
        let children = match_children(&node, &image, mapping)?;
        pairs.extend(children.into_iter().rev());
        images.add(node, image);
    }
    Ok(images)
}

type Pairs = Vec<(Arc<Node>, Arc<Node>)>;

fn match_children(node: &Node, image: &Arc<Node>, mapping: &Mapping) -> Result<Pairs, Differs> {
    let (children, candidates) = (node.children(), image.children());
    if mapping.images.is_empty() && are_named_alike(&children, &candidates) {
        return Ok(children.into_iter().zip(candidates).collect());
    }
    let mut pairs = Vec::with_capacity(children.len());
    for child in children {
        let counterpart = match mapping.images.get(&child.id) {
            Some(image_of) if image_of.parent.as_ref().is_some_and(|it| Arc::ptr_eq(it, image)) => {
                Arc::clone(image_of)
            }
            Some(_) => {
                return Err(Differs { difference: Difference::Elsewhere, path: child.path() });
            }
            None => {
                let named = image.child(&child.name());
                let taken = |named: &Arc<Node>| (node.hierarchy.id(), named.id);
                let free = named.filter(|named| !mapping.taken.contains(&taken(named)));
                let missing = || Differs { difference: Difference::Missing, path: child.path() };
                free.ok_or_else(missing)?
            }
        };
        pairs.push((child, counterpart));
    }
    if pairs.len() < candidates.len() {
        let used: HashSet<u64> = pairs.iter().map(|(_, counterpart)| counterpart.id).collect();
        let extra = candidates.iter().find(|candidate| !used.contains(&candidate.id));
        let path = extra.map_or_else(String::new, |extra| extra.path());
        return Err(Differs { difference: Difference::Extra, path });
    }
    Ok(pairs)
}

fn are_named_alike(children: &[Arc<Node>], candidates: &[Arc<Node>]) -> bool {
    children.len() == candidates.len()
        && children.iter().zip(candidates).all(|(one, other)| one.is_namesake(other))
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Images").field(&self.pairs.len()).finish()
    }
}
