//! The invariants of a soak, and whether they held.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};

use crate::{
    report::{
        Outcome,
        verdict::{cpu::CpuBooks, disk::DiskBooks},
    },
    soak::{
        Ended,
        stage::{Stage, Who},
    },
};

mod cpu;
mod disk;

/// Everything that is compared, once all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    taken: u64,
    dropped: u64,
    groups_made: u64,
    groups_detached: u64,
    groups_on_notice: u64,
    groups_live: u64,
    /// Groups that are removed, but whose css are not all released.
    groups_dying: u64,
    /// Groups that the release agent left at the end.
    groups_left: u64,
    /// Notices of groups that were of no use.
    notices: u64,
    /// Groups that the release agent was told of, and notices that it had for others.
    agent_told: u64,
    agent_moot: u64,
    /// Groups that came into use before the agent tried, and those that were gone.
    refused: u64,
    gone: u64,
    /// Strict removals that were refused, as the registry counts them: one for each kill, too.
    refusals: u64,
    kills: u64,
    css_made: u64,
    css_freed: u64,
    css_live: u64,
    /// Css whose last reference is gone.
    css_released: u64,
    /// Css of the soak's own two controllers, those that heard that they are released, and those whose state was
    /// dropped.
    states_made: u64,
    states_released: u64,
    states_freed: u64,
    /// Rows still charged to the root.
    charged: u64,
    /// Css freed with rows still charged, or with totals that did not reach the parent.
    freed_charged: u64,
    freed_unfolded: u64,
    /// Operations, rows and bytes that the root counted.
    counted: [u64; 3],
    /// Operations, rows and bytes that the workers did.
    done: [u64; 3],
    checked: u64,
    wrong: u64,
    told: u64,
    heard: u64,
    members_live: u64,
    panics: u64,
    /// Whether the run may have ended before there was time for a rebind.
    is_early: bool,
    rebinds: u64,
    rebinds_refused: u64,
    css_compared: u64,
    css_changed: u64,
    limits_read: u64,
    limits_lost: u64,
    /// Usages compared with the books while nobody charged, and those that differed.
    audited: u64,
    misread: u64,
    /// Bytes charged and given back, as the workers know, and ever charged, as the root counted.
    bytes_charged: u64,
    bytes_given_back: u64,
    bytes_at_root: u64,
    /// Bytes still charged to the root, and how often its counter was found wrong.
    bytes_held: u64,
    /// Bytes of memory reserved and given back, as the workers know.
    memory_reserved: u64,
    memory_given_back: u64,
    /// Bytes of memory in use at the root: now, at most, and how many there may be.
    memory_used: u64,
    memory_peak: u64,
    memory_max: u64,
    /// How often somebody was charged more than that, by force.
    memory_forced: u64,
    /// Queries that ended as victims, as memory counted them, and as they heard of it.
    victims: u64,
    victims_heard: u64,
    cpu: CpuBooks,
    disk: DiskBooks,
}

/// Whether one invariant held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    claim: &'static str,
    figures: String,
}

