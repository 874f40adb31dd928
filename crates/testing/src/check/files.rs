//! The commands about control files.

use super::{Session, done};
use crate::{names::split, refusal::Failure};

type Outcome = Result<String, Failure>;

impl Session {
    pub(super) fn ls(&self, path: Option<&str>) -> Outcome {
        let files = self.group(path.unwrap_or("/"))?.files()?;
        Ok(files.iter().map(|file| format!("{} {}\n", file.access, file.name)).collect())
    }

    pub(super) fn cat(&self, path: &str) -> Outcome {
        let (group, file) = split(path);
        Ok(self.group(group)?.read(file)?)
    }

    /// As a shell's `echo`, which ends a line.
    pub(super) fn echo(&self, value: &str, path: &str) -> Outcome {
        let (group, file) = split(path);
        Ok(done(self.group(group)?.write(file, &format!("{value}\n"))?))
    }
}
