//! Opening a file: whether the group has it, and what is read or written then.

use super::{
    Access, FileInfo, InputError,
    builtin::{self, Builtin},
};
use crate::{
    cgroup::{Cgroup, Node},
    controller::Instance,
    css::{Pin, State},
    error::{
        Absence, HookError, ListFilesError, ReadFileError, StructuralError, UnknownFileError,
        WriteFileError,
    },
    quote::quote,
    registry::{Engine, Tree, engine::Bound},
    sync::Arc,
};

/// A file of a group that was online a moment ago.
struct Opened {
    access: Access,
    what: What,
}

enum What {
    /// One of the core's.
    Builtin(&'static Builtin),
    /// A controller's, by its name without the subsystem's.
    Listed { name: &'static str, instance: Arc<dyn Instance>, css: Pin },
}

/// Why a file could not be opened.
enum OpenError {
    Unknown(UnknownFileError),
    Removed,
    Structural(StructuralError),
}

pub(super) fn files(cgroup: &Cgroup) -> Result<Vec<FileInfo>, ListFilesError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("files", || node.path())?;
    if !node.is_online() {
        return Err(ListFilesError::Removed { cgroup: node.path() });
    }
    let files = entries(&mut tree, node);
    drop(tree);
    Ok(files)
}

pub(super) fn read(cgroup: &Cgroup, file: &str) -> Result<String, ReadFileError> {
    let engine = &cgroup.owner().engine;
    let (path, name) = (|| cgroup.path(), || file.to_owned());
    loop {
        let opened = open(cgroup, file, "read").map_err(|error| match error {
            OpenError::Unknown(error) => ReadFileError::Unknown(error),
            OpenError::Removed => ReadFileError::Removed { cgroup: path(), file: shown(file) },
            OpenError::Structural(error) => ReadFileError::Structural(error),
        })?;
        let answer = match &opened.what {
            _ if !opened.access.is_readable() => {
                Err(ReadFileError::WriteOnly { cgroup: path(), file: name() })
            }
            What::Builtin(builtin) => Ok(builtin.read(cgroup)),
            What::Listed { name: listed, instance, css } => instance
                .read_file(css.css(), listed)
                .map_err(|source| ReadFileError::Refused { cgroup: path(), file: name(), source }),
        };
        if opened.close(engine, cgroup.node()) {
            return answer;
        }
        engine.drop_each([answer]);
    }
}

pub(super) fn write(cgroup: &Cgroup, file: &str, input: &str) -> Result<(), WriteFileError> {
    let engine = &cgroup.owner().engine;
    let (path, name) = (|| cgroup.path(), || file.to_owned());
    loop {
        let opened = open(cgroup, file, "write").map_err(|error| match error {
            OpenError::Unknown(error) => WriteFileError::Unknown(error),
            OpenError::Removed => WriteFileError::Removed { cgroup: path(), file: shown(file) },
            OpenError::Structural(error) => WriteFileError::Structural(error),
        })?;
        let answer = match &opened.what {
            _ if !opened.access.is_writable() => {
                Err(WriteFileError::ReadOnly { cgroup: path(), file: name() })
            }
            // Is done under the lock, and says itself what became of the group.
            What::Builtin(builtin) => return builtin.write(cgroup, input),
            What::Listed { name: listed, instance, css } => instance
                .write_file(css.css(), listed, input)
                .map_err(|source| refusal(path(), name(), source)),
        };
        if opened.close(engine, cgroup.node()) {
            return answer;
        }
        engine.drop_each([answer]);
    }
}

/// Returns what a controller's refusal is: of the text, or any other.
fn refusal(cgroup: String, file: String, source: HookError) -> WriteFileError {
    match source.downcast::<InputError>() {
        Ok(source) => WriteFileError::Malformed { cgroup, file, source: *source },
        Err(source) => WriteFileError::Refused { cgroup, file, source },
    }
}

/// Returns a name that nobody has looked at yet as an error may show it.
fn shown(file: &str) -> String {
    let is_plain = file.len() <= 64 && file.bytes().all(|b| b.is_ascii_graphic());
    if is_plain { file.to_owned() } else { quote(file) }
}

/// Finds a file, and takes a reference to the css that it is about.
fn open(cgroup: &Cgroup, file: &str, operation: &'static str) -> Result<Opened, OpenError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let tree = engine.structure(operation, || node.path());
    let mut tree = tree.map_err(OpenError::Structural)?;
    if !node.is_online() {
        return Err(OpenError::Removed);
    }
    let opened = open_known(&mut tree, node, file).map_err(|absence| {
        let files = entries(&mut tree, node).into_iter().map(|file| file.name).collect();
        OpenError::Unknown(UnknownFileError {
            cgroup: node.path(),
            file: quote(file),
            absence,
            files,
        })
    });
    drop(tree);
    opened
}

fn open_known(tree: &mut Tree, node: &Arc<Node>, file: &str) -> Result<Opened, Absence> {
    match Builtin::named(file) {
        Some(builtin) if node.parent.is_none() && !builtin.is_on_root() => Err(Absence::NotOnRoot),
        Some(builtin) => Ok(Opened { access: builtin.access(), what: What::Builtin(builtin) }),
        None => open_listed(tree, node, file),
    }
}

fn open_listed(tree: &mut Tree, node: &Arc<Node>, file: &str) -> Result<Opened, Absence> {
    let Some((subsystem, name)) = file.split_once('.') else { return Err(Absence::Plain) };
    let all = tree.bound_to(&node.hierarchy);
    let Some(bound) = all.iter().find(|bound| bound.identity().name == subsystem) else {
        if !tree.subsystem_names().any(|registered| registered == subsystem) {
            return Err(Absence::Plain);
        }
        let hierarchy = node.hierarchy.name().to_owned();
        return Err(Absence::Unbound { subsystem: subsystem.to_owned(), hierarchy });
    };
    let listed = bound.instance.files().iter().find(|listed| listed.name() == name);
    let listed = listed.ok_or(Absence::Plain)?;
    let is_root = node.parent.is_none();
    if !listed.is_on(is_root) {
        return Err(if is_root { Absence::NotOnRoot } else { Absence::OnlyOnRoot });
    }
    let css = own_css(tree, bound, node)
        .ok_or_else(|| Absence::NotEnabled { subsystem: subsystem.to_owned() })?;
    let (name, instance) = (listed.name(), Arc::clone(&bound.instance));
    Ok(Opened { access: listed.access(), what: What::Listed { name, instance, css } })
}

/// Pins the css of `node`, if it is its own and not that of a group above.
fn own_css(tree: &Tree, bound: &Bound, node: &Arc<Node>) -> Option<Pin> {
    let css = bound.css(tree, node.index)?;
    if Arc::ptr_eq(&css.core().group(), node) { Pin::try_new(css) } else { None }
}

/// Returns every file of an online group, sorted by name.
fn entries(tree: &mut Tree, node: &Arc<Node>) -> Vec<FileInfo> {
    let is_root = node.parent.is_none();
    let mut files: Vec<FileInfo> = builtin::all(is_root).collect();
    for bound in &*tree.bound_to(&node.hierarchy) {
        let is_own =
            bound.css(tree, node.index).is_some_and(|css| Arc::ptr_eq(&css.core().group(), node));
        let listed = bound.instance.files().iter().filter(|file| is_own && file.is_on(is_root));
        files.extend(listed.map(|file| FileInfo {
            name: format!("{}.{}", bound.identity().name, file.name()),
            access: file.access(),
        }));
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

impl Opened {
    /// Returns whether what was opened has been there until now; the caller holds no lock.
    ///
    /// Under the lock: a removal is then over, or has not begun.
    fn close(self, engine: &Engine, node: &Node) -> bool {
        let tree = engine.lock();
        let is_current = match &self.what {
            What::Builtin(_) => node.is_online(),
            What::Listed { css, .. } => css.css().core().state() == State::Online,
        };
        drop(tree);
        is_current
    }
}
