//! The commands about notices and watches.

use crossbeam_channel::TryRecvError;
use fief_core::{Event, Notice};

use super::{Session, done};
use crate::{
    names::fresh,
    refusal::{Failure, Refusal},
    script::Command,
};

type Outcome = Result<String, Failure>;

impl Session {
    pub(super) fn apply_notices(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Notify { path, on } => Ok(done(self.group(path)?.set_notify_on_release(*on)?)),
            Command::Notices => self.accept_all(),
            Command::Notice(name) => self.receive_one(name.as_deref()),
            Command::Accept(name) => Ok(accept(self.end_notice(name)?)),
            Command::Ignore(name) => self.end_notice(name).map(|_| String::new()),
            Command::Renotify => self.renotify(),
            Command::Watch { path, name } => self.watch(path, name.as_deref()),
            Command::Hear(name) => self.hear(name),
            Command::Unwatch(name) => {
                let unknown = || Refusal::UnknownWatch(name.clone());
                self.watches.remove(name).map(|_| String::new()).ok_or_else(|| unknown().into())
            }
            _ => unreachable!("`apply` knows the others"),
        }
    }

    fn accept_all(&mut self) -> Outcome {
        self.receive()?;
        let current = self.current()?.clone();
        let notices = self.received.extract_if(.., |(hierarchy, _)| *hierarchy == current);
        let mut lines: Vec<String> = notices.map(|(_, notice)| accept(notice)).collect();
        lines.sort();
        Ok(lines.concat())
    }

    fn receive_one(&mut self, name: Option<&str>) -> Outcome {
        self.receive()?;
        let current = self.current()?;
        let first = self.received.iter().position(|(hierarchy, _)| hierarchy == current);
        let first = first.ok_or(TryRecvError::Empty)?;
        let name = fresh(name, 'n', |name| self.notices.contains_key(name))?;
        let (_, notice) = self.received.remove(first);
        let line = format!("{name}: {}\n", notice.path());
        self.notices.insert(name, notice);
        Ok(line)
    }

    fn end_notice(&mut self, name: &str) -> Result<Notice, Failure> {
        let unknown = || Refusal::UnknownNotice(name.to_owned()).into();
        self.notices.remove(name).ok_or_else(unknown)
    }

    /// The core tells in no order that shows: those told now are put into that of their paths.
    fn renotify(&mut self) -> Outcome {
        let told_before = self.receive().map_or(0, |()| self.received.len());
        let count = self.current()?.renotify()?;
        self.receive()?;
        self.received[told_before..].sort_by_key(|(_, notice)| notice.path());
        Ok(format!("{count} told\n"))
    }

    /// Takes every notice of the current hierarchy that has come.
    fn receive(&mut self) -> Result<(), Failure> {
        let current = self.current()?.clone();
        let receiver = current.notices();
        loop {
            match receiver.try_recv() {
                Ok(notice) => self.received.push((current.clone(), notice)),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(ended @ TryRecvError::Disconnected) => return Err(ended.into()),
            }
        }
    }

    fn watch(&mut self, path: &str, name: Option<&str>) -> Outcome {
        let watch = self.group(path)?.watch()?;
        let name = fresh(name, 'v', |name| self.watches.contains_key(name))?;
        self.watches.insert(name, watch);
        Ok(String::new())
    }

    fn hear(&self, name: &str) -> Outcome {
        let unknown = || Refusal::UnknownWatch(name.to_owned());
        let watch = self.watches.get(name).ok_or_else(unknown)?;
        let mut lines = String::new();
        loop {
            let (line, is_last) = match watch.try_recv() {
                Ok(Event::Populated) => ("populated", false),
                Ok(Event::Emptied) => ("emptied", false),
                Ok(Event::Frozen) => ("frozen", false),
                Ok(Event::Thawed) => ("thawed", false),
                Ok(Event::Removed) => ("removed", false),
                Ok(other) => return Ok(format!("{lines}{other:?}\n")),
                Err(TryRecvError::Disconnected) => ("the end", true),
                Err(TryRecvError::Empty) => return Ok(lines),
            };
            lines.push_str(&format!("{}: {line}\n", watch.path()));
            if is_last {
                return Ok(lines);
            }
        }
    }
}

fn accept(notice: Notice) -> String {
    let path = notice.path();
    told(&path, notice.accept().is_some())
}

/// What is printed of a notice that was accepted.
pub(crate) fn told(path: &str, is_releasable: bool) -> String {
    let state = if is_releasable { "releasable" } else { "in use or removed" };
    format!("{path}: {state}\n")
}
