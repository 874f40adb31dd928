//! Errors about subsystems and where they are bound.

use thiserror::Error as ThisError;

use crate::{
    error::{CapacityError, StructuralError, Veto},
    rebind::{Refusal, shape::Difference},
};

/// A subsystem could not be registered.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is not a lower-case letter and up to 31 of `a-z 0-9 _`, or it is `cgroup`.
    #[error("subsystem name {name:?} is not a-z and up to 31 of a-z 0-9 _, or is cgroup")]
    Name {
        /// The name.
        name: String,
    },
    /// A subsystem of that name is registered.
    #[error("subsystem {name} is registered")]
    Exists {
        /// The name.
        name: String,
    },
    /// Groups have names that its control files would hide.
    #[error("subsystem {name} would hide the groups {}", .cgroups.join(", "))]
    Collides {
        /// The name.
        name: String,
        /// Up to 16 of the groups, as `hierarchy:path`.
        cgroups: Vec<String>,
    },
    /// It lists a control file whose name breaks the rule of [`Subsystem::files`].
    ///
    /// [`Subsystem::files`]: crate::Subsystem::files
    #[error("subsystem {name} lists the file {file:?}, not 64 bytes of dotted words of a-z 0-9 _")]
    File {
        /// The name.
        name: String,
        /// The file.
        file: String,
    },
    /// It lists a control file twice.
    #[error("subsystem {name} lists the file {file} twice")]
    FileTwice {
        /// The name.
        name: String,
        /// The file.
        file: String,
    },
    /// There are 64 subsystems, or css ids are used up.
    #[error("subsystem {name} cannot be registered: {source}")]
    Capacity {
        /// The name.
        name: String,
        /// The capacity.
        source: CapacityError,
    },
    /// The subsystem's own hook refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A controller could not be unregistered.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum UnregisterError {
    /// It is bound to a hierarchy.
    #[error("subsystem {subsystem} is bound to hierarchy {hierarchy}")]
    Bound {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
    },
    /// It is unregistered already.
    #[error("subsystem {subsystem} is unregistered")]
    Unregistered {
        /// The subsystem.
        subsystem: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A controller could not be bound or unbound.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum BindError {
    /// It is bound to a hierarchy already.
    #[error("subsystem {subsystem} is bound to hierarchy {hierarchy}")]
    Bound {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy that has it.
        hierarchy: String,
    },
    /// It is bound nowhere.
    #[error("subsystem {subsystem} is bound to no hierarchy")]
    Unbound {
        /// The subsystem.
        subsystem: String,
    },
    /// Css ids are used up, or memory is out.
    #[error("subsystem {subsystem} cannot be bound to hierarchy {hierarchy}: {source}")]
    Capacity {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
        /// The capacity.
        source: CapacityError,
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The hierarchy is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
    /// Controller and hierarchy are of different registries.
    #[error("subsystem {subsystem} and hierarchy {hierarchy} are of different registries")]
    Foreign {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
    },
    /// The controller is unregistered.
    #[error("subsystem {subsystem} is unregistered")]
    Unregistered {
        /// The subsystem.
        subsystem: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A controller could not be moved between hierarchies.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RebindError {
    /// The trees differ.
    #[error("hierarchies {source_hierarchy} and {target} differ: {path} {}", describe(*.difference, .source_hierarchy, .target))]
    Differs {
        /// The hierarchy that was to be left.
        source_hierarchy: String,
        /// The one that was to be entered.
        target: String,
        /// How they differ.
        difference: Difference,
        /// The first path where they do: of the hierarchy that has it.
        path: String,
    },
    /// Members would change css, and the options do not say that they may.
    #[error(transparent)]
    Members(#[from] MoverError),
    /// A pair of the mapping breaks a rule.
    #[error("mapping {source_cgroup} to {target}: {rule}")]
    Mapping {
        /// The first group of the pair, as `hierarchy:path`.
        source_cgroup: String,
        /// The second, likewise.
        target: String,
        /// The rule.
        rule: &'static str,
    },
    /// The controller is bound to the target already.
    #[error("subsystem {subsystem} is bound to hierarchy {hierarchy}")]
    Bound {
        /// The subsystem.
        subsystem: String,
        /// The target.
        hierarchy: String,
    },
    /// The controller is bound nowhere: nothing is there to be moved, bind it.
    #[error("subsystem {subsystem} is bound to no hierarchy")]
    Unbound {
        /// The subsystem.
        subsystem: String,
    },
    /// The controller is named twice.
    #[error("subsystem {subsystem} is named twice")]
    Twice {
        /// The subsystem.
        subsystem: String,
    },
    /// The target is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The target.
        hierarchy: String,
    },
    /// Controller, hierarchy and registry are not of one registry.
    #[error("subsystem {subsystem} and hierarchy {hierarchy} are of different registries")]
    Foreign {
        /// The subsystem.
        subsystem: String,
        /// The target.
        hierarchy: String,
    },
    /// The controller is unregistered.
    #[error("subsystem {subsystem} is unregistered")]
    Unregistered {
        /// The subsystem.
        subsystem: String,
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

fn describe(difference: Difference, source: &str, target: &str) -> String {
    match difference {
        Difference::Missing => format!("of {source} has no counterpart in {target}"),
        Difference::Extra => format!("of {target} has no counterpart in {source}"),
        Difference::Elsewhere => {
            format!("of {source} is mapped to a group that is not below its parent's counterpart")
        }
    }
}

/// Members whose css would change.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{count} members would change css of {subsystem}, first {task}, from {from} to {to}")]
#[non_exhaustive]
pub struct MoverError {
    /// The subsystem of the first.
    pub subsystem: String,
    /// The name of the first task.
    pub task: String,
    /// Where it is in the hierarchy that would be left, as `hierarchy:path`.
    pub from: String,
    /// Where it is in the target, likewise.
    pub to: String,
    /// How many, one for each controller that has it.
    pub count: usize,
}

/// A hook that was asked has kept a guard, for which the call would wait for ever.
fn guard_kept(operation: &'static str) -> StructuralError {
    let target = "a controller whose hook keeps a guard".to_owned();
    StructuralError::GuardHeld { operation, target }
}

impl From<Refusal> for BindError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Vetoed(veto) => Self::Vetoed(veto),
            Refusal::Members(_) | Refusal::GuardHeld => unreachable!("only a rebind asks"),
        }
    }
}

impl From<Refusal> for SubtreeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Vetoed(veto) => Self::Vetoed(veto),
            Refusal::GuardHeld => Self::Structural(guard_kept("cgroup.subtree_control")),
            Refusal::Members(_) => unreachable!("members may move"),
        }
    }
}

