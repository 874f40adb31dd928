//! References, by name.

use super::{CssId, Model, Outcome, Stage};
use crate::names::fresh;

impl Model {
    pub(super) fn get(&mut self, path: &str, subsystem: &str, name: Option<&str>) -> Outcome {
        let group = self.lookup(path)?;
        let index = self.known(subsystem)?;
        let css = self.shared_css(group, index).ok_or("NoCss")?;
        self.hold(css, name)
    }

    pub(super) fn root(&mut self, subsystem: &str, name: Option<&str>) -> Outcome {
        let index = self.known(subsystem)?;
        self.hold(self.subsystems[index].root, name)
    }

    pub(super) fn clone_reference(&mut self, reference: &str, name: Option<&str>) -> Outcome {
        let css = self.held(reference)?;
        self.hold(css, name)
    }

    pub(super) fn put(&mut self, name: &str) -> Outcome {
        let css = self.references.remove(name).ok_or("UnknownReference")?;
        self.note_unheld(css);
        Ok(String::new())
    }

    pub(super) fn weak(&mut self, reference: &str, name: Option<&str>) -> Outcome {
        let css = self.held(reference)?;
        let name = fresh(name, 'w', |name| self.weaks.contains_key(name)).map_err(|_| "Taken")?;
        self.weaks.insert(name, css);
        Ok(String::new())
    }

    /// Works until the last reference is put, whenever the css is released after that.
    pub(super) fn upgrade(&mut self, weak: &str, name: Option<&str>) -> Outcome {
        let css = *self.weaks.get(weak).ok_or("UnknownReference")?;
        if self.css[css].stage != Stage::Online && !self.is_held(css) {
            return Err("Gone".to_owned());
        }
        self.hold(css, name)
    }

    pub(super) fn held(&self, reference: &str) -> Result<CssId, &'static str> {
        self.references.get(reference).copied().ok_or("UnknownReference")
    }

    /// A reference whose name is taken is taken all the same, and put at once.
    fn hold(&mut self, css: CssId, name: Option<&str>) -> Outcome {
        self.css[css].busy |= self.is_armed_css(css);
        let Ok(name) = fresh(name, 'r', |name| self.references.contains_key(name)) else {
            self.note_unheld(css);
            return Err("Taken".to_owned());
        };
        self.references.insert(name, css);
        Ok(String::new())
    }
}
