//! What each tenant did, counted by its workers: the books that the controller is checked against.

use crate::sync::Count;

/// The books of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests answered, queries finished, or files written.
    pub(crate) operations: Count,
    /// Bytes these operations read.
    pub(crate) bytes: Count,
    /// Rows read, also by operations that were cut short.
    pub(crate) rows: Count,
    /// Bytes of the files written.
    pub(crate) written: Count,
    /// Answers and files compared with what they must be.
    pub(crate) checked: Count,
    /// Answers and files that were not what they must be.
    pub(crate) wrong: Count,
    /// Operations that a kill cut short, as the one who asked saw it.
    pub(crate) interrupted: Count,
    /// Bytes charged while they are read, and those given back.
    pub(crate) charged: Count,
    pub(crate) given_back: Count,
    /// Bytes of memory reserved, and those given back.
    pub(crate) reserved: Count,
    pub(crate) unreserved: Count,
    /// How often somebody waited for memory.
    pub(crate) waits: Count,
    /// How often a query wrote what it had to a file, how often because it was asked to, and how many bytes.
    pub(crate) spills: Count,
    pub(crate) asked: Count,
    pub(crate) spilled: Count,
    /// Queries that were chosen to end, as nobody could go on.
    pub(crate) victims: Count,
    /// Files compared with the last one of the same rows.
    pub(crate) compared: Count,
    /// Bytes of buffers dropped because others needed the memory.
    pub(crate) given_way: Count,
    /// How often the limit was changed.
    pub(crate) limits_changed: Count,
    /// Jobs spawned for the tenant, those that came to their end, and those that were dropped before.
    pub(crate) jobs_spawned: Count,
    pub(crate) jobs_ended: Count,
    pub(crate) jobs_cancelled: Count,
    /// Jobs whose results were had, and those of which it was heard that they were cancelled.
    pub(crate) jobs_answered: Count,
    pub(crate) jobs_given_up: Count,
    /// Whole tables read by the reports.
    pub(crate) scans: Count,
    /// References taken.
    pub(crate) taken: Count,
    /// References dropped, on another thread.
    pub(crate) dropped: Count,
    /// Groups made, each with its counterpart in the other tree; so are all groups counted.
    pub(crate) groups_made: Count,
    /// Groups removed by detaching them, whatever refers to their css.
    pub(crate) groups_detached: Count,
    /// Groups that the agent removed strictly.
    pub(crate) groups_on_notice: Count,
    /// Strict removals that were refused: somebody had come to use the group again.
    pub(crate) refused: Count,
    /// Groups that were gone before the agent could remove them.
    pub(crate) gone: Count,
    /// How many times the tenant was killed.
    pub(crate) kills: Count,
    /// Members that a kill says it told to stop.
    pub(crate) told: Count,
    /// Cancel callbacks that ran.
    pub(crate) heard: Count,
    /// Css that references kept alive when their group was removed by a kill.
    pub(crate) outlived: Count,
}

impl Tally {
    pub(crate) fn groups_removed(&self) -> u64 {
        self.groups_detached.get() + self.groups_on_notice.get()
    }
}
