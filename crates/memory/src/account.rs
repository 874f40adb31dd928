//! Where charges belong that outlive their group.
//!
//! What keeps a charge (a reservation) owns no css, and no node: it owns an account, which leads to the
//! node that answers for the charge. As a group goes offline, its account and those it had taken over are
//! re-pointed to the parent's node. Usage is counted at every level, so nothing moves: what the parent
//! answers for is in its counter already. What is left of a removed group is then one account for as long
//! as a charge of its own lives.
//!
//! Who looked the node up before it was re-pointed, and uncharges there after that, is right for every
//! level that lives on; the counter of a removed group says nothing any more.
//!
//! After Linux's `obj_cgroup` and its reparenting.

use arc_swap::{ArcSwap, Guard};

use crate::{
    node::Node,
    sync::{Arc, Mutex, Weak},
};

/// Leads to the node that answers for charges.
#[derive(Debug)]
pub(crate) struct Account {
    node: ArcSwap<Node>,
}

/// The accounts that lead to a node.
#[derive(Debug, Default)]
pub(crate) struct Accounts(Mutex<Vec<Weak<Account>>>);

impl Account {
    /// Makes an account that leads to `node`.
    pub(crate) fn of(node: &Arc<Node>) -> Arc<Self> {
        let account = Arc::new(Self { node: ArcSwap::new(Arc::clone(node)) });
        node.accounts.0.lock().push(Arc::downgrade(&account));
        account
    }

    /// Returns the node that answers now.
    pub(crate) fn node(&self) -> Guard<Arc<Node>> {
        self.node.load()
    }

    /// Names the group that the account was made for, whose node has `key`: by its path while it lives.
    pub(crate) fn path(&self, key: u64) -> String {
        let node = self.node();
        match node.path() {
            path if node.key == key => path,
            path => format!("a removed group below {path}"),
        }
    }
}

impl Accounts {
    /// Has all that lead here lead to `heir` from now on.
    pub(crate) fn hand_over(&self, heir: &Arc<Node>) {
        let mut leaving = std::mem::take(&mut *self.0.lock());
        leaving.retain(|account| match account.upgrade() {
            Some(account) => {
                account.node.store(Arc::clone(heir));
                true
            }
            None => false,
        });
        let mut adopted = heir.accounts.0.lock();
        adopted.retain(|account| account.strong_count() > 0);
        adopted.append(&mut leaving);
    }
}
