//! The script language: what a person would type at a shell on cgroupfs.
//!
//! One command a line, or several separated by `;`; `#` starts a comment. A word is anything
//! without blanks and `;`, or a quoted string with the escapes `\n`, `\t`, `\0`, `\"` and `\\`, so
//! that a script can hold the names that must be refused. Paths are relative to the root of the
//! current hierarchy; `/` is that root.
//!
//! | command | what it does |
//! |---|---|
//! | `hierarchy H`, `use H`, `destroy H` | create and select; select; destroy |
//! | `register S`, `unregister S` | a recording subsystem (`recorder.rs`) comes and goes |
//! | `bind S H`, `unbind S` | the controller goes onto a hierarchy and inactive again |
//! | `rebind S,T H [map a=b c/d=e] [move]` | to a hierarchy of the same shape; `a` of the first one's |
//! | `remount H [S T]` | these and no others are bound to the hierarchy |
//! | `subtree a +S -T` | enable and disable below the group |
//! | `charge S a N` | add to the usage of the group's css |
//! | `mkdir a/b`, `mkdir a/b with t u` | create; create with these members, in one step |
//! | `mv a/b c` | rename the last component |
//! | `rmdir [--strict] [--subtree] a/b` | remove: detach, or refused while in use; with all below |
//! | `task t`, `join t a/b`, `leave t [H]`, `exit t` | a member, and where it sits |
//! | `spawn t u`, `spawn t u in a/b c` | `u` comes into being where `t` sits; in these groups |
//! | `joinall a/b t u` | all of them move, or none |
//! | `freeze a on`, `frozen t on` | request that members stop; a task says that it has; or `off` |
//! | `kill a` | run the cancel callbacks of all members below |
//! | `get a/b S [as r]`, `root S [as r]`, `clone r [as s]`, `put r` | counted references, by name |
//! | `weak r [as w]`, `upgrade w [as r]` | weak references, by name |
//! | `max.depth a N`, `max.descendants a N` | limits; `N` is a number or `max` |
//! | `fail S hook N`, `panic S hook N` | the Nth call of that hook from now vetoes, or panics |
//! | `notify a on` | tell when it is in use no more; or `off` |
//! | `notices` | accept every notice that has come, and tell what it came to |
//! | `notice [as n]`, `accept n`, `ignore n` | receive one and hold it; end it; drop it |
//! | `renotify` | tell again of everything that is in use no more |
//! | `watch a [as v]`, `hear v`, `unwatch v` | watch a group; its events up to now; no more |
//! | `reap` | release and free everything that can be, and tell of what is in use no more |
//! | `ls [a]`, `cat a/FILE`, `echo VALUE > a/FILE` | list, read and write control files; `echo` ends the value with a newline |
//! | `css S`, `resolve t S`, `parents r` | which css each group has; a task; all above a reference's |
//! | `show [a]`, `events` | render a subtree; drain the recorded callbacks |
//!
//! [`Command`]'s `Display` is the text that parses to it again, so that a generated script can be
//! replayed. A path that begins with `-` comes after `--`.

mod lex;
mod rebind;
mod write;

use std::slice;

use thiserror::Error;

use crate::hook::Hook;

use self::lex::{Line, Word};
pub use self::write::text;

/// One command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the table in the module documentation says what each does")]
pub enum Command {
    Hierarchy(String),
    Use(String),
    Destroy(String),
    Register(String),
    Unregister(String),
    Bind {
        subsystem: String,
        hierarchy: String,
    },
    Unbind(String),
    Rebind {
        subsystems: Vec<String>,
        hierarchy: String,
        /// Of the hierarchy that the first has; of the target.
        mapping: Vec<(String, String)>,
        moves: bool,
    },
    Remount {
        hierarchy: String,
        subsystems: Vec<String>,
    },
    Subtree {
        path: String,
        enable: Vec<String>,
        disable: Vec<String>,
    },
    Charge {
        subsystem: String,
        path: String,
        amount: u64,
    },
    Css(String),
    Resolve {
        task: String,
        subsystem: String,
    },
    Parents(String),
    Mkdir(String),
    MkdirWith {
        path: String,
        tasks: Vec<String>,
    },
    Mv {
        path: String,
        name: String,
    },
    Rmdir {
        path: String,
        strict: bool,
        subtree: bool,
    },
    Task(String),
    Join {
        task: String,
        path: String,
    },
    Leave {
        task: String,
        hierarchy: Option<String>,
    },
    Exit(String),
    Spawn {
        spawner: String,
        task: String,
        paths: Vec<String>,
    },
    JoinAll {
        path: String,
        tasks: Vec<String>,
    },
    Freeze {
        path: String,
        on: bool,
    },
    Frozen {
        task: String,
        on: bool,
    },
    Kill(String),
    Get {
        path: String,
        subsystem: String,
        name: Option<String>,
    },
    Root {
        subsystem: String,
        name: Option<String>,
    },
    Clone {
        reference: String,
        name: Option<String>,
    },
    Put(String),
    Weak {
        reference: String,
        name: Option<String>,
    },
    Upgrade {
        weak: String,
        name: Option<String>,
    },
    MaxDepth {
        path: String,
        limit: Option<u64>,
    },
    MaxDescendants {
        path: String,
        limit: Option<u64>,
    },
    Fail {
        subsystem: String,
        hook: Hook,
        nth: u32,
    },
    Panic {
        subsystem: String,
        hook: Hook,
        nth: u32,
    },
    Notify {
        path: String,
        on: bool,
    },
    Notices,
    Notice(Option<String>),
    Accept(String),
    Ignore(String),
    Renotify,
    Watch {
        path: String,
        name: Option<String>,
    },
    Hear(String),
    Unwatch(String),
    Reap,
    Ls(Option<String>),
    Cat(String),
    Echo {
        value: String,
        path: String,
    },
    Show(Option<String>),
    Events,
}