impl Books {
    /// Reads the books of a soak that is over.
    pub(crate) fn of(stage: &Stage, outcome: &Outcome) -> Self {
        let Outcome { ended, service, moves, .. } = outcome;
        let sum = |count: fn(&crate::soak::tally::Tally) -> u64| {
            Who::ALL.into_iter().map(|who| count(&stage.tenant(who).tally)).sum()
        };
        let (stats, ledger) = (stage.trees.registry.stats(), stage.queries.subsystem().ledger());
        let (root, holder) = (stage.queries.root(), stage.inflight.root());
        let memory = stage.memory.root();
        let events = memory.as_ref().map(|css| css.stats().events).unwrap_or_default();
        Self {
            taken: sum(|tally| tally.taken.get()),
            dropped: sum(|tally| tally.dropped.get()),
            groups_made: sum(|tally| tally.groups_made.get()),
            groups_detached: sum(|tally| tally.groups_detached.get()),
            groups_on_notice: sum(|tally| tally.groups_on_notice.get()),
            groups_live: stage.trees.tenants.root().descendant_count().into(),
            groups_dying: stats.cgroups_dying,
            groups_left: service.left,
            notices: stats.notices,
            agent_told: service.told,
            agent_moot: service.moot,
            refused: sum(|tally| tally.refused.get()),
            gone: sum(|tally| tally.gone.get()),
            refusals: stats.removals_refused,
            kills: sum(|tally| tally.kills.get()),
            css_made: stats.css_created,
            css_freed: stats.css_freed,
            css_live: stats.css_online + stats.css_dying,
            css_released: stats.css_released,
            states_made: ledger.made.get(),
            states_released: ledger.released.get(),
            states_freed: ledger.freed.get(),
            charged: root.as_ref().map_or(0, |css| css.charged()),
            freed_charged: ledger.freed_charged.get(),
            freed_unfolded: ledger.freed_unfolded.get(),
            counted: root.as_ref().map_or([0; 3], |css| css.totals()),
            done: [
                sum(|tally| tally.operations.get()),
                sum(|tally| tally.rows.get()),
                sum(|tally| tally.bytes.get()),
            ],
            checked: sum(|tally| tally.checked.get()),
            wrong: sum(|tally| tally.wrong.get()),
            told: sum(|tally| tally.told.get()),
            heard: sum(|tally| tally.heard.get()),
            members_live: stats.tasks,
            panics: stats.hook_panics,
            is_early: *ended == Ended::Early,
            rebinds: moves.done,
            rebinds_refused: moves.refused,
            css_compared: moves.css_compared,
            css_changed: moves.css_changed,
            limits_read: moves.limits_read,
            limits_lost: moves.limits_lost,
            audited: stage.audited.get(),
            misread: stage.misread.get(),
            bytes_charged: sum(|tally| tally.charged.get()),
            bytes_given_back: sum(|tally| tally.given_back.get()),
            bytes_at_root: holder.as_ref().map_or(0, |css| css.ever()),
            bytes_held: holder.as_ref().map_or(0, |css| css.current()),
            memory_reserved: sum(|tally| tally.reserved.get()),
            memory_given_back: sum(|tally| tally.unreserved.get()),
            memory_used: memory.as_ref().map_or(0, |css| css.current()),
            memory_peak: memory.as_ref().map_or(0, |css| css.peak()),
            memory_max: stage.budget.all,
            memory_forced: events.force_over_max,
            victims: events.oom_kill,
            victims_heard: sum(|tally| tally.victims.get()),
            cpu: CpuBooks::of(stage, &outcome.charged),
            disk: DiskBooks::of(&outcome.disk),
        }
    }
}

