//! The stages of a css: how it comes online, and how it is buried.
//!
//! Everything here runs under the structural lock; `docs/lifecycle.md` has the picture. A css is
//! freed by the reclaimer (`reclaim.rs`).

use crate::{
    cgroup::{self, Node, arm},
    controller::Sight,
    css::{
        AnyCss, Seed, State,
        cells::CssId,
        header::{Counting, Header},
        switch, thread,
    },
    error::{CapacityError, HookError, Veto},
    reclaim::Garbage,
    registry::{Engine, Tree, engine::Bound},
    sync::{Arc, Ordering},
};

/// Returns the css that `node` has of its own, of the controllers `bound` to its hierarchy.
pub(crate) fn csses<'b>(tree: &Tree, node: &Node, bound: &'b [Bound]) -> Vec<Owned<'b>> {
    let css = |bound: &'b Bound| Some((Arc::clone(bound.own_css(tree, node)?), bound));
    bound.iter().filter_map(css).collect()
}

/// Why the css of a group could not be made.
#[derive(Debug)]
pub(crate) enum BirthError {
    Capacity(CapacityError),
    Vetoed(Veto),
}

/// A css and its controller.
pub(crate) type Owned<'b> = (Arc<dyn AnyCss>, &'b Bound);

/// Makes the css of `node` for each of `controllers` that its parent enables, and brings them online, all
/// or none.
///
/// Nobody can find them yet. What was made before something failed is buried.
pub(crate) fn bear<'b>(
    engine: &Engine,
    tree: &mut Tree,
    node: &Arc<Node>,
    controllers: &'b [Bound],
    counting: Counting,
) -> Result<Vec<Owned<'b>>, BirthError> {
    let is_enabled = |bound: &&'b Bound| {
        node.parent.as_ref().is_none_or(|parent| parent.enables(bound.identity().index))
    };
    let controllers: Vec<&'b Bound> = controllers.iter().filter(is_enabled).collect();
    bear_for(engine, tree, node, &controllers, counting)
}

/// As [`bear`], for each of `controllers`.
pub(crate) fn bear_for<'b>(
    engine: &Engine,
    tree: &mut Tree,
    node: &Arc<Node>,
    controllers: &[&'b Bound],
    counting: Counting,
) -> Result<Vec<Owned<'b>>, BirthError> {
    let ids = thread::domain().take_ids(controllers.len()).map_err(|_| {
        BirthError::Capacity(CapacityError {
            what: "css ids, or memory for them",
            limit: (1 << 24) - 1,
        })
    })?;
    let mut born: Vec<Owned<'b>> = Vec::with_capacity(controllers.len());
    let mut unused = ids.into_iter();
    for bound in controllers {
        let id = unused.next().expect("as many ids as controllers");
        match plant(engine, tree, node, bound, (id, counting)) {
            Ok(css) => born.push((css, bound)),
            Err(cause) => {
                thread::domain().give_back_id(id);
                unused.for_each(|id| thread::domain().give_back_id(id));
                return Err(fail(engine, node, &born, 0, ("new_css", bound, cause)));
            }
        }
    }
    for (index, (css, bound)) in born.iter().enumerate() {
        if let Err(cause) = bound.instance.online(&**css) {
            return Err(fail(engine, node, &born, index, ("online", bound, cause)));
        }
        engine.counts.css_online.add(1);
        crate::trace::event!("online", subsystem = %bound.identity().name, cgroup = %node.path(), "css");
    }
    Ok(born)
}

/// Makes one css, which is not online yet.
fn plant(
    engine: &Engine,
    tree: &mut Tree,
    node: &Arc<Node>,
    bound: &Bound,
    (id, counting): (CssId, Counting),
) -> Result<Arc<dyn AnyCss>, HookError> {
    let header = thread::domain().header(id).expect("an id that was taken has a header");
    let parent = node.parent.as_ref().and_then(|parent| bound.css(tree, parent.index)).cloned();
    let entry = tree.csses.vacant_key();
    let seed = Seed {
        id,
        header,
        arena: u32::try_from(entry).expect("there are fewer css than ids"),
        controller: bound.identity().index,
        group: Arc::clone(node),
        counting,
    };
    let css = bound.instance.new_css(seed, parent.clone())?;
    if let Some(parent) = parent {
        parent.core().add_child();
    }
    tree.csses.insert(Arc::clone(&css));
    tree.controllers[bound.identity().index.into()].unfreed += 1;
    // Ordering: Relaxed: written under the structural lock.
    node.unreleased.fetch_add(1, Ordering::Relaxed);
    engine.counts.css_created.add(1);
    Ok(css)
}

