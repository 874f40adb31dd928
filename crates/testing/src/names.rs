//! Names of a script, treated alike by the real run and the model.

use crate::refusal::Refusal;

/// Returns the wanted name, or the first free one of `r1`, `r2`, …
pub(crate) fn fresh(
    wanted: Option<&str>,
    letter: char,
    taken: impl Fn(&str) -> bool,
) -> Result<String, Refusal> {
    let Some(wanted) = wanted else {
        let mut names = (1..=u32::MAX).map(|number| format!("{letter}{number}"));
        let all = || Refusal::Taken(letter.to_string());
        return names.find(|name| !taken(name)).ok_or_else(all);
    };
    if taken(wanted) { Err(Refusal::Taken(wanted.to_owned())) } else { Ok(wanted.to_owned()) }
}

/// Splits a path into its parent's and the last name.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
