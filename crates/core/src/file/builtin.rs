//! The files that every group has: `cgroup.*` and `notify_on_release`.
//!
//! A root has those whose method works on it: all but `cgroup.freeze`. The kernel's has neither
//! `cgroup.events` nor `cgroup.kill`, as its root group is the machine; here it is where a program's
//! tasks sit that joined nothing.

use super::{Access, FileInfo, InputError, parse, render};
use crate::{
    cgroup::{Cgroup, create::GREATEST, name},
    error::{
        AttachError, FreezeError, KillError, LimitError, NotifyError, StructuralError,
        SubtreeError, WriteFileError,
    },
    task,
    units::Limit,
};

/// A file of the core: what it shows, and what it takes.
pub(super) struct Builtin {
    name: &'static str,
    is_on_root: bool,
    read: Option<Read>,
    write: Option<Write>,
}

type Read = fn(&Cgroup) -> String;
type Write = fn(&Cgroup, &str) -> Result<(), Failure>;

/// Why a write came to nothing, without file and group.
pub(super) enum Failure {
    Malformed(InputError),
    NoTask(u64),
    Attach(AttachError),
    Freeze(FreezeError),
    Subtree(SubtreeError),
    Removed,
    Structural(StructuralError),
}

static ALL: [Builtin; 10] = [
    Builtin::read_only("cgroup.controllers", |cgroup| render::words(cgroup.controllers())),
    Builtin::read_only("cgroup.events", events),
    Builtin {
        is_on_root: false,
        ..Builtin::read_write(
            "cgroup.freeze",
            |cgroup| render::flag(cgroup.is_freeze_requested()),
            freeze,
        )
    },
    Builtin { write: Some(kill), ..Builtin::new("cgroup.kill") },
    Builtin::read_write(
        "cgroup.max.depth",
        |cgroup| render::value(cgroup.max_depth()),
        |cgroup, input| Ok(cgroup.set_max_depth(limit(input)?)?),
    ),
    Builtin::read_write(
        "cgroup.max.descendants",
        |cgroup| render::value(cgroup.max_descendants()),
        |cgroup, input| Ok(cgroup.set_max_descendants(limit(input)?)?),
    ),
    Builtin::read_only("cgroup.stat", stat),
    Builtin::read_write(
        "cgroup.subtree_control",
        |cgroup| render::words(cgroup.subtree_control()),
        control_subtree,
    ),
    Builtin::read_write("cgroup.tasks", tasks, attach),
    Builtin::read_write(
        "notify_on_release",
        |cgroup| render::flag(cgroup.notify_on_release()),
        |cgroup, input| Ok(cgroup.set_notify_on_release(parse::flag(input)?)?),
    ),
];

fn events(cgroup: &Cgroup) -> String {
    render::flat([
        ("populated", u8::from(cgroup.is_populated())),
        ("frozen", u8::from(cgroup.is_frozen())),
    ])
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

fn freeze(cgroup: &Cgroup, input: &str) -> Result<(), Failure> {
    let freezes = parse::flag(input)?;
    Ok(if freezes { cgroup.freeze() } else { cgroup.thaw() }?)
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

/// Returns every file of the core that a root, or any other group, has.
pub(super) fn all(is_root: bool) -> impl Iterator<Item = FileInfo> {
    let files = ALL.iter().filter(move |file| file.is_on_root || !is_root);
    files.map(|file| FileInfo { name: file.name.to_owned(), access: file.access() })
}

impl Builtin {
    const fn new(name: &'static str) -> Self {
        Self { name, is_on_root: true, read: None, write: None }
    }

    const fn read_only(name: &'static str, read: Read) -> Self {
        Self { read: Some(read), ..Self::new(name) }
    }

    const fn read_write(name: &'static str, read: Read, write: Write) -> Self {
        Self { read: Some(read), write: Some(write), ..Self::new(name) }
    }

    /// Finds a file by its name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|file| file.name == name)
    }

    pub(super) fn is_on_root(&self) -> bool {
        self.is_on_root
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
            Failure::Freeze(error) => WriteFileError::Freeze(error),
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

impl From<FreezeError> for Failure {
    fn from(error: FreezeError) -> Self {
        match error {
            FreezeError::Removed { .. } => Self::Removed,
            FreezeError::Root { .. } => Self::Freeze(error),
            FreezeError::Structural(error) => Self::Structural(error),
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
