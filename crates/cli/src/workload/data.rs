//! The input: TPC-H's `lineitem`, made in memory.
//!
//! The text of the rows is what `dbgen` would write to `lineitem.tbl`, but for the comments, which
//! are drawn from a smaller pool of text than the benchmark prescribes: its 300 MB take longer to
//! make than all the rows.

use std::{fmt::Write as _, ops::Range, sync::LazyLock};

use tpchgen::{
    distribution::Distributions,
    generators::{LineItem, LineItemGenerator},
    text::TextPool,
};

use crate::sync::Flag;

/// The table: every row as text, for hashing, and as numbers, for queries.
#[derive(Debug)]
pub(crate) struct Lineitem {
    text: String,
    /// Where the text of each row ends.
    ends: Vec<usize>,
    rows: Vec<Row>,
}

/// The columns of one row that queries look at; decimals are in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) quantity: i64,
    pub(crate) price: i64,
    pub(crate) discount: i64,
    pub(crate) tax: i64,
    /// Days since 1970-01-01.
    pub(crate) shipdate: i32,
    pub(crate) returnflag: u8,
    pub(crate) linestatus: u8,
}

impl Lineitem {
    /// Makes the table, or returns `None` if `stop` is raised meanwhile.
    pub(crate) fn generate(scale: f64, stop: &Flag) -> Option<Self> {
        let distributions = Distributions::static_default();
        let generator = LineItemGenerator::new_with_distributions_and_text_pool(
            scale,
            1,
            1,
            distributions,
            &TEXT_POOL,
        );
        let mut table = Self::with_room(scale);
        for item in generator.iter() {
            table.push(&item);
            if table.len().is_multiple_of(ROWS_BETWEEN_LOOKS) && stop.is_raised() {
                return None;
            }
        }
        Some(table)
    }

    /// An empty table with room for about the rows of `scale`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    fn with_room(scale: f64) -> Self {
        let rows = (scale * ROWS_AT_SCALE_1) as usize;
        let text = String::with_capacity(rows * TEXT_BYTES_PER_ROW);
        Self { text, ends: Vec::with_capacity(rows), rows: Vec::with_capacity(rows) }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many bytes the text of all rows has.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The text of `rows`, one after the other; `None` if there are no such rows.
    pub(crate) fn text(&self, rows: Range<usize>) -> Option<&[u8]> {
        let start = match rows.start.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        let end = match rows.end.checked_sub(1) {
            None => 0,
            Some(last) => *self.ends.get(last)?,
        };
        self.text.as_bytes().get(start..end)
    }

    fn push(&mut self, item: &LineItem<'_>) {
        writeln!(self.text, "{item}").expect("writing to a string cannot fail");
        self.ends.push(self.text.len());
        self.rows.push(Row {
            quantity: item.l_quantity,
            price: item.l_extendedprice.0,
            discount: item.l_discount.0,
            tax: item.l_tax.0,
            shipdate: item.l_shipdate.to_unix_epoch(),
            returnflag: first_byte(item.l_returnflag),
            linestatus: first_byte(item.l_linestatus),
        });
    }
}

fn first_byte(text: &str) -> u8 {
    text.as_bytes().first().copied().unwrap_or(b'?')
}

/// A little more than there are, so that nothing has to grow.
const ROWS_AT_SCALE_1: f64 = 6_050_000.0;
const TEXT_BYTES_PER_ROW: usize = 128;

const ROWS_BETWEEN_LOOKS: usize = 1 << 14;
const TEXT_POOL_BYTES: i32 = 1 << 20;

static TEXT_POOL: LazyLock<TextPool> =
    LazyLock::new(|| TextPool::new(TEXT_POOL_BYTES, Distributions::static_default()));

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use crate::sync::Arc;

    /// Six thousand rows, made once for all tests.
    pub(crate) static SMALL: LazyLock<Arc<Lineitem>> =
        LazyLock::new(|| Arc::new(Lineitem::generate(0.001, &Flag::default()).unwrap()));

    #[test]
    fn rows_are_lines_of_sixteen_fields() {
        assert!(SMALL.len() > 5_000, "{}", SMALL.len());
        for index in [0, 1, SMALL.len() - 1] {
            let line = str::from_utf8(SMALL.text(index..index + 1).unwrap()).unwrap();
            assert_eq!(line.matches('|').count(), 16, "{line}");
            assert!(line.ends_with("|\n"), "{line}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_text() {
        for index in [0, 17, SMALL.len() - 1] {
            let line = str::from_utf8(SMALL.text(index..index + 1).unwrap()).unwrap();
            let fields: Vec<&str> = line.split('|').collect();
            let row = SMALL.rows()[index];
            assert_eq!(fields[4].parse(), Ok(row.quantity));
            assert_eq!(fields[5].replace('.', "").parse(), Ok(row.price));
            assert_eq!(fields[8].as_bytes(), [row.returnflag]);
            assert_eq!(fields[9].as_bytes(), [row.linestatus]);
        }
    }

    #[test]
    fn a_range_is_the_text_of_its_rows_in_order() {
        let both = SMALL.text(3..5).unwrap();
        let (one, two) = (SMALL.text(3..4).unwrap(), SMALL.text(4..5).unwrap());
        assert_eq!(both, [one, two].concat());
        assert_eq!(SMALL.text(0..SMALL.len()).unwrap().len(), SMALL.text_bytes());
        assert_eq!(SMALL.text(0..0), Some(&[][..]));
    }

    #[test]
    fn rows_that_do_not_exist_have_no_text() {
        assert_eq!(SMALL.text(0..SMALL.len() + 1), None);
        assert_eq!(SMALL.text(SMALL.len() + 1..SMALL.len() + 2), None);
    }

    #[test]
    fn generation_can_be_stopped() {
        let stop = Flag::default();
        stop.raise();
        assert!(Lineitem::generate(0.01, &stop).is_none());
    }
}