/// A script that does not parse: where, at which word, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}, at `{word}`: {rule}")]
#[non_exhaustive]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The offending word; the command when something is missing after it.
    pub word: String,
    /// What was broken.
    pub rule: Rule,
}

/// The rules of the language.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum Rule {
    #[error("no such command")]
    UnknownCommand,
    #[error("an argument is missing: {usage}")]
    Missing { usage: &'static str },
    #[error("one argument too many: {usage}")]
    Extra { usage: &'static str },
    #[error("expected `as NAME`: {usage}")]
    ExpectedAs { usage: &'static str },
    #[error("expected `with TASK...`: {usage}")]
    ExpectedWith { usage: &'static str },
    #[error("expected `> PATH` at the end: {usage}")]
    ExpectedTarget { usage: &'static str },
    #[error("expected `in PATH...`: {usage}")]
    ExpectedIn { usage: &'static str },
    #[error("expected `map SOURCE=TARGET...` or `move`: {usage}")]
    ExpectedMap { usage: &'static str },
    #[error("counterparts are written SOURCE=TARGET")]
    BadPair,
    #[error("a controller is written +NAME or -NAME")]
    BadToggle,
    #[error("no such option: {usage}")]
    UnknownOption { usage: &'static str },
    #[error("expected `on` or `off`")]
    BadSwitch,
    #[error("a limit is a number or `max`")]
    BadLimit,
    #[error("an amount is a number")]
    BadAmount,
    #[error("a call is a number from 1")]
    BadCount,
    #[error("no such hook")]
    UnknownHook,
    #[error("this hook cannot veto")]
    NoVeto,
    #[error("the quoted word does not end on this line")]
    OpenQuote,
    #[error("a blank or `;` must follow a quoted word")]
    AfterQuote,
    #[error("unknown escape `\\{0}`")]
    BadEscape(char),
}

/// Parses a whole script.
///
/// # Errors
///
/// The first word that breaks a rule; nothing of the script is returned then.
pub fn parse(text: &str) -> Result<Vec<Command>, ParseError> {
    lex::lines(text)?.iter().map(parse_line).collect()
}

fn parse_line(line: &Line) -> Result<Command, ParseError> {
    let mut args = Args { line: line.number, verb: &line.verb, rest: line.args.iter() };
    let command = parse_command(&mut args)?;
    args.end()?;
    Ok(command)
}

fn parse_command(args: &mut Args<'_>) -> Result<Command, ParseError> {
    Ok(match args.verb() {
        "hierarchy" => Command::Hierarchy(args.word()?),
        "use" => Command::Use(args.word()?),
        "destroy" => Command::Destroy(args.word()?),
        "register" => Command::Register(args.word()?),
        "unregister" => Command::Unregister(args.word()?),
        "mkdir" => args.mkdir()?,
        "mv" => Command::Mv { path: args.word()?, name: args.word()? },
        "rmdir" => args.rmdir()?,
        "get" => {
            Command::Get { path: args.word()?, subsystem: args.word()?, name: args.as_name()? }
        }
        "root" => Command::Root { subsystem: args.word()?, name: args.as_name()? },
        "clone" => Command::Clone { reference: args.word()?, name: args.as_name()? },
        "put" => Command::Put(args.word()?),
        "weak" => Command::Weak { reference: args.word()?, name: args.as_name()? },
        "upgrade" => Command::Upgrade { weak: args.word()?, name: args.as_name()? },
        "max.depth" => Command::MaxDepth { path: args.word()?, limit: args.limit()? },
        "max.descendants" => Command::MaxDescendants { path: args.word()?, limit: args.limit()? },
        "fail" => Command::Fail { subsystem: args.word()?, hook: args.veto()?, nth: args.nth()? },
        "panic" => Command::Panic { subsystem: args.word()?, hook: args.hook()?, nth: args.nth()? },
        "reap" => Command::Reap,
        "ls" => Command::Ls(args.optional()),
        "cat" => Command::Cat(args.word()?),
        "echo" => args.echo()?,
        "show" => Command::Show(args.optional()),
        "events" => Command::Events,
        _ => return rebind::parse(args)?.map_or_else(|| parse_members(args), Ok),
    })
}

/// The commands about members.
fn parse_members(args: &mut Args<'_>) -> Result<Command, ParseError> {
    Ok(match args.verb() {
        "task" => Command::Task(args.word()?),
        "join" => Command::Join { task: args.word()?, path: args.word()? },
        "leave" => Command::Leave { task: args.word()?, hierarchy: args.optional() },
        "exit" => Command::Exit(args.word()?),
        "spawn" => args.spawn()?,
        "joinall" => Command::JoinAll { path: args.word()?, tasks: args.words()? },
        "freeze" => Command::Freeze { path: args.word()?, on: args.switch()? },
        "frozen" => Command::Frozen { task: args.word()?, on: args.switch()? },
        "kill" => Command::Kill(args.word()?),
        _ => return parse_notices(args),
    })
}

/// The commands about notices and watches.
fn parse_notices(args: &mut Args<'_>) -> Result<Command, ParseError> {
    Ok(match args.verb() {
        "notify" => Command::Notify { path: args.word()?, on: args.switch()? },
        "notices" => Command::Notices,
        "notice" => Command::Notice(args.as_name()?),
        "accept" => Command::Accept(args.word()?),
        "ignore" => Command::Ignore(args.word()?),
        "renotify" => Command::Renotify,
        "watch" => Command::Watch { path: args.word()?, name: args.as_name()? },
        "hear" => Command::Hear(args.word()?),
        "unwatch" => Command::Unwatch(args.word()?),
        _ => return Err(args.error(args.verb, Rule::UnknownCommand)),
    })
}

fn usage(verb: &str) -> &'static str {
    match verb {
        "mv" => "mv PATH NAME",
        "join" => "join TASK PATH",
        "leave" => "leave TASK [HIERARCHY]",
        "get" => "get PATH SUBSYSTEM [as NAME]",
        "root" => "root SUBSYSTEM [as NAME]",
        "clone" => "clone REFERENCE [as NAME]",
        "weak" => "weak REFERENCE [as NAME]",
        "upgrade" => "upgrade WEAK [as NAME]",
        "max.depth" => "max.depth PATH LIMIT",
        "max.descendants" => "max.descendants PATH LIMIT",
        "fail" => "fail SUBSYSTEM HOOK N",
        "panic" => "panic SUBSYSTEM HOOK N",
        "mkdir" => "mkdir PATH [with TASK...]",
        "rmdir" => "rmdir [--strict] [--subtree] PATH",
        "spawn" => "spawn TASK NAME [in PATH...]",
        "joinall" => "joinall PATH TASK...",
        "freeze" => "freeze PATH on|off",
        "frozen" => "frozen TASK on|off",
        "kill" => "kill PATH",
        "notify" => "notify PATH on|off",
        "notice" => "notice [as NAME]",
        "watch" => "watch PATH [as NAME]",
        "ls" => "ls [PATH]",
        "cat" => "cat PATH",
        "echo" => "echo VALUE > PATH",
        "show" => "show [PATH]",
        "reap" | "events" | "notices" | "renotify" => "reap, events, notices, renotify",
        _ => rebind::usage(verb).unwrap_or("this command takes one name"),
    }
}

/// The words of one command, read from left to right.
struct Args<'a> {
    line: usize,
    verb: &'a Word,
    rest: slice::Iter<'a, Word>,
}

impl<'a> Args<'a> {
    fn verb(&self) -> &'a str {
        &self.verb.text
    }

    fn usage(&self) -> &'static str {
        usage(self.verb())
    }

    fn error(&self, word: &Word, rule: Rule) -> ParseError {
        ParseError { line: self.line, column: word.column, word: word.text.clone(), rule }
    }

    fn next(&mut self) -> Result<&'a Word, ParseError> {
        let word = self.rest.next();
        word.ok_or_else(|| self.error(self.verb, Rule::Missing { usage: self.usage() }))
    }

    fn word(&mut self) -> Result<String, ParseError> {
        self.next().map(|word| word.text.clone())
    }

    fn optional(&mut self) -> Option<String> {
        self.rest.next().map(|word| word.text.clone())
    }

    fn as_name(&mut self) -> Result<Option<String>, ParseError> {
        match self.rest.next() {
            None => Ok(None),
            Some(word) if word.text == "as" => self.word().map(Some),
            Some(word) => Err(self.error(word, Rule::ExpectedAs { usage: self.usage() })),
        }
    }

    fn mkdir(&mut self) -> Result<Command, ParseError> {
        let path = self.word()?;
        match self.rest.next() {
            None => Ok(Command::Mkdir(path)),
            Some(word) if word.text == "with" => {
                Ok(Command::MkdirWith { path, tasks: self.words()? })
            }
            Some(word) => Err(self.error(word, Rule::ExpectedWith { usage: self.usage() })),
        }
    }

    fn spawn(&mut self) -> Result<Command, ParseError> {
        let (spawner, task) = (self.word()?, self.word()?);
        let paths = match self.rest.next() {
            None => Vec::new(),
            Some(word) if word.text == "in" => self.words()?,
            Some(word) => return Err(self.error(word, Rule::ExpectedIn { usage: self.usage() })),
        };
        Ok(Command::Spawn { spawner, task, paths })
    }

    /// The rest, of at least one word.
    fn words(&mut self) -> Result<Vec<String>, ParseError> {
        let mut words = vec![self.word()?];
        words.extend(self.rest.by_ref().map(|word| word.text.clone()));
        Ok(words)
    }

    fn rmdir(&mut self) -> Result<Command, ParseError> {
        let (mut strict, mut subtree) = (false, false);
        let path = loop {
            let word = self.next()?;
            match word.text.as_str() {
                "--strict" => strict = true,
                "--subtree" => subtree = true,
                "--" => break self.word()?,
                option if option.starts_with('-') => {
                    return Err(self.error(word, Rule::UnknownOption { usage: self.usage() }));
                }
                path => break path.to_owned(),
            }
        };
        Ok(Command::Rmdir { path, strict, subtree })
    }

    /// Reads any number of words, joined by a blank, up to the last `>` and one more word.
    fn echo(&mut self) -> Result<Command, ParseError> {
        let words = self.rest.as_slice();
        let Some((value, [arrow, path])) = words.split_last_chunk() else {
            return Err(self.error(self.verb, Rule::Missing { usage: self.usage() }));
        };
        if arrow.text != ">" {
            return Err(self.error(path, Rule::ExpectedTarget { usage: self.usage() }));
        }
        self.rest = [].iter();
        let value: Vec<&str> = value.iter().map(|word| word.text.as_str()).collect();
        Ok(Command::Echo { value: value.join(" "), path: path.text.clone() })
    }

    fn switch(&mut self) -> Result<bool, ParseError> {
        let word = self.next()?;
        match word.text.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.error(word, Rule::BadSwitch)),
        }
    }

    fn limit(&mut self) -> Result<Option<u64>, ParseError> {
        let word = self.next()?;
        if word.text == "max" {
            return Ok(None);
        }
        number(&word.text).map(Some).ok_or_else(|| self.error(word, Rule::BadLimit))
    }

    fn amount(&mut self) -> Result<u64, ParseError> {
        let word = self.next()?;
        number(&word.text).ok_or_else(|| self.error(word, Rule::BadAmount))
    }

    fn nth(&mut self) -> Result<u32, ParseError> {
        let word = self.next()?;
        let nth = number(&word.text).and_then(|nth| u32::try_from(nth).ok());
        nth.filter(|&nth| nth > 0).ok_or_else(|| self.error(word, Rule::BadCount))
    }

    fn hook(&mut self) -> Result<Hook, ParseError> {
        let word = self.next()?;
        Hook::named(&word.text).ok_or_else(|| self.error(word, Rule::UnknownHook))
    }

    fn veto(&mut self) -> Result<Hook, ParseError> {
        let word = self.next()?;
        let hook = Hook::named(&word.text).ok_or_else(|| self.error(word, Rule::UnknownHook))?;
        if hook.can_veto() { Ok(hook) } else { Err(self.error(word, Rule::NoVeto)) }
    }

    fn end(mut self) -> Result<(), ParseError> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(self.error(word, Rule::Extra { usage: self.usage() })),
        }
    }
}

/// Parses digits only: no sign, no blank, no overflow.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
