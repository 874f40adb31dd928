//! The files that every group has: `cgroup.*` and `notify_on_release`.
//!
//! A root has them all. The kernel's has neither `cgroup.events` nor `cgroup.kill`, as its root group
//! is the machine; here it is where a program's tasks sit that joined nothing, and each method behind
//! a file works on it.

use super::{Access, FileInfo, InputError, parse, render};
use crate::{
    cgroup::{Cgroup, create::GREATEST, name},
    error::{
        AttachError, KillError, LimitError, NotifyError, StructuralError, SubtreeError,
        WriteFileError,
    },
    task,
    units::Limit,
};

/// A file of the core: what it shows, and what it takes.
pub(super) struct Builtin {
    name: &'static str,
    read: Option<fn(&Cgroup) -> String>,
    write: Option<Write>,
}

type Write = fn(&Cgroup, &str) -> Result<(), Failure>;

/// Why a write came to nothing, without file and group.
pub(super) enum Failure {
    Malformed(InputError),
    NoTask(u64),
    Attach(AttachError),
    Subtree(SubtreeError),
    Removed,
    Structural(StructuralError),
}

static ALL: [Builtin; 9] = [
    Builtin {
        name: "cgroup.controllers",
        read: Some(|cgroup| render::words(cgroup.controllers())),
        write: None,
    },
    Builtin { name: "cgroup.events", read: Some(events), write: None },
    Builtin { name: "cgroup.kill", read: None, write: Some(kill) },
    Builtin {
        name: "cgroup.max.depth",
        read: Some(|cgroup| render::value(cgroup.max_depth())),
        write: Some(|cgroup, input| Ok(cgroup.set_max_depth(limit(input)?)?)),
    },
    Builtin {
        name: "cgroup.max.descendants",
        read: Some(|cgroup| render::value(cgroup.max_descendants())),
        write: Some(|cgroup, input| Ok(cgroup.set_max_descendants(limit(input)?)?)),
    },
    Builtin { name: "cgroup.stat", read: Some(stat), write: None },
    Builtin {
        name: "cgroup.subtree_control",
        read: Some(|cgroup| render::words(cgroup.subtree_control())),
        write: Some(control_subtree),
    },
    Builtin { name: "cgroup.tasks", read: Some(tasks), write: Some(attach) },
    Builtin {
        name: "notify_on_release",
        read: Some(|cgroup| render::flag(cgroup.notify_on_release())),
        write: Some(|cgroup, input| Ok(cgroup.set_notify_on_release(parse::flag(input)?)?)),
    },
];

fn events(cgroup: &Cgroup) -> String {
    render::flat([("populated", u8::from(cgroup.is_populated()))])
}

fn stat(cgroup: &Cgroup) -> String {
    render::flat([
        ("nr_descendants", cgroup.descendant_count()),
        ("nr_dying_descendants", cgroup.dying_descendant_count()),
    ])
}

fn tasks(cgroup: &Cgroup) -> String {
    render::flat(cgroup.members().into_iter().map(|member| (member.id, member.name)))
}

fn attach(cgroup: &Cgroup, input: &str) -> Result<(), Failure> {
    let id = parse::number(input).map_err(|_| InputError::new(input, "the id of a task"))?;
    if task::attach_by_id(id, cgroup)? { Ok(()) } else { Err(Failure::NoTask(id)) }
}

fn kill(cgroup: &Cgroup, input: &str) -> Result<(), Failure> {
    if !parse::flag(input).is_ok_and(|kill| kill) {
        return Err(InputError::new(input, "1").into());
    }
    cgroup.kill()?;
    Ok(())
}