impl Books {
    /// Compares what must be equal.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let [operations, rows, bytes] = self.counted;
        let [operations_done, rows_done, bytes_done] = self.done;
        let groups = [self.groups_detached, self.groups_on_notice, self.groups_live];
        let acted_on = self.groups_on_notice + self.refused + self.gone;
        let notices = [self.groups_on_notice, self.refused + self.gone + self.agent_moot];
        let css = [self.css_freed, self.css_live];
        // A victim may have gone before its group is killed.
        let by_memory = self.heard.saturating_sub(self.told);
        vec![
            Verdict::equal("references taken = dropped", self.taken, [self.dropped]),
            Verdict::equal("groups made = removed + live", self.groups_made, groups)
                .and(self.groups_live == 0, "some are live")
                .and(self.groups_dying == 0, "references keep some of them"),
            Verdict::equal("notices = removed + in use", self.notices, notices)
                .and(self.agent_told == acted_on, "not each was acted on"),
            Verdict::equal("refusals = kills + agents'", self.refusals, [self.kills, self.refused]),
            Verdict::zero("groups the agents left", self.groups_left),
            Verdict::equal("css made = freed + live roots", self.css_made, css)
                .and(self.css_live == 5, "more than the roots' are live"),
            Verdict::equal("css freed = released", self.css_freed, [self.css_released])
                .and(self.states_made == self.states_released + 2, "some did not hear it")
                .and(self.states_made == self.states_freed + 2, "some states were not dropped"),
            Verdict::equal("members killed = who heard it", self.told, [self.heard - by_memory])
                .and(by_memory <= self.victims, "more heard it"),
            Verdict::zero("members left", self.members_live),
            Verdict::zero("rows charged to the root", self.charged),
            Verdict::zero("css freed with a charge", self.freed_charged),
            Verdict::zero("css freed with counts kept", self.freed_unfolded),
            Verdict::equal("operations at root = done", operations, [operations_done]),
            Verdict::equal("rows at root = read", rows, [rows_done]),
            Verdict::equal("bytes at root = read", bytes, [bytes_done]),
            Verdict::zero("wrong answers and files", self.wrong).of(self.checked, "compared"),
            Verdict::equal(
                "bytes charged = given back",
                self.bytes_charged,
                [self.bytes_given_back],
            ),
            Verdict::equal("bytes at root = charged", self.bytes_at_root, [self.bytes_charged]),
            Verdict::zero("bytes held at the root", self.bytes_held),
            Verdict::zero("usages that differ, at rest", self.misread).of(self.audited, "compared"),
            Verdict::zero("rebinds refused", self.rebinds_refused)
                .of(self.rebinds + self.rebinds_refused, "")
                .and(self.rebinds > 0 || self.is_early, "none was made"),
            Verdict::zero("css changed by a rebind", self.css_changed)
                .of(self.css_compared, "compared"),
            Verdict::zero("limits lost by a rebind", self.limits_lost).of(self.limits_read, "read"),
            Verdict::equal(
                "memory reserved = given back",
                self.memory_reserved,
                [self.memory_given_back],
            ),
            Verdict::zero("memory in use at the root", self.memory_used),
            Verdict::most("memory's peak at the root", self.memory_peak, self.memory_max)
                .unless(self.memory_forced > 0, "by force"),
            Verdict::zero("victims nobody chose", self.victims_heard.saturating_sub(self.victims))
                .of(self.victims_heard, ""),
            self.cpu.jobs(),
            self.cpu.usage(),
            self.cpu.shares(),
            self.disk.read(),
            self.disk.written(),
            self.disk.left(),
            Verdict::zero("panics in the controllers", self.panics),
        ]
    }
}

impl Verdict {
    /// Claims that `whole` is the sum of `parts`.
    fn equal<const N: usize>(claim: &'static str, whole: u64, parts: [u64; N]) -> Self {
        let sum = parts.iter().try_fold(0, |sum: u64, part| sum.checked_add(*part));
        let holds = sum == Some(whole);
        let sign = if holds { "=" } else { "≠" };
        let parts = parts.map(|part| HumanCount(part).to_string()).join(" + ");
        Self { holds, claim, figures: format!("{} {sign} {parts}", HumanCount(whole)) }
    }

    /// Claims that there is none of something.
    fn zero(claim: &'static str, count: u64) -> Self {
        Self { holds: count == 0, claim, figures: HumanCount(count).to_string() }
    }

    /// Claims that a figure is not above its bound.
    fn most(claim: &'static str, figure: u64, bound: u64) -> Self {
        let figures = format!("{} of {}", HumanBytes(figure), HumanBytes(bound));
        Self { holds: figure <= bound, claim, figures }
    }

    /// Lets the claim hold if something is so that accounts for it.
    fn unless(self, excuse: bool, why: &str) -> Self {
        if self.holds || !excuse {
            return self;
        }
        Self { holds: true, figures: format!("{}, {why}", self.figures), ..self }
    }