impl From<Refusal> for RebindError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Vetoed(veto) => Self::Vetoed(veto),
            Refusal::Members(members) => Self::Members(members),
            Refusal::GuardHeld => Self::Structural(guard_kept("rebind")),
        }
    }
}

/// Controllers could not be enabled or disabled below a group.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum SubtreeError {
    /// No subsystem of that name is registered.
    #[error("cgroup.subtree_control of {cgroup}: there is no subsystem {}", crate::quote::quote(.subsystem))]
    Unknown {
        /// The group.
        cgroup: String,
        /// The name.
        subsystem: String,
    },
    /// The group has no css of the controller itself.
    #[error("cgroup.subtree_control of {cgroup}: {subsystem} is not in its cgroup.controllers")]
    Unavailable {
        /// The group.
        cgroup: String,
        /// The subsystem.
        subsystem: String,
    },
    /// A child with children of its own has the controller enabled.
    #[error("cgroup.subtree_control of {cgroup}: {child} has {subsystem} enabled for its children")]
    Busy {
        /// The group.
        cgroup: String,
        /// The subsystem.
        subsystem: String,
        /// The child.
        child: String,
    },
    /// The controller is to be both enabled and disabled.
    #[error("cgroup.subtree_control of {cgroup}: {subsystem} cannot be both enabled and disabled")]
    Contradiction {
        /// The group.
        cgroup: String,
        /// The subsystem.
        subsystem: String,
    },
    /// Css ids are used up, or memory is out.
    #[error("cgroup.subtree_control of {cgroup}: {subsystem} cannot be enabled: {source}")]
    Capacity {
        /// The group.
        cgroup: String,
        /// The subsystem.
        subsystem: String,
        /// The capacity.
        source: CapacityError,
    },
    /// The group is removed.
    #[error("cgroup.subtree_control of {cgroup} cannot be set: it is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
