//! Commands as text: what [`super::parse`] reads again.

use std::fmt::{Display, Formatter, Result, Write};

use super::{Command, rebind};

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.verb())?;
        for word in self.words() {
            f.write_char(' ')?;
            f.write_str(&quote(&word))?;
        }
        Ok(())
    }
}

/// Writes a script, one command a line.
#[must_use]
pub fn text(commands: &[Command]) -> String {
    commands.iter().map(|command| format!("{command}\n")).collect()
}

impl Command {
    fn verb(&self) -> &'static str {
        match self {
            Self::Hierarchy(_) => "hierarchy",
            Self::Use(_) => "use",
            Self::Destroy(_) => "destroy",
            Self::Register(_) => "register",
            Self::Unregister(_) => "unregister",
            Self::Bind { .. } => "bind",
            Self::Unbind(_) => "unbind",
            Self::Rebind { .. } => "rebind",
            Self::Remount { .. } => "remount",
            Self::Subtree { .. } => "subtree",
            Self::Charge { .. } => "charge",
            Self::Css(_) => "css",
            Self::Resolve { .. } => "resolve",
            Self::Parents(_) => "parents",
            Self::Mkdir(_) | Self::MkdirWith { .. } => "mkdir",
            Self::Mv { .. } => "mv",
            Self::Rmdir { .. } => "rmdir",
            Self::Task(_) => "task",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Exit(_) => "exit",
            Self::Spawn { .. } => "spawn",
            Self::JoinAll { .. } => "joinall",
            Self::Freeze { .. } => "freeze",
            Self::Frozen { .. } => "frozen",
            Self::Kill(_) => "kill",
            Self::Get { .. } => "get",
            Self::Root { .. } => "root",
            Self::Clone { .. } => "clone",
            Self::Put(_) => "put",
            Self::Weak { .. } => "weak",
            Self::Upgrade { .. } => "upgrade",
            Self::MaxDepth { .. } => "max.depth",
            Self::MaxDescendants { .. } => "max.descendants",
            Self::Fail { .. } => "fail",
            Self::Panic { .. } => "panic",
            Self::Notify { .. } => "notify",
            Self::Notices => "notices",
            Self::Notice(_) => "notice",
            Self::Accept(_) => "accept",
            Self::Ignore(_) => "ignore",
            Self::Renotify => "renotify",
            Self::Watch { .. } => "watch",
            Self::Hear(_) => "hear",
            Self::Unwatch(_) => "unwatch",
            Self::Reap => "reap",
            Self::Ls(_) => "ls",
            Self::Cat(_) => "cat",
            Self::Echo { .. } => "echo",
            Self::Show(_) => "show",
            Self::Events => "events",
        }
    }

    fn words(&self) -> Vec<String> {
        match self {
            Self::Hierarchy(word)
            | Self::Use(word)
            | Self::Destroy(word)
            | Self::Register(word)
            | Self::Unregister(word)
            | Self::Unbind(word)
            | Self::Css(word)
            | Self::Parents(word)
            | Self::Mkdir(word)
            | Self::Task(word)
            | Self::Exit(word)
            | Self::Kill(word)
            | Self::Put(word)
            | Self::Accept(word)
            | Self::Ignore(word)
            | Self::Hear(word)
            | Self::Cat(word)
            | Self::Unwatch(word) => vec![word.clone()],
            Self::MkdirWith { path, tasks } => with(path, tasks),
            Self::Rebind { subsystems, hierarchy, mapping, moves } => {
                rebind::rebind_words(subsystems, hierarchy, mapping, *moves)
            }
            Self::Remount { hierarchy, subsystems } => {
                [hierarchy].into_iter().chain(subsystems).cloned().collect()
            }
            Self::Subtree { path, enable, disable } => rebind::subtree_words(path, enable, disable),
            Self::Charge { subsystem, path, amount } => {
                vec![subsystem.clone(), path.clone(), amount.to_string()]
            }
            Self::Rmdir { path, strict, subtree } => rmdir(path, *strict, *subtree),
            Self::Spawn { spawner, task, paths } => {
                let names = [spawner, task].map(String::as_str);
                let into = if paths.is_empty() { None } else { Some("in") };
                let paths = paths.iter().map(String::as_str);
                names.into_iter().chain(into).chain(paths).map(str::to_owned).collect()
            }
            Self::JoinAll { path, tasks } => [path].into_iter().chain(tasks).cloned().collect(),
            Self::Notify { path: what, on }
            | Self::Freeze { path: what, on }
            | Self::Frozen { task: what, on } => {
                vec![what.clone(), if *on { "on" } else { "off" }.to_owned()]
            }
            Self::Notice(name) => named(&[], name.as_ref()),
            Self::Bind { subsystem: first, hierarchy: second }
            | Self::Mv { path: first, name: second }
            | Self::Resolve { task: first, subsystem: second }
            | Self::Join { task: first, path: second } => vec![first.clone(), second.clone()],
            Self::Leave { task, hierarchy } => {
                [task].into_iter().chain(hierarchy).cloned().collect()
            }
            Self::Get { path, subsystem, name } => named(&[path, subsystem], name.as_ref()),
            Self::Root { subsystem: what, name }
            | Self::Clone { reference: what, name }
            | Self::Weak { reference: what, name }
            | Self::Upgrade { weak: what, name }
            | Self::Watch { path: what, name } => named(&[what], name.as_ref()),
            Self::MaxDepth { path, limit } | Self::MaxDescendants { path, limit } => {
                vec![
                    path.clone(),
                    limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string()),
                ]
            }
            Self::Fail { subsystem, hook, nth } | Self::Panic { subsystem, hook, nth } => {
                vec![subsystem.clone(), hook.to_string(), nth.to_string()]
            }
            Self::Echo { value, path } => vec![value.clone(), ">".to_owned(), path.clone()],
            Self::Ls(path) | Self::Show(path) => path.iter().cloned().collect(),
            Self::Notices | Self::Renotify | Self::Reap | Self::Events => Vec::new(),
        }
    }
}

fn named(words: &[&String], name: Option<&String>) -> Vec<String> {
    let mut words: Vec<String> = words.iter().copied().cloned().collect();
    if let Some(name) = name {
        words.extend(["as".to_owned(), name.clone()]);
    }
    words
}

fn with(path: &str, tasks: &[String]) -> Vec<String> {
    let with = [path, "with"].map(str::to_owned);
    with.into_iter().chain(tasks.iter().cloned()).collect()
}

fn rmdir(path: &str, strict: bool, subtree: bool) -> Vec<String> {
    let is_option_like = path.starts_with('-');
    let options =
        [("--strict", strict), ("--subtree", subtree), ("--", is_option_like), (path, true)];
    options.into_iter().filter(|(_, is_there)| *is_there).map(|(word, _)| word.to_owned()).collect()
}

/// Quotes a word that would not be read back as it is.
fn quote(word: &str) -> String {
    let odd = |char: char| char.is_whitespace() || matches!(char, ';' | '\0' | '\\');
    if !word.is_empty() && !word.starts_with(['"', '#']) && !word.contains(odd) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for char in word.chars() {
        match char {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            '"' | '\\' => quoted.extend(['\\', char]),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
