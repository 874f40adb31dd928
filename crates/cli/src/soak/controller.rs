//! `queries`, the controller of the soak: counts what operations do, exactly.
//!
//! Each css counts on its own: an operation adds to the css of its group only. What a css counted
//! moves into its parent's when its group is removed ([`Subsystem::offline`]), and what references
//! still counted afterwards when the last of them is gone ([`Subsystem::released`]). Each number
//! is taken out and put in whole, so that nothing is lost or counted twice, and the root ends up
//! with the sum of everything.
//!
//! Rows in flight are charged up the tree, as memory would be: a [`Receipt`] charges its css and
//! every ancestor, and gives back the same when it is settled, on whatever thread that happens.
//! Only then are its rows counted as read, which is often after its group was removed. The bytes of
//! these rows are charged by `inflight`, the second controller, and travel with the receipt.

use std::iter;

use fief_core::{Css, CssRef, HookError, Subsystem};

use crate::{
    soak::inflight::Held,
    sync::{Arc, Count},
};

/// The subsystem.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    ledger: Arc<Ledger>,
}

/// The life and death of all css of the soak's controllers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Css made, the roots' included.
    pub(crate) made: Count,
    /// Css whose last reference is gone.
    pub(crate) released: Count,
    /// Css freed.
    pub(crate) freed: Count,
    /// Css freed while rows or bytes were still charged to them.
    pub(crate) freed_charged: Count,
    /// Css freed with numbers that did not reach the parent.
    pub(crate) freed_unfolded: Count,
}

/// The state of one group.
#[derive(Debug)]
pub(crate) struct QueriesCss {
    totals: Totals,
    /// Rows in flight, here and below.
    charged: Count,
    place: Place,
    ledger: Arc<Ledger>,
}

/// Whether a css has a parent to fold into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Below,
}

/// Numbers that only grow, until they move into the parent.
#[derive(Debug, Default)]
struct Totals {
    operations: Count,
    rows: Count,
    bytes: Count,
}

/// A reference that carries a charge of rows.
#[derive(Debug)]
#[must_use = "an unsettled receipt leaves its rows charged"]
pub(crate) struct Receipt {
    css: CssRef<QueriesCss>,
    rows: u64,
    bytes: Option<Held>,
}

impl Queries {
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl QueriesCss {
    /// Counts one finished operation.
    pub(crate) fn count(&self, bytes: u64) {
        self.totals.operations.add(1);
        self.totals.bytes.add(bytes);
    }

    /// Operations, rows and bytes counted here and not yet moved into the parent.
    pub(crate) fn totals(&self) -> [u64; 3] {
        [&self.totals.operations, &self.totals.rows, &self.totals.bytes].map(Count::get)
    }

    /// Rows in flight, here and below.
    pub(crate) fn charged(&self) -> u64 {
        self.charged.get()
    }
}

impl Receipt {
    /// Charges `rows` to `css` and its ancestors.
    pub(crate) fn charge(css: CssRef<QueriesCss>, rows: u64) -> Self {
        for level in with_ancestors(&css) {
            level.charged.add(rows);
        }
        Self { css, rows, bytes: None }
    }

    /// Lets `bytes` be held until the rows are settled.
    pub(crate) fn with_bytes(self, bytes: Held) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.as_ref().map_or(0, Held::amount)
    }

    /// Gives the bytes and the rows back, counts these as read, and returns the reference.
    pub(crate) fn settle(self) -> CssRef<QueriesCss> {
        drop(self.bytes);
        for level in with_ancestors(&self.css) {
            level.charged.sub(self.rows);
        }
        self.css.totals.rows.add(self.rows);
        self.css
    }
}

impl Totals {
    fn move_into(&self, other: &Self) {
        other.operations.add(self.operations.take());
        other.rows.add(self.rows.take());
        other.bytes.add(self.bytes.take());
    }
}

impl Subsystem for Queries {
    type State = QueriesCss;

    fn name(&self) -> &str {
        "queries"
    }

