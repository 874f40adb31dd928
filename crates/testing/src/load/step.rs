//! The steps of a script under load.

use std::{iter::Peekable, vec};

use super::LoadError;
use crate::script::{self, Command};

/// One step.
#[derive(Debug)]
pub(super) enum Step {
    Command(Command),
    Repeat(u32, Vec<(usize, Self)>),
    Work(u64),
    Rest,
    /// Has a command be refused.
    Refused(Command),
    /// Gives back so many bytes of a group.
    Uncharge(String, u64),
}

/// A command, or a line of them, with its line's number and its words.
type Line<'s> = (usize, &'s str, Vec<&'s str>);

/// Parses a whole script; steps have the numbers of their lines.
pub(super) fn parse(script: &str) -> Result<Vec<(usize, Step)>, LoadError> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let is_quoted = line.contains('"');
        let line = if is_quoted { line } else { line.split('#').next().unwrap_or_default() };
        // What is in quotes is the script language's alone.
        let pieces = line.split(|char| char == ';' && !is_quoted);
        lines.extend(pieces.map(|piece| (index + 1, piece, piece.split_whitespace().collect())));
    }
    let mut lines = lines.into_iter().peekable();
    let steps = parse_block(&mut lines, None)?;
    match lines.next() {
        Some((line, ..)) => Err(error(line, "`end` without `repeat`")),
        None => Ok(steps),
    }
}

/// Parses up to an `end`, which is left, or to the end.
fn parse_block(
    lines: &mut Peekable<vec::IntoIter<Line<'_>>>,
    within: Option<usize>,
) -> Result<Vec<(usize, Step)>, LoadError> {
    let mut steps = Vec::new();
    while let Some((number, line, words)) = lines.next_if(|(.., words)| *words != ["end"]) {
        let step = match words[..] {
            ["work", charges] => Step::Work(number_of(number, charges)?),
            ["rest"] => Step::Rest,
            ["uncharge", "memory", path, bytes] => {
                Step::Uncharge(path.to_owned(), number_of(number, bytes)?)
            }
            ["refused", ..] => {
                let line = line.trim_start().strip_prefix("refused").unwrap_or_default();
                let refused = script::parse(line).map_err(|cause| wrong(number, &cause))?;
                steps.extend(refused.into_iter().map(|command| (number, Step::Refused(command))));
                continue;
            }
            ["repeat", _] if within.is_some() => {
                return Err(error(number, "`repeat` within `repeat`"));
            }
            ["repeat", times] => {
                let times = number_of(number, times)?;
                let steps = parse_block(lines, Some(number))?;
                if lines.next().is_none() {
                    return Err(error(number, "`repeat` without `end`"));
                }
                Step::Repeat(times, steps)
            }
            _ => {
                steps.extend(commands(number, line)?);
                continue;
            }
        };
        steps.push((number, step));
    }
    Ok(steps)
}

/// Parses a line of the script language.
fn commands(number: usize, line: &str) -> Result<Vec<(usize, Step)>, LoadError> {
    let commands = script::parse(line).map_err(|cause| wrong(number, &cause))?;
    Ok(commands.into_iter().map(|command| (number, Step::Command(command))).collect())
}

fn wrong(number: usize, cause: &script::ParseError) -> LoadError {
    error(number, &format!("at `{}`: {}", cause.word, cause.rule))
}

fn number_of<N: std::str::FromStr>(line: usize, word: &str) -> Result<N, LoadError> {
    word.parse().map_err(|_| error(line, &format!("`{word}` is not a number")))
}

fn error(line: usize, text: &str) -> LoadError {
    LoadError { line, text: text.to_owned() }
}
