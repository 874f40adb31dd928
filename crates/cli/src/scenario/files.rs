//! The report's files: all of them, or none.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::{Builder, NamedTempFile};

use super::{html, outcome::Outcome, plot};

/// A directory to write a report to.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it, if it is not there, and looks whether it can be written.
    ///
    /// # Errors
    ///
    /// Names it.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        let writes = fs::create_dir_all(path).and_then(|()| NamedTempFile::new_in(path));
        writes.with_context(|| cannot(path))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes `report.json`, `report.html` and the plots; what was there of an earlier report is replaced.
    ///
    /// # Errors
    ///
    /// Names the directory; then the earlier report is as it was, or none is there, but for an error of renaming.
    pub(crate) fn write(&self, outcome: &Outcome) -> Result<()> {
        let plots = plot::all(outcome)?;
        let mut json = serde_json::to_vec_pretty(outcome).context("cannot write down a report")?;
        json.push(b'\n');
        let mut files = vec![
            ("report.json".to_owned(), json),
            ("report.html".to_owned(), html::page(outcome, &plots).into_bytes()),
        ];
        files.extend(
            plots.into_iter().map(|plot| (format!("{}.svg", plot.name), plot.svg.into_bytes())),
        );
        let mut written = Vec::new();
        for (name, bytes) in files {
            let mut file = readable().tempfile_in(&self.0).with_context(|| cannot(&self.0))?;
            file.write_all(&bytes).with_context(|| cannot(&self.0))?;
            written.push((name, file));
        }
        for (name, file) in written {
            let path = self.0.join(name);
            file.persist(&path).map_err(|error| error.error).with_context(|| cannot(&path))?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// A file that everybody may read who may read what this process makes.
fn readable() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

fn cannot(path: &Path) -> String {
    format!("cannot write a report to {}; choose another place with --out", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "taken").unwrap();
        let error = Directory::make(&file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("--out"), "{error}");
    }
}