    /// Claims one thing more, and says what is `wrong` if it is not so.
    fn and(self, holds: bool, wrong: &str) -> Self {
        if holds {
            return self;
        }
        Self { holds, figures: format!("{}; {wrong}", self.figures), ..self }
    }

    /// Says of how many the count is.
    fn of(self, total: u64, what: &str) -> Self {
        let figures = format!("{} of {} {what}", self.figures, HumanCount(total));
        Self { figures: figures.trim_end().to_owned(), ..self }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.holds { "ok" } else { "BROKEN" };
        write!(f, "  {mark:6}  {:29}  {}", self.claim, self.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Books = Books {
        taken: 1_000,
        dropped: 1_000,
        groups_made: 9,
        groups_detached: 5,
        groups_on_notice: 4,
        groups_live: 0,
        groups_dying: 0,
        groups_left: 0,
        notices: 7,
        agent_told: 6,
        agent_moot: 1,
        refused: 1,
        gone: 1,
        refusals: 3,
        kills: 2,
        css_made: 17,
        css_freed: 12,
        css_live: 5,
        css_released: 12,
        states_made: 10,
        states_released: 8,
        states_freed: 8,
        charged: 0,
        freed_charged: 0,
        freed_unfolded: 0,
        counted: [5, 50, 500],
        done: [5, 50, 500],
        checked: 5,
        wrong: 0,
        told: 3,
        heard: 4,
        members_live: 0,
        panics: 0,
        is_early: false,
        rebinds: 200,
        rebinds_refused: 0,
        css_compared: 4_000,
        css_changed: 0,
        limits_read: 600,
        limits_lost: 0,
        audited: 40,
        misread: 0,
        bytes_charged: 4_096,
        bytes_given_back: 4_096,
        bytes_at_root: 4_096,
        bytes_held: 0,
        memory_reserved: 8_192,
        memory_given_back: 8_192,
        memory_used: 0,
        memory_peak: 1_024,
        memory_max: 1_024,
        memory_forced: 0,
        victims: 2,
        victims_heard: 2,
        cpu: cpu::tests::SOUND,
        disk: disk::tests::SOUND,
    };

    fn broken(books: Books) -> Vec<&'static str> {
        let verdicts = books.verdicts().into_iter();
        verdicts.filter(|verdict| !verdict.holds).map(|verdict| verdict.claim).collect()
    }

    #[test]
    fn sound_books_have_no_broken_claim() {
        assert_eq!(broken(SOUND), [""; 0]);
        assert_eq!(broken(Books { rebinds: 0, is_early: true, ..SOUND }), [""; 0]);
        assert_eq!(broken(Books { memory_peak: 1_025, memory_forced: 1, ..SOUND }), [""; 0]);
    }

    #[test]
    fn each_difference_breaks_its_own_claim() {
        let cases = [
            (Books { dropped: 999, ..SOUND }, "references taken = dropped"),
            (Books { groups_detached: 4, ..SOUND }, "groups made = removed + live"),
            (Books { groups_detached: 4, groups_live: 1, ..SOUND }, "groups made = removed + live"),
            (Books { groups_live: 1, ..SOUND }, "groups made = removed + live"),
            (Books { groups_dying: 1, ..SOUND }, "groups made = removed + live"),
            (Books { notices: 8, ..SOUND }, "notices = removed + in use"),
            (Books { notices: 6, ..SOUND }, "notices = removed + in use"),
            (Books { agent_told: 5, ..SOUND }, "notices = removed + in use"),
            (Books { refusals: 2, ..SOUND }, "refusals = kills + agents'"),
            (Books { groups_left: 1, ..SOUND }, "groups the agents left"),
            (Books { css_made: 18, ..SOUND }, "css made = freed + live roots"),
            (Books { css_made: 18, css_live: 6, ..SOUND }, "css made = freed + live roots"),
            (Books { css_released: 11, ..SOUND }, "css freed = released"),
            (Books { states_released: 7, ..SOUND }, "css freed = released"),
            (Books { states_freed: 7, ..SOUND }, "css freed = released"),
            (Books { states_made: 11, ..SOUND }, "css freed = released"),
            (Books { heard: 2, ..SOUND }, "members killed = who heard it"),
            (Books { heard: 6, ..SOUND }, "members killed = who heard it"),
            (Books { members_live: 1, ..SOUND }, "members left"),
            (Books { charged: u64::MAX, ..SOUND }, "rows charged to the root"),
            (Books { freed_charged: 1, ..SOUND }, "css freed with a charge"),
            (Books { freed_unfolded: 1, ..SOUND }, "css freed with counts kept"),
            (Books { counted: [4, 50, 500], ..SOUND }, "operations at root = done"),
            (Books { counted: [5, 51, 500], ..SOUND }, "rows at root = read"),
            (Books { done: [5, 50, 501], ..SOUND }, "bytes at root = read"),
            (Books { wrong: 1, ..SOUND }, "wrong answers and files"),
            (Books { panics: 1, ..SOUND }, "panics in the controllers"),
            (Books { rebinds_refused: 1, ..SOUND }, "rebinds refused"),
            (Books { rebinds: 0, ..SOUND }, "rebinds refused"),
            (Books { css_changed: 1, ..SOUND }, "css changed by a rebind"),
            (Books { limits_lost: 1, ..SOUND }, "limits lost by a rebind"),
            (Books { misread: 1, ..SOUND }, "usages that differ, at rest"),
            (Books { bytes_given_back: 4_095, ..SOUND }, "bytes charged = given back"),
            (Books { bytes_at_root: 4_095, ..SOUND }, "bytes at root = charged"),
            (Books { bytes_held: 1, ..SOUND }, "bytes held at the root"),
            (Books { memory_given_back: 8_191, ..SOUND }, "memory reserved = given back"),
            (Books { memory_used: 1, ..SOUND }, "memory in use at the root"),
            (Books { memory_peak: 1_025, ..SOUND }, "memory's peak at the root"),
            (Books { victims_heard: 3, ..SOUND }, "victims nobody chose"),
        ];
        for (cpu, claim) in cpu::tests::broken() {
            assert_eq!(broken(Books { cpu, ..SOUND }), [claim], "{cpu:?}");
        }
        for (disk, claim) in disk::tests::broken() {
            assert_eq!(broken(Books { disk, ..SOUND }), [claim], "{disk:?}");
        }
        for (books, claim) in cases {
            assert_eq!(broken(books), [claim], "{books:?}");
        }
    }

    #[test]
    fn a_verdict_shows_its_figures() {
        let verdicts = Books { dropped: 999, ..SOUND }.verdicts();
        let lines: Vec<String> = verdicts.iter().map(Verdict::to_string).collect();
        assert_eq!(lines[0], "  BROKEN  references taken = dropped     1,000 ≠ 999");
        assert_eq!(lines[1], "  ok      groups made = removed + live   9 = 5 + 4 + 0");
        assert_eq!(lines[15], "  ok      wrong answers and files        0 of 5 compared");

        let verdict = &Books { css_made: 18, css_live: 6, ..SOUND }.verdicts()[5];
        let line =
            "  BROKEN  css made = freed + live roots  18 = 12 + 6; more than the roots' are live";
        assert_eq!(verdict.to_string(), line);
    }

    #[test]
    fn a_verdict_fits_eighty_columns() {
        // An hour at ten gigabytes a second.
        let most = 36_000_000_000_000;
        let books = Books { counted: [most; 3], done: [most; 3], ..SOUND };
        let books = Books { memory_reserved: most, memory_given_back: most, ..books };
        let books = Books { memory_peak: most, memory_max: most, ..books };
        for verdict in books.verdicts() {
            assert!(verdict.to_string().len() <= 80, "{verdict}");
        }
    }
}
