//! Registries that come and go beside each other: what one has to release is no other's.

use std::{
    error::Error,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use fief_core::{Css, HookError, Registry, Removal, Subsystem};

/// Each of its values keeps the channel open until it is dropped.
struct Open(Sender<()>);

impl Subsystem for Open {
    type State = Sender<()>;

    fn name(&self) -> &'static str {
        "open"
    }

    fn new_css(&self, _parent: Option<&Css<Sender<()>>>) -> Result<Sender<()>, HookError> {
        Ok(self.0.clone())
    }
}

/// A registry that lives shortly, and ends while its thread is at work.
fn live_and_die(open: Sender<()>) -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h")?;
    let open = registry.register(Open(open))?;
    open.bind(&hierarchy)?;
    for number in 0..4 {
        let group = hierarchy.root().create_child(&format!("g{number}"))?;
        let css = open.css(&group).ok_or("no css")?;
        group.remove(Removal::Detach)?;
        drop(css);
    }
    Ok(())
}

#[test]
fn registries_that_end_beside_each_other_take_nothing_of_each_other() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 500;
    let (open, is_open) = channel();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    live_and_die(open.clone()).expect("nothing is refused");
                }
            });
        }
    });
    drop(open);
    // The last are freed by their threads.
    let ended = is_open.recv_timeout(Duration::from_secs(30));
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "every value is dropped");
}