    fn new_css(&self, parent: Option<&Css<QueriesCss>>) -> Result<QueriesCss, HookError> {
        self.ledger.made.add(1);
        Ok(QueriesCss {
            totals: Totals::default(),
            charged: Count::default(),
            place: if parent.is_some() { Place::Below } else { Place::Root },
            ledger: Arc::clone(&self.ledger),
        })
    }

    fn offline(&self, css: &Css<QueriesCss>) {
        fold(css);
    }

    fn released(&self, css: &Css<QueriesCss>) {
        self.ledger.released.add(1);
        fold(css);
    }
}

impl Drop for QueriesCss {
    fn drop(&mut self) {
        self.ledger.freed.add(1);
        if self.charged() != 0 {
            self.ledger.freed_charged.add(1);
        }
        if self.place == Place::Below && self.totals() != [0; 3] {
            self.ledger.freed_unfolded.add(1);
        }
    }
}

fn fold(css: &Css<QueriesCss>) {
    if let Some(parent) = css.parent() {
        css.totals.move_into(&parent.totals);
    }
}

fn with_ancestors(css: &Css<QueriesCss>) -> impl Iterator<Item = &Css<QueriesCss>> {
    iter::successors(Some(css), |css| css.parent())
}

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::{Cgroup, Controller, Registry, Removal};

    struct Tree {
        registry: Registry,
        queries: Controller<Queries>,
        root: Cgroup,
    }

    fn tree() -> Tree {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let queries = registry.register(Queries::default()).unwrap();
        queries.bind(&hierarchy).unwrap();
        Tree { registry, queries, root: hierarchy.root() }
    }

    impl Tree {
        fn root_totals(&self) -> [u64; 3] {
            self.queries.css(&self.root).unwrap().totals()
        }
    }

    #[test]
    fn totals_move_up_when_a_group_goes() {
        let tree = tree();
        let parent = tree.root.create_child("a").unwrap();
        let child = parent.create_child("b").unwrap();
        tree.queries.css(&child).unwrap().count(100);
        tree.queries.css(&parent).unwrap().count(1);

        child.remove(Removal::Detach).unwrap();
        assert_eq!(tree.queries.css(&parent).unwrap().totals(), [2, 0, 101]);
        assert_eq!(tree.root_totals(), [0; 3]);

        parent.remove(Removal::Detach).unwrap();
        assert_eq!(tree.root_totals(), [2, 0, 101]);
    }

    #[test]
    fn what_a_reference_counts_after_the_removal_reaches_the_root() {
        let tree = tree();
        let group = tree.root.create_child("a").unwrap();
        let late = Receipt::charge(tree.queries.css(&group).unwrap(), 5);
        group.remove(Removal::Detach).unwrap();
        let late = late.settle();
        assert_eq!((late.totals(), tree.root_totals()), ([0, 5, 0], [0; 3]));

        drop(late);
        tree.registry.wait_reclaimed().unwrap();
        assert_eq!(tree.root_totals(), [0, 5, 0]);
        let ledger = tree.queries.subsystem().ledger();
        assert_eq!((ledger.made.get(), ledger.freed.get()), (2, 1));
        assert_eq!(ledger.freed_unfolded.get(), 0);
    }

    #[test]
    fn a_receipt_charges_the_whole_path_until_it_is_settled() {
        let tree = tree();
        let group = tree.root.create_child("a").unwrap();
        let receipt = Receipt::charge(tree.queries.css(&group).unwrap(), 7);
        let root = tree.queries.css(&tree.root).unwrap();
        assert_eq!((receipt.css.charged(), root.charged()), (7, 7));

        group.remove(Removal::Detach).unwrap();
        assert_eq!(root.charged(), 7);
        let css = receipt.settle();
        assert_eq!((css.charged(), root.charged()), (0, 0));
    }

    #[test]
    fn a_css_freed_with_a_charge_is_noticed() {
        let tree = tree();
        let group = tree.root.create_child("a").unwrap();
        let receipt = Receipt::charge(tree.queries.css(&group).unwrap(), 7);
        group.remove(Removal::Detach).unwrap();
        drop(receipt);
        tree.registry.wait_reclaimed().unwrap();
        assert_eq!(tree.queries.subsystem().ledger().freed_charged.get(), 1);
    }
}
