//! Rust source as the checks see it: without comments and literals, as paths, up to its tests.

/// The text with comments and literals blanked; every line keeps its number and length in bytes.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(is_word);
        let hidden = hidden(rest, after_word).unwrap_or(0);
        let taken = if hidden == 0 { first.len_utf8() } else { hidden };
        let (head, tail) = rest.split_at(taken);
        if hidden == 0 {
            code.push(first);
        } else {
            code.extend(head.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    code
}

/// The length in bytes of the comment or literal at the start of the text, if there is one.
fn hidden(text: &str, after_word: bool) -> Option<usize> {
    let raw = if after_word { None } else { raw_string(text) };
    raw.or_else(|| comment(text)).or_else(|| string(text)).or_else(|| character(text))
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| block_comment(text))
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut position = 0;
    while position < text.len() {
        let rest = &text.as_bytes()[position..];
        position += 2;
        if rest.starts_with(b"/*") {
            depth += 1;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
        } else {
            position -= 1;
        }
        if depth == 0 {
            return position;
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let body = start.trim_start_matches('#');
    let body = body.strip_prefix('"')?;
    let hashes = start.len() - body.len() - 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|next| {
        let ends = next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        ends
    });
    Some(end.map_or(text.len(), |at| at + 2))
}

/// A character literal, which a lifetime is not.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let mut characters = body.char_indices();
    if characters.next()?.1 == '\\' {
        characters.next()?;
        return Some(characters.find(|next| next.1 == '\'')?.0 + 2);
    }
    let (at, closing) = characters.next()?;
    (closing == '\'').then_some(at + 2)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The paths named in code, each with its line: a `use` of a group gives one for each member.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        rest = if starts_word(rest) { path(rest, "", &mut paths) } else { &rest[1..] };
    }
    paths
}

type Token<'a> = (usize, &'a str);

fn starts_word(tokens: &[Token<'_>]) -> bool {
    tokens.first().is_some_and(|(_, token)| token.starts_with(is_word))
}

fn is_next(tokens: &[Token<'_>], expected: &str) -> bool {
    tokens.first().is_some_and(|(_, token)| *token == expected)
}

/// Reads one path, or all paths of a group, and returns what follows.
fn path<'a, 't>(
    mut rest: &'t [Token<'a>],
    prefix: &str,
    paths: &mut Vec<(usize, String)>,
) -> &'t [Token<'a>] {
    let mut path = prefix.to_owned();
    let line = rest.first().map_or(0, |(line, _)| *line);
    while starts_word(rest) || is_next(rest, "*") {
        path.push_str(rest[0].1);
        rest = &rest[1..];
        if !is_next(rest, "::") {
            break;
        }
        rest = &rest[1..];
        if is_next(rest, "{") {
            return group(&rest[1..], &format!("{path}::"), paths);
        }
        if starts_word(rest) || is_next(rest, "*") {
            path.push_str("::");
        }
    }
    paths.push((line, path));
    rest
}

/// Reads the members of a group up to its closing brace and returns what follows.
fn group<'a, 't>(
    mut rest: &'t [Token<'a>],
    prefix: &str,
    paths: &mut Vec<(usize, String)>,
) -> &'t [Token<'a>] {
    while !rest.is_empty() && !is_next(rest, "}") {
        let is_member = starts_word(rest) || is_next(rest, "*");
        let is_renamed = is_next(rest, "as");
        rest = match is_member {
            true if is_renamed => &rest[rest.len().min(2)..],
            true => path(rest, prefix, paths),
            false => &rest[1..],
        };
    }
    rest.get(1..).unwrap_or_default()
}

/// Words, `::` and single characters, each with its line.
fn tokens(code: &str) -> Vec<Token<'_>> {
    (1..).zip(code.lines()).flat_map(|(line, text)| split(text).map(move |t| (line, t))).collect()
}

fn split(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim_start();
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let word = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
        let length = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
        let (token, tail) = rest.split_at(length);
        rest = tail.trim_start();
        Some(token)
    })
}

/// The number of lines before the file's own test module, or all.
pub(super) fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let starts = |index: &usize| {
        let is_test =
            ["#[cfg(test)]", "#[cfg(all(test"].iter().any(|a| lines[*index].starts_with(a));
        let item = lines[index + 1..].iter().find(|line| !line.starts_with("#["));
        is_test && item.is_some_and(|item| item.starts_with("mod ") && item.ends_with('{'))
    };
    (0..lines.len()).find(starts).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(text: &str, expected: &str) {
        let code = code(text);
        assert_eq!(code.len(), text.len());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn comments_are_no_code() {
        check_code("a // unsafe\nb", "a b");
        check_code("a /* b /* c */ \u{fc} */ d", "a d");
        check_code("//! unsafe", "");
        check_code("a /* never closed", "a");
    }

    #[test]
    fn literals_are_no_code() {
        check_code(r#"f("unsafe \" {", 1)"#, "f( , 1)");
        check_code(r##"f(r#"unsafe " {"#) g"##, "f( ) g");
        check_code(r#"f(br"\", c"x") g"#, "f( , c ) g");
        check_code(r"f('\'', 'u', '\u{1f}', '\\') g", "f( , , , ) g");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        check_code("fn f<'a, 'b>(r#in: &'a str)", "fn f<'a, 'b>(r#in: &'a str)");
        check_code("'outer: loop { break 'outer }", "'outer: loop { break 'outer }");
    }

    #[track_caller]
    fn check_paths(code: &str, expected: &[&str]) {
        let found: Vec<String> = paths(code).into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_group_gives_all_its_paths() {
        check_paths(
            "use std::{fmt, sync::{Arc as Shared, atomic::{self, AtomicU64}}, thread::*};",
            &[
                "use",
                "std::fmt",
                "std::sync::Arc",
                "std::sync::atomic::self",
                "std::sync::atomic::AtomicU64",
                "std::thread::*",
            ],
        );
    }

    #[test]
    fn a_path_in_an_expression_is_found() {
        check_paths("x = ::std::thread::spawn(f)", &["x", "std::thread::spawn", "f"]);
        check_paths("Vec::<u8>::new()", &["Vec", "u8", "new"]);
        check_paths("std\n    ::thread", &["std::thread"]);
    }

    #[test]
    fn a_path_has_the_line_of_its_start() {
        assert_eq!(paths("a;\n\nb::c")[1], (3, "b::c".to_owned()));
        assert_eq!(paths("use a::{\n    b,\n    c,\n};")[2], (3, "a::c".to_owned()));
    }

    #[test]
    fn tests_start_at_their_module() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
        assert_eq!(
            lines_before_tests("a\n#[cfg(all(test, loom))]\n#[path = \"x\"]\nmod t {\n}"),
            1
        );
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nuse std::thread;\nb\n"), 4);
    }
}
