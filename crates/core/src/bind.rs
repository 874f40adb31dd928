//! Registering subsystems, and moving their root css between hierarchies.
//!
//! A registered controller always has a root css, and always a column: on the hidden default
//! hierarchy while it is inactive. Binding makes a new column with the same root css and publishes
//! it by one swap of the world; the css keeps its id, its value and its references.

use crate::{
    cgroup::{name, remove},
    controller::{Controller, Identity, Instance, Registered, Sight},
    css::{AnyCss, State},
    error::{BindError, CapacityError, RegisterError, UnregisterError},
    hierarchy::{Hier, Hierarchy},
    lifecycle::{self, BirthError},
    registry::{Engine, Owner, Tree, engine::Bound},
    subsystem::Subsystem,
    sync::Arc,
    world::column::{Column, ROOT},
};

/// Controllers of a registry, unregistered ones included whose css are not all freed.
pub(crate) const MAX_SUBSYSTEMS: usize = 64;
/// Groups that an error about colliding names lists.
const LISTED: usize = 16;

pub(crate) fn register<S: Subsystem>(
    owner: &Arc<Owner>,
    subsystem: S,
) -> Result<Controller<S>, RegisterError> {
    let engine = &owner.engine;
    let name = crate::controller::caught(|| subsystem.name().to_owned()).unwrap_or_default();
    let mut tree = engine.structure("register", || name.clone())?;
    if tree.controllers.len() == MAX_SUBSYSTEMS {
        // Those that are unregistered count until their css are freed: perhaps they can be.
        drop(tree);
        engine.pass();
        tree = engine.structure("register", || name.clone())?;
    }
    check_name(&tree, &name)?;

    let key = tree.next_id("subsystem");
    let index = tree.controllers.vacant_key();
    let root = tree.default.root().expect("the default hierarchy lives as long as the registry");
    let identity = (key, u8::try_from(index).expect("there are few subsystems"), name);
    let registered = Arc::new(Registered::new(subsystem, identity.0, identity.1, identity.2));
    let bound = Bound {
        instance: Arc::clone(&registered) as _,
        hierarchy: Arc::clone(&tree.default),
        column: Arc::new(Column::empty(key, tree.default.index)),
        unfreed: 0,
        is_registered: true,
    };
    tree.controllers.insert(bound.clone());
    match lifecycle::bear(engine, &mut tree, &root, std::slice::from_ref(&bound), engine.counting())
    {
        Ok(born) => bound.column.set(ROOT, born.first().map(|(css, _)| css.core().id)),
        Err(error) => {
            tree.controllers[index].is_registered = false;
            let unused = take_if_unused(&mut tree, index);
            drop(tree);
            drop(unused);
            engine.wake();
            return Err(refusal(&registered.identity().name, error));
        }
    }
    let world = tree.world.with_column(index, Some(Arc::clone(&bound.column)));
    tree.rebound();
    engine.publish(&mut tree, world);
    engine.counts.controllers_registered.add(1);
    crate::trace::event!("register", subsystem = %registered.identity().name, "registered");
    drop(tree);
    Ok(Controller::new(Arc::clone(owner), registered))
}

fn refusal(name: &str, error: BirthError) -> RegisterError {
    match error {
        BirthError::Capacity(source) => RegisterError::Capacity { name: name.to_owned(), source },
        BirthError::Vetoed(veto) => RegisterError::Vetoed(veto),
    }
}

fn check_name(tree: &Tree, name: &str) -> Result<(), RegisterError> {
    let owned = || name.to_owned();
    if !name::is_subsystem(name) {
        return Err(RegisterError::Name { name: owned() });
    }
    if tree.subsystem_names().any(|taken| taken == name) {
        return Err(RegisterError::Exists { name: owned() });
    }
    if tree.controllers.len() == MAX_SUBSYSTEMS {
        let source = CapacityError { what: "subsystems", limit: MAX_SUBSYSTEMS };
        return Err(RegisterError::Capacity { name: owned(), source });
    }
    let cgroups = hidden_by(tree, name);
    if !cgroups.is_empty() {
        return Err(RegisterError::Collides { name: owned(), cgroups });
    }
    Ok(())
}

/// Returns the first groups whose names a subsystem's control files would hide.
fn hidden_by(tree: &Tree, subsystem: &str) -> Vec<String> {
    tree.hierarchies
        .iter()
        .flat_map(|(_, hier)| hier.nodes())
        .filter(|node| node.is_online() && name::has_prefix(&node.name(), subsystem))
        .map(|node| format!("{}:{}", node.hierarchy.name(), node.path()))
        .take(LISTED)
        .collect()
}

pub(crate) fn bind(
    owner: &Arc<Owner>,
    identity: &Identity,
    hierarchy: &Hierarchy,
) -> Result<(), BindError> {
    let engine = &owner.engine;
    let mut tree = engine.structure("bind", || identity.name.clone())?;
    let bound = registered(&tree, identity)?;
    let subsystem = || identity.name.clone();
    if !Arc::ptr_eq(owner, hierarchy.owner()) {
        return Err(BindError::Foreign { subsystem: subsystem(), hierarchy: hierarchy.name() });
    }
    if hierarchy.is_destroyed() {
        return Err(BindError::Destroyed { hierarchy: hierarchy.name() });
    }
    if !Arc::ptr_eq(&bound.hierarchy, &tree.default) {
        let hierarchy = bound.hierarchy.name().to_owned();
        return Err(BindError::Bound { subsystem: subsystem(), hierarchy });
    }
    check_empty(identity, hierarchy.hier())?;
    move_root(engine, &mut tree, &bound, hierarchy.hier());
    Ok(())
}

