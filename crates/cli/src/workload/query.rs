//! The queries of tenant `analytics`, run in morsels, and what their answers must be.
//!
//! All sums are integers, so that an answer does not depend on the order of the rows: quantities
//! are whole, prices in hundredths, discounted prices in 10⁻⁴, charged ones in 10⁻⁶. At scale
//! factor 1 the largest sum is about 2 · 10¹⁷, well inside an `i64`.
//!
//! A query works on a copy of each morsel, for which it has to have room; a sort keeps what it reads.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::Result;

use crate::{
    soak::bench::{self, Compute},
    sync::{Arc, Flag},
    workload::{
        data::{Lineitem, Row},
        sort::{Grown, Manner, Patience, Room, Sorted, Sorter},
    },
};

/// A query over the rows that were shipped on day `until` or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// TPC-H Q1: sums, averages and counts by return flag and line status.
    GroupBy { until: i32 },
    /// The [`TOP_ROWS`] most expensive rows, the earlier row first among equals.
    Top { until: i32 },
    /// All rows, in the order of [`Query::Top`].
    Sort { until: i32, manner: Manner },
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Groups(Vec<Group>),
    Top(Vec<Expensive>),
    Sorted(Sorted),
}

/// One line of the answer to [`Query::GroupBy`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    returnflag: u8,
    linestatus: u8,
    sums: Sums,
    average_quantity: f64,
    average_price: f64,
    average_discount: f64,
}

/// One line of the answer to [`Query::Top`], and what is sorted by [`Query::Sort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expensive {
    price: Reverse<i64>,
    row: usize,
}

/// What a query that keeps little has found so far.
#[derive(Debug)]
pub(crate) enum Partial {
    Groups(Groups),
    Top(Vec<Expensive>),
}

/// What [`Query::GroupBy`] has found so far.
#[derive(Debug, Default)]
pub(crate) struct Groups(Vec<((u8, u8), Sums)>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    count: i64,
    quantity: i64,
    price: i64,
    discounted: i64,
    charged: i64,
    discount: i64,
}

impl Query {
    /// Every query there is, with the answer it must give, found in the plainest way.
    ///
    /// `None` if `stop` is raised meanwhile.
    pub(crate) fn with_answers(data: &Lineitem, stop: &Flag) -> Option<Vec<(Self, Answer)>> {
        let days = (0..CUTOFFS).map(|step| LAST_DAY - 60 - 8 * step);
        let small = days.flat_map(|until| [Self::GroupBy { until }, Self::Top { until }]);
        let day = |part: i32| LAST_DAY - 60 - DAYS / 8 * part;
        let large = (0..SORTS).map(|step| (day(step), Manner::Spills));
        let middling = (0..SORTS).map(|step| (day(5) - 8 * step, Manner::Waits));
        let sorts = large.chain(middling).map(|(until, manner)| Self::Sort { until, manner });
        small
            .chain(sorts)
            .map(|query| (!stop.is_raised()).then(|| (query, query.run_plainly(data))))
            .collect()
    }