/// Buries what was born, of which the first `online` css had come online.
fn fail(
    engine: &Engine,
    node: &Node,
    born: &[Owned<'_>],
    online: usize,
    (hook, bound, cause): (&'static str, &Bound, HookError),
) -> BirthError {
    drain(engine, &born[..online]);
    bury(engine, &born[..online]);
    discard(engine, &born[online..]);
    BirthError::Vetoed(Veto {
        cgroup: node.path(),
        subsystem: bound.identity().name.clone(),
        hook,
        cause,
    })
}

/// Kills css that never came online: no hook sees them again.
fn discard(engine: &Engine, born: &[Owned<'_>]) {
    born.iter().for_each(|(css, _)| css.core().enter(State::Dying));
    kill(born);
    engine.counts.css_online.add(born.len());
    engine.counts.css_killed.add(born.len());
    born.iter().for_each(|(css, _)| css.core().put_base());
}

/// Has the controllers give back what they cache for css.
pub(crate) fn drain(engine: &Engine, csses: &[Owned<'_>]) {
    for (css, bound) in csses {
        engine.tolerate("drain", bound.instance.see(Sight::Drain, &**css));
    }
}

/// Takes css offline that are drained, children before parents: `docs/lifecycle.md` up to the stage
/// offline.
///
/// When it returns, no `try_get_online` that starts succeeds, the `offline` hooks have run, and the
/// css live on for the references that are out.
pub(crate) fn bury(engine: &Engine, csses: &[Owned<'_>]) {
    for (css, bound) in csses {
        css.core().enter(State::Dying);
        engine.tolerate("killed", bound.instance.see(Sight::Killed, &**css));
    }
    kill(csses);
    engine.counts.css_killed.add(csses.len());
    for (css, bound) in csses {
        engine.tolerate("offline", bound.instance.see(Sight::Offline, &**css));
        css.core().enter(State::Offline);
        crate::trace::event!("offline", subsystem = %bound.identity().name, cgroup = %css.core().group().path(), "css");
    }
    csses.iter().for_each(|(css, _)| css.core().put_base());
}

/// Makes the counts of `csses` exact; the base references keep them from zero.
fn kill(csses: &[Owned<'_>]) {
    let batch: Vec<_> = csses.iter().map(|(css, _)| css.core().counted()).collect();
    switch::kill(thread::domain(), &batch, |_| debug_assert!(false, "the base is counted"));
}

/// Looks at a css whose id was notified: it is to be released, or has no references any more, or had
/// none for a moment.
pub(crate) fn look_at(engine: &Engine, tree: &mut Tree, id: CssId) {
    let header = thread::domain().header(id).expect("an id that was notified has a header");
    if header.dequeue() {
        release(engine, tree, header);
    } else if let Some(css) = tree.css(id) {
        let css = Arc::clone(css);
        arm::collect(css.core());
    }
}

/// Handles a css whose last reference is gone: the last stage before the grace period.
fn release(engine: &Engine, tree: &mut Tree, header: &Header) {
    // Ordering: Relaxed: written under the structural lock.
    let css = tree.csses.remove(header.arena.load(Ordering::Relaxed) as usize);
    let core = css.core();
    let bound = &tree.controllers[usize::from(core.controller)];
    if core.state() == State::Offline {
        engine.tolerate("released", bound.instance.see(Sight::Released, &*css));
        crate::trace::event!("released", subsystem = %bound.identity().name, cgroup = %core.group().path(), "css");
    }
    core.enter(State::Released);
    header.retire_id();
    engine.counts.css_released.add(1);
    cgroup::remove::one_css_less(engine, &core.group());
    tree.retired.push(Garbage::Css(css));
}

/// Takes everything offline, children before parents.
pub(crate) fn close(engine: &Engine, tree: &mut Tree) {
    let hierarchies: Vec<_> = tree.hierarchies.iter().map(|(_, hier)| Arc::clone(hier)).collect();
    for hierarchy in &hierarchies {
        if let Some(root) = hierarchy.root() {
            cgroup::remove::all_below(engine, tree, &root);
        }
    }
    let roots: Vec<_> = tree.controllers.iter().map(|(_, bound)| bound.clone()).collect();
    for bound in roots.into_iter().filter(|bound| bound.is_registered) {
        crate::bind::retire_controller(engine, tree, &bound);
    }
    for hierarchy in &hierarchies {
        if let Some(root) = hierarchy.root() {
            cgroup::remove::root(engine, &root);
        }
        hierarchy.forget();
    }
    tree.default.forget();
}