pub(crate) fn unbind(owner: &Arc<Owner>, identity: &Identity) -> Result<(), BindError> {
    let engine = &owner.engine;
    let mut tree = engine.structure("unbind", || identity.name.clone())?;
    let bound = registered(&tree, identity)?;
    if Arc::ptr_eq(&bound.hierarchy, &tree.default) {
        return Err(BindError::Unbound { subsystem: identity.name.clone() });
    }
    check_empty(identity, &bound.hierarchy)?;
    let default = Arc::clone(&tree.default);
    move_root(engine, &mut tree, &bound, &default);
    Ok(())
}

pub(crate) fn unregister(owner: &Arc<Owner>, identity: &Identity) -> Result<(), UnregisterError> {
    let engine = &owner.engine;
    let mut tree = engine.structure("unregister", || identity.name.clone())?;
    let subsystem = identity.name.clone();
    let Ok(bound) = registered(&tree, identity) else {
        return Err(UnregisterError::Unregistered { subsystem });
    };
    if !Arc::ptr_eq(&bound.hierarchy, &tree.default) {
        let hierarchy = bound.hierarchy.name().to_owned();
        return Err(UnregisterError::Bound { subsystem, hierarchy });
    }
    retire_controller(engine, &mut tree, &bound);
    drop(tree);
    engine.wake();
    Ok(())
}

/// Returns the controller as it stands, unless it is unregistered.
fn registered(tree: &Tree, identity: &Identity) -> Result<Bound, BindError> {
    let bound = tree.controllers.get(identity.index.into());
    bound
        .filter(|bound| bound.is_registered && bound.identity().key == identity.key)
        .cloned()
        .ok_or_else(|| BindError::Unregistered { subsystem: identity.name.clone() })
}

fn check_empty(identity: &Identity, hier: &Hier) -> Result<(), BindError> {
    let children = hier.root().map_or(0, |root| root.child_count());
    if children == 0 {
        return Ok(());
    }
    let (subsystem, hierarchy) = (identity.name.clone(), hier.name().to_owned());
    Err(BindError::Populated { subsystem, hierarchy, children })
}

/// Makes the root of `target` the group that shows the root css, in one publication.
pub(crate) fn move_root(engine: &Engine, tree: &mut Tree, bound: &Bound, target: &Arc<Hier>) {
    let root = target.root().expect("checked by the caller, under the structural lock");
    let css = bound.css(tree, ROOT).cloned().expect("a registered controller has a root css");
    let index = usize::from(bound.identity().index);
    let column = Arc::new(Column::new(bound.identity().key, target.index, css.core().id));
    let world = tree.world.with_column(index, Some(Arc::clone(&column)));
    let entry = &mut tree.controllers[index];
    entry.column = column;
    entry.hierarchy = Arc::clone(target);
    let Identity { key, ref name, .. } = *bound.identity();
    bound.hierarchy.controllers.lock().remove(&key);
    target.controllers.lock().insert(key, name.clone());
    tree.rebound();
    remove::move_css(&css.core().group(), &root);
    css.core().move_to(root);
    engine.publish(tree, world);
    crate::trace::event!("bind", subsystem = %bound.identity().name, hierarchy = target.name(), "moved");
    engine.tolerate("bound", bound.instance.see(Sight::Bound, &*css));
}

/// Takes a controller out: nobody resolves its css any more, and its root css is buried.
pub(crate) fn retire_controller(engine: &Engine, tree: &mut Tree, bound: &Bound) {
    let index = usize::from(bound.identity().index);
    let world = tree.world.with_column(index, None);
    engine.publish(tree, world);
    tree.controllers[index].is_registered = false;
    bound.hierarchy.controllers.lock().remove(&bound.identity().key);
    tree.rebound();
    let root = bound.css(tree, ROOT).cloned();
    engine.counts.controllers_unregistered.add(1);
    crate::trace::event!("unregister", subsystem = %bound.identity().name, "unregistered");
    let roots: Vec<_> = root.into_iter().map(|css| (css, bound)).collect();
    lifecycle::drain(engine, &roots);
    lifecycle::bury(engine, &roots);
}

/// Counts one css of a controller freed; returns the controller if nothing uses it any more.
pub(crate) fn one_css_freed(tree: &mut Tree, css: &dyn AnyCss) -> Option<Bound> {
    debug_assert_eq!(css.core().state(), State::Released, "only released css are freed");
    let index = css.core().controller.into();
    tree.controllers[index].unfreed -= 1;
    take_if_unused(tree, index)
}

/// Gives the controller's index back once nothing uses it; the caller drops it under no lock.
fn take_if_unused(tree: &mut Tree, index: usize) -> Option<Bound> {
    let bound = &tree.controllers[index];
    let is_unused = !bound.is_registered && bound.unfreed == 0;
    is_unused.then(|| tree.controllers.remove(index))
}