    /// Runs the query in `room`, one morsel of rows after the other, each computed by `cpu`.
    ///
    /// `go_on` is told of each morsel how many rows it has before it is read; when it returns
    /// `false`, the query stops without an answer.
    ///
    /// # Errors
    ///
    /// Those of writing and reading files.
    pub(crate) fn run(
        &self,
        data: &Arc<Lineitem>,
        room: &mut dyn Room,
        cpu: &impl Compute,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Answer>> {
        match (self.begin(), *self) {
            (Some(partial), _) => {
                let partial = scan(data, room, (cpu, partial), go_on, self.until())?;
                Ok(partial.map(Partial::finish))
            }
            (None, Self::Sort { until, manner }) => {
                let sorter = Sorter::new(data.len(), manner, room, cpu);
                Ok(sort(data, sorter, cpu, go_on, until)?.map(Answer::Sorted))
            }
            (None, _) => Ok(None),
        }
    }

    /// Runs the query, if it keeps little, and lets others run after each morsel.
    ///
    /// When `stop` is raised, or it is a sort, there is no answer.
    pub(crate) async fn run_in_turns(self, data: &Lineitem, stop: &Flag) -> Option<Answer> {
        let mut partial = self.begin()?;
        for (first, rows) in morsels(data) {
            if stop.is_raised() {
                return None;
            }
            partial.add(first, rows, self.until());
            bench::yield_now().await;
        }
        Some(partial.finish())
    }

    /// The rows, with the index of the first of each morsel.
    pub(crate) fn morsels(self, data: &Lineitem) -> impl Iterator<Item = (usize, &[Row])> {
        morsels(data)
    }

    /// What is to be sorted of rows of which the first has this index.
    pub(crate) fn shipped(self, first: usize, rows: &[Row]) -> impl Iterator<Item = Expensive> {
        shipped(first, rows, self.until())
    }

    /// What it has found before it begins; `None` of a sort, which keeps what it reads.
    pub(crate) fn begin(self) -> Option<Partial> {
        match self {
            Self::GroupBy { .. } => Some(Partial::Groups(Groups::default())),
            Self::Top { .. } => Some(Partial::Top(Vec::new())),
            Self::Sort { .. } => None,
        }
    }

    /// The last day of what it is about.
    pub(crate) fn until(self) -> i32 {
        match self {
            Self::GroupBy { until } | Self::Top { until } | Self::Sort { until, .. } => until,
        }
    }

    fn run_plainly(self, data: &Lineitem) -> Answer {
        match self {
            Self::GroupBy { until } => Answer::Groups(group_by_plainly(data.rows(), until)),
            Self::Top { until } => {
                // By reference: `into_iter` would keep the memory of all rows for these few.
                let sorted = sort_plainly(data.rows(), until);
                Answer::Top(sorted.iter().take(TOP_ROWS).copied().collect())
            }
            Self::Sort { until, .. } => {
                Answer::Sorted(Sorted::of(sort_plainly(data.rows(), until).into_iter()))
            }
        }
    }
}

/// Adds a copy of each morsel to what was found; `None` if it was stopped.
fn scan(
    data: &Lineitem,
    room: &mut dyn Room,
    (cpu, mut partial): (&impl Compute, Partial),
    mut go_on: impl FnMut(usize) -> bool,
    until: i32,
) -> Result<Option<Partial>> {
    for (first, rows) in morsels(data) {
        let bytes = size_of_val(rows);
        if !go_on(rows.len()) || room.grow(bytes, Patience::Wait) != Grown::Granted {
            return Ok(None);
        }
        let copy = rows.to_vec();
        let add = move || {
            partial.add(first, &copy, until);
            partial
        };
        let added = cpu.run(add)?;
        room.shrink(bytes);
        match added {
            Some(added) => partial = added,
            None => return Ok(None),
        }
    }
    Ok(Some(partial))
}

fn sort<C: Compute>(
    data: &Arc<Lineitem>,
    mut sorter: Sorter<'_, C>,
    cpu: &C,
    mut go_on: impl FnMut(usize) -> bool,
    until: i32,
) -> Result<Option<Sorted>> {
    for (first, rows) in morsels(data) {
        if !go_on(rows.len()) {
            return Ok(None);
        }
        let (data, range) = (Arc::clone(data), first..first + rows.len());
        let select = move || {
            let first = range.start;
            data.rows().get(range).map(|rows| shipped(first, rows, until).collect())
        };
        let entries: Option<Vec<Expensive>> = cpu.run(select)?.flatten();
        let Some(entries) = entries else { return Ok(None) };
        if !sorter.extend(entries.into_iter())? {
            return Ok(None);
        }
    }
    sorter.finish()
}

/// The rows, with the index of the first of each morsel.
fn morsels(data: &Lineitem) -> impl Iterator<Item = (usize, &[Row])> {
    let rows = data.len().div_ceil(LEAST_MORSELS).clamp(1, MORSEL_ROWS);
    data.rows().chunks(rows).enumerate().map(move |(index, morsel)| (index * rows, morsel))
}

fn shipped(first: usize, rows: &[Row], until: i32) -> impl Iterator<Item = Expensive> {
    let rows = rows.iter().enumerate().filter(move |(_, row)| row.shipdate <= until);
    rows.map(move |(offset, row)| Expensive::new(row, first + offset))
}

impl Partial {
    /// Adds rows of which the first has this index.
    pub(crate) fn add(&mut self, first: usize, rows: &[Row], until: i32) {
        match self {
            Self::Groups(groups) => groups.add(rows, until),
            Self::Top(best) => {
                best.extend(shipped(first, rows, until));
                best.sort_unstable();
                best.truncate(TOP_ROWS);
            }
        }
    }

