//! The control files: `io.max` and the like, in the formats of Linux cgroup v2.

use fief_core::{ControlFile, Css, HookError};

use crate::css::IoCss;

/// Every file.
pub(crate) const FILES: &[ControlFile] = &[];

pub(crate) fn read(_css: &Css<IoCss>, file: &str) -> Result<String, HookError> {
    Err(format!("{file} cannot be read").into())
}

pub(crate) fn write(_css: &Css<IoCss>, file: &str, _input: &str) -> Result<(), HookError> {
    Err(format!("{file} cannot be written").into())
}