/// Takes `+name -name`; of a name that comes twice, the last.
fn control_subtree(cgroup: &Cgroup, input: &str) -> Result<(), Failure> {
    let malformed = || InputError::new(input, "a list of controllers with + or - before each");
    let mut asked: Vec<(&str, bool)> = Vec::new();
    for word in parse::words(input).map_err(|_| malformed())? {
        let enables = word.starts_with('+');
        let name = word.strip_prefix(['+', '-']).filter(|name| name::is_subsystem(name));
        let name = name.ok_or_else(malformed)?;
        asked.retain(|(before, _)| *before != name);
        asked.push((name, enables));
    }
    let those = |which: bool| {
        asked.iter().filter(move |(_, enables)| *enables == which).map(|(name, _)| *name).collect()
    };
    let (enable, disable): (Vec<&str>, Vec<&str>) = (those(true), those(false));
    Ok(cgroup.set_subtree_control(&enable, &disable)?)
}

fn limit(input: &str) -> Result<Limit, InputError> {
    parse::limit_in(input, 0..=GREATEST.into())
}

/// Returns every file of the core.
pub(super) fn all() -> impl Iterator<Item = FileInfo> {
    ALL.iter().map(|file| FileInfo { name: file.name.to_owned(), access: file.access() })
}

impl Builtin {
    /// Finds a file by its name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|file| file.name == name)
    }

    pub(super) fn access(&self) -> Access {
        match (self.read, self.write) {
            (Some(_), Some(_)) => Access::ReadWrite,
            (None, Some(_)) => Access::Write,
            (_, None) => Access::Read,
        }
    }

    /// Reads the file, if it can be; the caller looks afterwards whether the group was there until
    /// then.
    pub(super) fn read(&self, cgroup: &Cgroup) -> String {
        self.read.map(|read| read(cgroup)).unwrap_or_default()
    }

    /// Writes the file, if it can be, in one step under the structural lock.
    pub(super) fn write(&self, cgroup: &Cgroup, input: &str) -> Result<(), WriteFileError> {
        let outcome = self.write.map_or(Ok(()), |write| write(cgroup, input));
        let (path, file) = (|| cgroup.path(), || self.name.to_owned());
        outcome.map_err(|failure| match failure {
            Failure::Malformed(source) => {
                WriteFileError::Malformed { cgroup: path(), file: file(), source }
            }
            Failure::NoTask(id) => WriteFileError::NoTask { cgroup: path(), id },
            Failure::Attach(error) => WriteFileError::Attach(error),
            Failure::Subtree(error) => WriteFileError::Subtree(error),
            Failure::Removed => WriteFileError::Removed { cgroup: path(), file: file() },
            Failure::Structural(error) => WriteFileError::Structural(error),
        })
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Malformed(error)
    }
}

impl From<LimitError> for Failure {
    fn from(error: LimitError) -> Self {
        match error {
            LimitError::Range { limit, most, .. } => {
                let expected = format!("a number from 0 to {most}, or max");
                InputError::new(&limit.to_string(), expected).into()
            }
            LimitError::Removed { .. } => Self::Removed,
            LimitError::Structural(error) => Self::Structural(error),
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Removed { .. } => Self::Removed,
            AttachError::Structural(error) => Self::Structural(error),
            AttachError::Foreign { .. } | AttachError::Vetoed(_) => Self::Attach(error),
        }
    }
}

impl From<SubtreeError> for Failure {
    fn from(error: SubtreeError) -> Self {
        match error {
            SubtreeError::Removed { .. } => Self::Removed,
            SubtreeError::Structural(error) => Self::Structural(error),
            SubtreeError::Unknown { .. }
            | SubtreeError::Unavailable { .. }
            | SubtreeError::Busy { .. }
            | SubtreeError::Contradiction { .. }
            | SubtreeError::Capacity { .. }
            | SubtreeError::Vetoed(_) => Self::Subtree(error),
        }
    }
}

impl From<KillError> for Failure {
    fn from(error: KillError) -> Self {
        match error {
            KillError::Removed { .. } => Self::Removed,
            KillError::Structural(error) => Self::Structural(error),
        }
    }
}

impl From<NotifyError> for Failure {
    fn from(error: NotifyError) -> Self {
        match error {
            NotifyError::Removed { .. } => Self::Removed,
            NotifyError::Structural(error) => Self::Structural(error),
        }
    }
}
