//! Control files: what a group tells and takes as text, in the format of Linux cgroup v2.
//!
//! Every group has the files of the core, which begin with `cgroup.` (and `notify_on_release`), and
//! those that its controllers list: `NAME.file`, where the group has a css of its own. Who writes a
//! controller lists them by [`Subsystem::files`](crate::Subsystem::files), reads what comes in with
//! [`parse`] and writes what goes out with [`render`].
//!
//! A file is opened under the structural lock: the group is looked at, the css found and a reference
//! taken. The controller's hook then runs under no lock. Afterwards the lock is taken once more: if
//! the css is still online, the answer stands; if not, the file is opened again, which says what has
//! become of the group. So an operation that races a removal answers as before it, or `Removed`.
//!
//! `docs/control-files.md` has the table of files.
//!
//! # Examples
//!
//! ```
//! use fief_core::Registry;
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let web = tenants.root().create_child("web")?;
//!
//! web.write("cgroup.max.descendants", "10\n")?;
//! assert_eq!(web.read("cgroup.max.descendants")?, "10\n");
//! assert_eq!(web.read("cgroup.stat")?, "nr_descendants 0\nnr_dying_descendants 0\n");
//! let error = web.write("cgroup.max.depth", "1.5").map_err(|error| error.to_string());
//! assert_eq!(
//!     error,
//!     Err("cgroup.max.depth of /web: \"1.5\" is not a number from 0 to 2147483647, or max".into())
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builtin;
mod listing;
mod open;
pub mod parse;
pub mod render;

pub(crate) use self::listing::{Listing, list};
pub use self::{
    listing::{Access, ControlFile, FileInfo},
    parse::InputError,
};
use crate::{
    cgroup::Cgroup,
    error::{ListFilesError, ReadFileError, WriteFileError},
};

impl Cgroup {
    /// Returns the control files that the group has, sorted by name.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock for as long as there are files; runs no hook.
    ///
    /// # Errors
    ///
    /// Refuses a removed group.
    pub fn files(&self) -> Result<Vec<FileInfo>, ListFilesError> {
        open::files(self)
    }

    /// Reads a control file: as a rule `value`, or `key value` a line, with a newline at the end.
    ///
    /// A controller's file takes a reference to the css while it is read: a strict removal that comes
    /// meanwhile is refused, and a group that waits for its release (see
    /// [`Cgroup::set_notify_on_release`]) is told of again.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and lets it go before the controller's
    /// [`read_file`](crate::Subsystem::read_file) runs. A removal waits for no reader; the reader then
    /// answers `Removed`, and where the controller left and came back meanwhile, it reads again.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, a name that is no file's (the error lists the files), a file that can
    /// only be written, and what the controller refuses.
    pub fn read(&self, file: &str) -> Result<String, ReadFileError> {
        open::read(self, file)
    }

    /// Writes a control file.
    ///
    /// Blanks (spaces and tabs) at either end and one newline at the very end are ignored, and nothing
    /// else; see [`parse`].
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::read`], with the controller's [`write_file`](crate::Subsystem::write_file), which may
    /// take long; a file of the core does what the method behind it does.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, a name that is no file's (the error lists the files), a file that can
    /// only be read, and a text that breaks the file's rule (the error quotes it); and what the method
    /// behind the file or the controller refuses. Nothing has changed then.
    pub fn write(&self, file: &str, input: &str) -> Result<(), WriteFileError> {
        open::write(self, file, input)
    }
}
