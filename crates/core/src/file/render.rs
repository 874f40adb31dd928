//! What control files show, in the shapes of cgroup v2: one value, flat-keyed, nested-keyed.
//!
//! Each function returns whole lines, so that the results of several can be put one after the other.

use std::fmt::{Display, Write};

/// Returns one value on a line: `512\n`.
#[must_use]
pub fn value(value: impl Display) -> String {
    format!("{value}\n")
}

/// Returns `0\n` or `1\n`.
#[must_use]
pub fn flag(is_set: bool) -> String {
    value(u8::from(is_set))
}

/// Returns words on a line, or nothing when there are none: `memory io\n`.
#[must_use]
pub fn words<W: Display>(words: impl IntoIterator<Item = W>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
    if words.is_empty() { String::new() } else { value(words.join(" ")) }
}

/// Returns a flat-keyed file: `key value\n` for each.
#[must_use]
pub fn flat<K: Display, V: Display>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    pairs.into_iter().fold(String::new(), |mut text, (key, value)| {
        // Writing to a string cannot fail.
        writeln!(text, "{key} {value}").ok();
        text
    })
}

/// Returns a line of a nested-keyed file: `name key=value key=value\n`.
#[must_use]
pub fn nested<K: Display, V: Display>(
    name: impl Display,
    pairs: impl IntoIterator<Item = (K, V)>,
) -> String {
    let mut text = name.to_string();
    for (key, value) in pairs {
        // Writing to a string cannot fail.
        write!(text, " {key}={value}").ok();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file::parse, units::Limit};

    #[test]
    fn every_shape_is_that_of_cgroup_v2() {
        assert_eq!(value(Limit::Max), "max\n");
        assert_eq!((flag(false), flag(true)), ("0\n".to_owned(), "1\n".to_owned()));
        assert_eq!((words(["a", "b"]), words::<&str>([])), ("a b\n".to_owned(), String::new()));
        assert_eq!(flat([("low", 0), ("max", 2)]), "low 0\nmax 2\n");
        assert_eq!(nested("disk", [("rbps", Limit::At(1))]), "disk rbps=1\n");
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        for limit in [Limit::At(0), Limit::At(u64::MAX), Limit::Max] {
            assert_eq!(parse::size_limit(&value(limit)), Ok(limit));
        }
        assert_eq!(parse::flag(&flag(true)), Ok(true));
        assert_eq!(parse::keyed(&flat([("default", 100)])), Ok(("default", "100")));
        let line = nested("disk", [("rbps", "max"), ("wbps", "1")]);
        let nested = parse::nested(&line).expect("well-formed");
        assert_eq!((nested.name, nested.pairs), ("disk", vec![("rbps", "max"), ("wbps", "1")]));
    }
}