    pub(crate) fn finish(self) -> Answer {
        match self {
            Self::Groups(groups) => Answer::Groups(groups.finish()),
            Self::Top(best) => Answer::Top(best),
        }
    }
}

impl Groups {
    fn add(&mut self, rows: &[Row], until: i32) {
        for row in rows.iter().filter(|row| row.shipdate <= until) {
            let key = (row.returnflag, row.linestatus);
            match self.0.iter_mut().find(|(other, _)| *other == key) {
                Some((_, sums)) => sums.add(row),
                None => {
                    let mut sums = Sums::default();
                    sums.add(row);
                    self.0.push((key, sums));
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Group> {
        self.0.sort_unstable_by_key(|(key, _)| *key);
        self.0.into_iter().map(|(key, sums)| Group::new(key, sums)).collect()
    }
}

fn group_by_plainly(rows: &[Row], until: i32) -> Vec<Group> {
    let mut groups = BTreeMap::<_, Vec<&Row>>::new();
    for row in rows.iter().filter(|row| row.shipdate <= until) {
        groups.entry((row.returnflag, row.linestatus)).or_default().push(row);
    }
    let sum = |rows: &[&Row], column: fn(&Row) -> i64| rows.iter().map(|row| column(row)).sum();
    let sums = |rows: &[&Row]| Sums {
        count: sum(rows, |_| 1),
        quantity: sum(rows, |row| row.quantity),
        price: sum(rows, |row| row.price),
        discounted: sum(rows, |row| row.price * (100 - row.discount)),
        charged: sum(rows, |row| row.price * (100 - row.discount) * (100 + row.tax)),
        discount: sum(rows, |row| row.discount),
    };
    groups.into_iter().map(|(key, rows)| Group::new(key, sums(&rows))).collect()
}

fn sort_plainly(rows: &[Row], until: i32) -> Vec<Expensive> {
    let mut sorted: Vec<(usize, &Row)> =
        rows.iter().enumerate().filter(|(_, row)| row.shipdate <= until).collect();
    // A stable sort keeps the earlier row first among equals.
    sorted.sort_by_key(|(_, row)| Reverse(row.price));
    sorted.iter().map(|(index, row)| Expensive::new(row, *index)).collect()
}

impl Sums {
    fn add(&mut self, row: &Row) {
        let discounted = row.price * (100 - row.discount);
        self.count += 1;
        self.quantity += row.quantity;
        self.price += row.price;
        self.discounted += discounted;
        self.charged += discounted * (100 + row.tax);
        self.discount += row.discount;
    }
}

impl Group {
    fn new((returnflag, linestatus): (u8, u8), sums: Sums) -> Self {
        let average = |sum: i64| sum as f64 / sums.count as f64;
        Self {
            returnflag,
            linestatus,
            average_quantity: average(sums.quantity),
            average_price: average(sums.price) / 100.0,
            average_discount: average(sums.discount) / 100.0,
            sums,
        }
    }
}

impl Expensive {
    fn new(row: &Row, index: usize) -> Self {
        Self { price: Reverse(row.price), row: index }
    }

    #[cfg(test)]
    pub(crate) fn priced(price: i64, row: usize) -> Self {
        Self { price: Reverse(price), row }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (price, row) = bytes.split_at_mut(8);
        price.copy_from_slice(&self.price.0.to_le_bytes());
        row.copy_from_slice(&(self.row as u64).to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [price, row] =
            [&bytes[..8], &bytes[8..]].map(|half| half.try_into().map_or(0, u64::from_le_bytes));
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        Self { price: Reverse(price.cast_signed()), row }
    }

    /// As many as it has in memory.
    pub(crate) const BYTES: usize = size_of::<Self>();
}

/// How many rows [`Query::Top`] returns.
pub(crate) const TOP_ROWS: usize = 100;

/// The most rows that are read between two looks at whether to go on.
const MORSEL_ROWS: usize = 4096;

/// A table of fewer rows has this many morsels.
const LEAST_MORSELS: usize = 32;

const CUTOFFS: i32 = 8;

/// How many sorts there are of more than half of the rows, and how many of a little more than a third.
const SORTS: i32 = 4;

/// From the first day of a shipment to the last.
const DAYS: i32 = 2526;

/// 1998-12-01, from which TPC-H Q1 counts back 60 to 120 days, in days since 1970-01-01.
const LAST_DAY: i32 = 10_561;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        soak::bench::tests::Here,
        workload::{
            data::tests::SMALL,
            sort::{bytes, tests::Bounded},
        },
    };

    fn run(query: Query, go_on: impl FnMut(usize) -> bool) -> Option<Answer> {
        query.run(&SMALL, &mut Bounded::to(usize::MAX), &Here, go_on).unwrap()
    }

    #[test]
    fn morsels_give_the_plain_answer() {
        let queries = Query::with_answers(&SMALL, &Flag::default()).unwrap();
        assert_eq!(queries.len(), 24);
        for (query, answer) in queries {
            assert_eq!(run(query, |_| true), Some(answer), "{query:?}");
        }
    }

    #[test]
    fn two_fifths_of_what_the_largest_sort_needs_are_enough_for_all() {
        let mut spilled = 0;
        for (query, answer) in Query::with_answers(&SMALL, &Flag::default()).unwrap() {
            let mut room = Bounded::to(bytes(SMALL.len()) * 2 / 5);
            let found = query.run(&SMALL, &mut room, &Here, |_| true).unwrap();
            assert_eq!(found, Some(answer), "{query:?}");
            let may_spill = matches!(query, Query::Sort { manner: Manner::Spills, .. });
            assert!(may_spill || room.spills == 0, "{query:?}");
            spilled += room.spilled;
        }
        assert!(spilled > 3 * bytes(SMALL.len()), "{spilled}");
    }

    #[test]
    fn a_query_without_room_has_no_answer() {
        for (query, _) in Query::with_answers(&SMALL, &Flag::default()).unwrap() {
            let mut room = Bounded::to(bytes(1));
            assert_eq!(query.run(&SMALL, &mut room, &Here, |_| true).unwrap(), None, "{query:?}");
        }
    }

    #[test]
    fn an_entry_is_its_bytes() {
        for (price, row) in [(0, 0), (-1, 1), (i64::MAX, usize::MAX), (i64::MIN, 7)] {
            let entry = Expensive::priced(price, row);
            assert_eq!(Expensive::from_bytes(entry.to_bytes()), entry);
        }
    }

    #[test]
    fn queries_have_different_answers() {
        let queries = Query::with_answers(&SMALL, &Flag::default()).unwrap();
        let groups: Vec<_> =
            queries.iter().filter(|(query, _)| matches!(query, Query::GroupBy { .. })).collect();
        for pair in groups.windows(2) {
            assert_ne!(pair[0].1, pair[1].1);
        }
    }

    #[test]
    fn q1_has_its_four_groups() {
        let Some(Answer::Groups(groups)) = run(Query::GroupBy { until: LAST_DAY - 90 }, |_| true)
        else {
            panic!("not groups");
        };
        let keys: Vec<_> =
            groups.iter().map(|group| [group.returnflag, group.linestatus]).collect();
        assert_eq!(keys, [*b"AF", *b"NF", *b"NO", *b"RF"]);
        for group in &groups {
            assert!((20.0..30.0).contains(&group.average_quantity), "{group:?}");
            assert!((0.04..0.06).contains(&group.average_discount), "{group:?}");
        }
    }

    #[test]
    fn the_top_is_sorted_and_complete() {
        let Some(Answer::Top(top)) = run(Query::Top { until: i32::MAX }, |_| true) else {
            panic!("not rows");
        };
        assert_eq!(top.len(), TOP_ROWS);
        assert!(top.is_sorted());
        let highest = SMALL.rows().iter().map(|row| row.price).max();
        assert_eq!(highest, Some(top[0].price.0));
    }

    #[test]
    fn every_row_is_announced_once() {
        let mut rows = 0;
        let query = Query::GroupBy { until: i32::MAX };
        run(query, |morsel| {
            rows += morsel;
            true
        });
        assert_eq!(rows, SMALL.len());
    }

    #[test]
    fn a_stopped_query_has_no_answer() {
        let until = i32::MAX;
        let sort = Query::Sort { until, manner: Manner::Spills };
        for query in [Query::GroupBy { until }, Query::Top { until }, sort] {
            let mut morsels = 0;
            let answer = run(query, |_| {
                morsels += 1;
                morsels < 2
            });
            assert_eq!((answer, morsels), (None, 2));
        }
    }
}
