//! `Charge`: what is charged, as a value that gives it back.

use std::{fmt, mem};

use crate::{counter::resource::Resource, css::handle::CssRef, error::ChargeError};

/// An amount that is charged to a css and all above it, given back when this is dropped.
///
/// It owns a reference to the css, so the css is not freed, nor its group removed strictly, while
/// something is charged. Rebinding the controller or removing the group changes nothing about it.
///
/// # Concurrency
///
/// Dropping is wait-free: one atomic subtraction a level, and the drop of a [`CssRef`].
#[must_use = "what is charged is given back when this is dropped"]
pub struct Charge<T> {
    resource: Resource<T>,
    css: CssRef<T>,
    amount: u64,
}

impl<T> Charge<T> {
    /// Returns the owner of what the caller has charged.
    #[inline]
    pub(crate) fn from_charged(resource: Resource<T>, css: CssRef<T>, amount: u64) -> Self {
        Self { resource, css, amount }
    }

    /// Returns how much is charged.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Returns what it is charged to.
    #[must_use]
    pub fn css(&self) -> &CssRef<T> {
        &self.css
    }

    /// Charges `more` in addition, if there is room.
    ///
    /// # Errors
    ///
    /// The level that has no room; the charge stays as it was.
    pub fn try_grow(&mut self, more: u64) -> Result<(), ChargeError> {
        self.resource.try_charge(&self.css, more)?;
        // Granted at every level, so the sum is below 2^63, unless a level was cut off there.
        self.amount = self.amount.saturating_add(more);
        Ok(())
    }

    /// Gives `less` back, or all if it is less than that; returns how much it was.
    pub fn shrink(&mut self, less: u64) -> u64 {
        let given_back = less.min(self.amount);
        self.amount -= given_back;
        self.resource.uncharge(&self.css, given_back);
        given_back
    }

    /// Lets go of it without giving anything back; returns the reference and the amount, which is
    /// then the caller's to give back by [`Resource::uncharge`].
    #[must_use]
    pub fn into_raw(mut self) -> (CssRef<T>, u64) {
        (CssRef::clone(&self.css), mem::take(&mut self.amount))
    }
}

impl<T> Drop for Charge<T> {
    #[inline]
    fn drop(&mut self) {
        if self.amount > 0 {
            self.resource.uncharge(&self.css, self.amount);
        }
    }
}

impl<T> fmt::Debug for Charge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("resource", &self.resource)
            .field("css", &self.css.id())
            .field("amount", &self.amount)
            .finish()
    }
}
