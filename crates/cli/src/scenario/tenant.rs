//! A tenant: what it is to do, where its groups are, and what it has done.

use anyhow::{Result, bail};
use fief_core::{Cgroup, Task};

use super::{
    config::{self, Backup, Queries, Requests},
    member::Member,
    record::Record,
};
use crate::sync::{Count, Flag, Mutex};

/// Somebody who works.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) is_running: Flag,
    /// Its groups were removed.
    pub(crate) is_removed: Flag,
    pub(crate) tally: Tally,
    pub(crate) record: Record,
    places: Mutex<Vec<Place>>,
    /// Members that last, to be moved.
    members: Mutex<Vec<Member>>,
    /// Those that come and go, by the names of their tasks.
    passing: Mutex<Vec<Member>>,
}

/// What a tenant does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Requests(Requests),
    Queries(Queries),
    Backup(Backup),
}

/// Where a tenant is in a tree.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its group.
    pub(crate) top: Cgroup,
    /// Where its members are instead, if they were moved.
    pub(crate) moved: Option<Cgroup>,
}

/// What a tenant has done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests, queries, or MiB.
    pub(crate) operations: Count,
    pub(crate) wrong: Count,
    /// CPU time of its jobs, in nanoseconds.
    pub(crate) cpu: Count,
    /// What went to and from the file, and had asked, in bytes.
    pub(crate) read: Count,
    pub(crate) written: Count,
    /// The same, that had not.
    pub(crate) unasked: Count,
    pub(crate) spills: Count,
    pub(crate) waits: Count,
    pub(crate) victims: Count,
}

impl Place {
    /// Where its members are.
    pub(crate) fn members(&self) -> &Cgroup {
        self.moved.as_ref().unwrap_or(&self.top)
    }
}

impl Tenant {
    pub(crate) fn new(config: &config::Tenant) -> Result<Self> {
        let work = match (&config.requests, &config.queries, &config.backup) {
            (Some(requests), None, None) => Work::Requests(requests.clone()),
            (None, Some(queries), None) => Work::Queries(queries.clone()),
            (None, None, Some(backup)) => Work::Backup(backup.clone()),
            _ => bail!("{} has no work, or too many kinds of it", config.name.get_ref()),
        };
        Ok(Self {
            name: config.name.get_ref().clone(),
            work,
            is_running: Flag::default(),
            is_removed: Flag::default(),
            tally: Tally::default(),
            record: Record::default(),
            places: Mutex::default(),
            members: Mutex::default(),
            passing: Mutex::default(),
        })
    }

    /// What one operation is called, in the plural.
    pub(crate) fn unit(&self) -> &'static str {
        match self.work {
            Work::Requests(_) => "requests",
            Work::Queries(_) => "queries",
            Work::Backup(_) => "MiB",
        }
    }

    /// Has its groups be these, one in each tree.
    pub(crate) fn settle(&self, tops: &[Cgroup]) {
        let place = |top: &Cgroup| Place { top: top.clone(), moved: None };
        *self.places.lock() = tops.iter().map(place).collect();
    }

    /// Its groups, and where its members are instead.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.places.lock().clone()
    }

    /// Makes a member that comes and goes, while no members are moved.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(crate) fn pass<R>(
        &self,
        make: impl FnOnce(&[Place]) -> Result<(Member, R)>,
    ) -> Result<(Member, R)> {
        let places = self.places.lock();
        let (member, rest) = make(&places)?;
        self.passing.lock().push(member.clone());
        Ok((member, rest))
    }

    /// Lets a member go that was made by [`pass`](Self::pass).
    pub(crate) fn gone(&self, member: Member) {
        let mut passing = self.passing.lock();
        let place = passing.iter().position(|other| other.task().id() == member.task().id());
        let other = place.map(|place| passing.swap_remove(place));
        drop(passing);
        drop((other, member));
    }

    /// Its group in a tree.
    pub(crate) fn top(&self, tree: usize) -> Option<Cgroup> {
        self.places.lock().get(tree).map(|place| place.top.clone())
    }

    /// Has its members, those to come as well, be in `to`, in the tree of that number.
    ///
    /// # Errors
    ///
    /// Those of attaching.
    pub(crate) fn shift(&self, tree: usize, to: &Cgroup) -> Result<usize> {
        let mut places = self.places.lock();
        let (members, passing) = (self.members.lock(), self.passing.lock());
        let tasks: Vec<&Task> = members.iter().chain(passing.iter()).map(Member::task).collect();
        to.attach_all(&tasks)?;
        if let Some(place) = places.get_mut(tree) {
            place.moved = Some(to.clone());
        }
        Ok(tasks.len())
    }

    /// Whether its members are elsewhere than in its groups.
    pub(crate) fn is_shifted(&self) -> bool {
        self.places.lock().iter().any(|place| place.moved.is_some())
    }

    /// Keeps a member that lasts.
    pub(crate) fn keep(&self, member: &Member) {
        self.members.lock().push(member.clone());
    }

    /// Lets go of all members.
    pub(crate) fn dismiss(&self) {
        let members = std::mem::take(&mut *self.members.lock());
        drop(members);
    }
}
