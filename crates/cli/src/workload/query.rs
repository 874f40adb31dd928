//! The queries of tenant `analytics`, run in morsels, and what their answers must be.
//!
//! All sums are integers, so that an answer does not depend on the order of the rows: quantities
//! are whole, prices in hundredths, discounted prices in 10⁻⁴, charged ones in 10⁻⁶. At scale
//! factor 1 the largest sum is about 2 · 10¹⁷, well inside an `i64`.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    sync::Flag,
    workload::data::{Lineitem, Row},
};

/// A query over the rows that were shipped on day `until` or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// TPC-H Q1: sums, averages and counts by return flag and line status.
    GroupBy { until: i32 },
    /// The [`TOP_ROWS`] most expensive rows, the earlier row first among equals.
    Top { until: i32 },
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Groups(Vec<Group>),
    Top(Vec<Expensive>),
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

/// One line of the answer to [`Query::Top`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expensive {
    price: Reverse<i64>,
    row: usize,
}

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
        days.flat_map(|until| [Self::GroupBy { until }, Self::Top { until }])
            .map(|query| (!stop.is_raised()).then(|| (query, query.run_plainly(data))))
            .collect()
    }

    /// Runs the query, one morsel of rows after the other.
    ///
    /// `go_on` is told of each morsel how many rows it has before it is read; when it returns
    /// `false`, the query stops without an answer.
    pub(crate) fn run(
        &self,
        data: &Lineitem,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Option<Answer> {
        let mut read = 0;
        let mut morsels = data
            .rows()
            .chunks(MORSEL_ROWS)
            .enumerate()
            .map_while(|(index, rows)| go_on(rows.len()).then_some((index * MORSEL_ROWS, rows)))
            .inspect(|(_, rows)| read += rows.len());
        let answer = match *self {
            Self::GroupBy { until } => Answer::Groups(group_by(&mut morsels, until)),
            Self::Top { until } => Answer::Top(top(&mut morsels, until)),
        };
        (read == data.len()).then_some(answer)
    }

    fn run_plainly(self, data: &Lineitem) -> Answer {
        match self {
            Self::GroupBy { until } => Answer::Groups(group_by_plainly(data.rows(), until)),
            Self::Top { until } => Answer::Top(top_plainly(data.rows(), until)),
        }
    }
}

fn group_by(morsels: &mut dyn Iterator<Item = (usize, &[Row])>, until: i32) -> Vec<Group> {
    let mut groups: Vec<((u8, u8), Sums)> = Vec::new();
    for (_, rows) in morsels {
        for row in rows.iter().filter(|row| row.shipdate <= until) {
            let key = (row.returnflag, row.linestatus);
            match groups.iter_mut().find(|(other, _)| *other == key) {
                Some((_, sums)) => sums.add(row),
                None => {
                    let mut sums = Sums::default();
                    sums.add(row);
                    groups.push((key, sums));
                }
            }
        }
    }
    groups.sort_unstable_by_key(|(key, _)| *key);
    groups.into_iter().map(|(key, sums)| Group::new(key, sums)).collect()
}

fn top(morsels: &mut dyn Iterator<Item = (usize, &[Row])>, until: i32) -> Vec<Expensive> {
    let mut best = Vec::new();
    for (first, rows) in morsels {
        let shipped = rows.iter().enumerate().filter(|(_, row)| row.shipdate <= until);
        best.extend(shipped.map(|(offset, row)| Expensive::new(row, first + offset)));
        best.sort_unstable();
        best.truncate(TOP_ROWS);
    }
    best
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

fn top_plainly(rows: &[Row], until: i32) -> Vec<Expensive> {
    let mut shipped: Vec<(usize, &Row)> =
        rows.iter().enumerate().filter(|(_, row)| row.shipdate <= until).collect();
    // A stable sort keeps the earlier row first among equals.
    shipped.sort_by_key(|(_, row)| Reverse(row.price));
    // By reference: `into_iter` would keep the memory of all rows for these few.
    shipped.iter().take(TOP_ROWS).map(|(index, row)| Expensive::new(row, *index)).collect()
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
}

/// How many rows [`Query::Top`] returns.
pub(crate) const TOP_ROWS: usize = 100;

/// How many rows are read between two looks at whether to go on.
const MORSEL_ROWS: usize = 4096;

const CUTOFFS: i32 = 8;

/// 1998-12-01, from which TPC-H Q1 counts back 60 to 120 days, in days since 1970-01-01.
const LAST_DAY: i32 = 10_561;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::workload::data::tests::SMALL;

    #[test]
    fn morsels_give_the_plain_answer() {
        let queries = Query::with_answers(&SMALL, &Flag::default()).unwrap();
        assert_eq!(queries.len(), 16);
        for (query, answer) in queries {
            assert_eq!(query.run(&SMALL, |_| true), Some(answer), "{query:?}");
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
        let Some(Answer::Groups(groups)) =
            Query::GroupBy { until: LAST_DAY - 90 }.run(&SMALL, |_| true)
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
        let Some(Answer::Top(top)) = Query::Top { until: i32::MAX }.run(&SMALL, |_| true) else {
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
        query.run(&SMALL, |morsel| {
            rows += morsel;
            true
        });
        assert_eq!(rows, SMALL.len());
    }

    #[test]
    fn a_stopped_query_has_no_answer() {
        for query in [Query::GroupBy { until: i32::MAX }, Query::Top { until: i32::MAX }] {
            let mut morsels = 0;
            let answer = query.run(&SMALL, |_| {
                morsels += 1;
                morsels < 2
            });
            assert_eq!((answer, morsels), (None, 2));
        }
    }
}
