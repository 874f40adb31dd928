//! The subsystem: how groups get their I/O, and how streams follow their tasks.

use std::fmt;

use fief_core::{Clock, ControlFile, Css, CssRef, HookError, Migration, Subsystem};

use crate::{
    css::IoCss, files, shared::Shared, stat::ProcessStats, sync::Arc, ticker::Ticking, time::Time,
};

/// The I/O controller: register it, bind the controller to a hierarchy, and make [devices](crate::Device).
///
/// Clones are the same controller, which serves one registry.
#[derive(Clone)]
#[doc(alias = "io_cgrp_subsys")]
pub struct Io {
    shared: Arc<Shared>,
}

/// How an I/O controller is to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct IoBuilder {
    time: Time,
}

impl Io {
    /// Makes the subsystem, with the settings of [`Io::builder`].
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns the settings of a new controller.
    pub fn builder() -> IoBuilder {
        IoBuilder { time: Time::machine() }
    }

    /// Lets go on who can by the controller's [clock](IoBuilder::clock), which no thread of its own can wait for. By the
    /// machine's clock it is done without.
    pub fn tick(&self) {
        self.shared.tick();
    }

    /// Returns what the process had the machine's devices do, where the kernel tells; the last line of the root's
    /// `io.stat`.
    ///
    /// Beside what groups asked for, it says how much of it the page cache took, and how much went past the
    /// controller.
    ///
    /// # Concurrency
    ///
    /// Reads `/proc/self/io`.
    #[must_use]
    pub fn process_stats(&self) -> Option<ProcessStats> {
        ProcessStats::read()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Default for Io {
    fn default() -> Self {
        Self::new()
    }
}

impl IoBuilder {
    /// Sets the clock, for tests: limits are of its time. Default: the machine's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { time: Time::of(clock) }
    }

    /// Makes the subsystem.
    #[must_use]
    pub fn build(self) -> Io {
        Io { shared: Shared::new(self.time) }
    }
}

impl Subsystem for Io {
    type State = IoCss;

    fn name(&self) -> &'static str {
        "io"
    }

    fn new_css(&self, _parent: Option<&Css<IoCss>>) -> Result<IoCss, HookError> {
        Ok(IoCss::new(&self.shared))
    }

    fn online(&self, css: &Css<IoCss>) -> Result<(), HookError> {
        let own = css.try_get().ok_or("a css that comes online is released")?;
        css.own.get_or_init(|| CssRef::downgrade(&own));
        Ok(())
    }

    fn offline(&self, css: &Css<IoCss>) {
        css.retire();
    }

    fn files(&self) -> &[ControlFile] {
        files::FILES
    }

    fn read_file(&self, css: &Css<IoCss>, file: &str) -> Result<String, HookError> {
        files::read(css, file)
    }

    fn write_file(&self, css: &Css<IoCss>, file: &str, input: &str) -> Result<(), HookError> {
        files::write(css, file, input)
    }

    fn attach(&self, migration: &Migration<'_, IoCss>) {
        for stream in self.shared.followers(migration.task.id) {
            if let Some(css) = migration.target.try_get() {
                stream.follow(css);
            }
        }
    }

    fn post_attach(&self, migration: &Migration<'_, IoCss>) {
        // Now that nobody's lock is held: who waits may go on where it is now.
        for stream in self.shared.followers(migration.task.id) {
            self.shared.call(stream.device.sched.pump_now());
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}
