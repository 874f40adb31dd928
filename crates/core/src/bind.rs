//! Registering subsystems, and moving their root css between hierarchies.
//!
//! A registered controller always has a root css, and always a column: on the hidden default
//! hierarchy while it is inactive. Binding makes a new column with the same root css, and a css for every
//! group below; `rebind.rs` publishes it.

use crate::{
    cgroup::{Node, name},
    controller::{AnyController, Controller, Identity, Instance, Registered, sealed::Part},
    css::{AnyCss, State, cells::CssId},
    error::{BindError, CapacityError, RegisterError, UnregisterError},
    hierarchy::{Hier, Hierarchy},
    lifecycle::{self, BirthError},
    rebind::{self, MemberPolicy, Plan, Readers},
    registry::{
        Engine, Owner, Tree,
        engine::{Bound, Structure},
    },
    subsystem::Subsystem,
    sync::Arc,
    task::birth,
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
        column: Arc::new(Column::empty(registered.identity().mark, tree.default.index)),
        unfreed: 0,
        is_registered: true,
    };
    tree.controllers.insert(bound.clone());
    match bear_root(engine, &mut tree, &root, &bound) {
        Ok(id) => bound.column.set(ROOT, id),
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

/// Makes the root css, and has the controller agree to the tasks that there are; returns its id.
fn bear_root(
    engine: &Engine,
    tree: &mut Tree,
    root: &Arc<Node>,
    bound: &Bound,
) -> Result<Option<CssId>, BirthError> {
    let controllers = std::slice::from_ref(bound);
    let born = lifecycle::bear(engine, tree, root, controllers, engine.counting())?;
    let mut tasks: Vec<_> = engine.tasks.lock().iter().map(|(_, it)| Arc::clone(it)).collect();
    tasks.sort_by_key(|task| task.member.id);
    for (css, _) in &born {
        if let Err(veto) = birth::admit(engine, &tasks, (css, bound)) {
            lifecycle::drain(engine, &born);
            lifecycle::bury(engine, &born);
            return Err(BirthError::Vetoed(veto));
        }
    }
    Ok(born.first().map(|(css, _)| css.core().id))
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
        .map(|node| node.full_path())
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
    check_target(owner, &tree, identity, hierarchy)?;
    let bound = registered(&tree, identity)?;
    let plan = plan(engine, &mut tree, &bound, hierarchy.hier());
    finish(engine, tree, plan.map(|plan| vec![plan]))
}

pub(crate) fn unbind(owner: &Arc<Owner>, identity: &Identity) -> Result<(), BindError> {
    let engine = &owner.engine;
    let mut tree = engine.structure("unbind", || identity.name.clone())?;
    let bound = registered(&tree, identity)?;
    if Arc::ptr_eq(&bound.hierarchy, &tree.default) {
        return Err(BindError::Unbound { subsystem: identity.name.clone() });
    }
    let default = Arc::clone(&tree.default);
    let plan = plan(engine, &mut tree, &bound, &default);
    finish(engine, tree, plan.map(|plan| vec![plan]))
}

/// Makes `controllers` the set that is bound to `hierarchy`.
pub(crate) fn remount(
    hierarchy: &Hierarchy,
    controllers: &[&dyn AnyController],
) -> Result<(), BindError> {
    let (owner, hier) = (hierarchy.owner(), hierarchy.hier());
    let engine = &owner.engine;
    let mut tree = engine.structure("remount", || hierarchy.name())?;
    if hierarchy.is_destroyed() {
        return Err(BindError::Destroyed { hierarchy: hierarchy.name() });
    }
    let is_named = |bound: &Bound| {
        let key = bound.identity().key;
        controllers
            .iter()
            .any(|one| Arc::ptr_eq(one.part().owner, owner) && one.part().identity.key == key)
    };
    let mut changes: Vec<(Bound, Arc<Hier>)> = Vec::new();
    for bound in tree.bound_to(hier).iter().filter(|bound| !is_named(bound)) {
        changes.push((bound.clone(), Arc::clone(&tree.default)));
    }
    for controller in controllers {
        let Part { identity, .. } = controller.part();
        let is_here = tree.controller(identity).is_some_and(|it| Arc::ptr_eq(&it.hierarchy, hier));
        let is_known = changes.iter().any(|(it, _)| it.identity().key == identity.key);
        if !is_here || !Arc::ptr_eq(controller.part().owner, owner) {
            check_target(controller.part().owner, &tree, identity, hierarchy)?;
            if !is_known {
                changes.push((registered(&tree, identity)?, Arc::clone(hier)));
            }
        }
    }
    let (mut plans, mut made) = (Vec::with_capacity(changes.len()), Ok(()));
    for (bound, target) in &changes {
        match plan(engine, &mut tree, bound, target) {
            Ok(plan) => plans.push(plan),
            Err(error) => {
                rebind::give_up(engine, &mut plans);
                made = Err(error);
                break;
            }
        }
    }
    // Nothing of the tree's outlives the lock: a controller can be gone when it is let go.
    drop(changes);
    finish(engine, tree, made.map(|()| plans))
}

/// Checks that a controller can be bound to `hierarchy`.
fn check_target(
    owner: &Arc<Owner>,
    tree: &Tree,
    identity: &Identity,
    hierarchy: &Hierarchy,
) -> Result<(), BindError> {
    let subsystem = || identity.name.clone();
    if !Arc::ptr_eq(owner, hierarchy.owner()) {
        return Err(BindError::Foreign { subsystem: subsystem(), hierarchy: hierarchy.name() });
    }
    let bound = registered(tree, identity)?;
    if hierarchy.is_destroyed() {
        return Err(BindError::Destroyed { hierarchy: hierarchy.name() });
    }
    if !Arc::ptr_eq(&bound.hierarchy, &tree.default) {
        let hierarchy = bound.hierarchy.name().to_owned();
        return Err(BindError::Bound { subsystem: subsystem(), hierarchy });
    }
    Ok(())
}

fn plan(
    engine: &Arc<Engine>,
    tree: &mut Tree,
    bound: &Bound,
    target: &Arc<Hier>,
) -> Result<Plan, BindError> {
    Plan::bind(engine, tree, bound, target).map_err(|error| match error {
        BirthError::Capacity(source) => {
            let (subsystem, hierarchy) = (bound.identity().name.clone(), target.name().to_owned());
            BindError::Capacity { subsystem, hierarchy, source }
        }
        BirthError::Vetoed(veto) => BindError::Vetoed(veto),
    })
}

/// Carries plans out, if they could be made, and lets the structural lock go.
fn finish(
    engine: &Arc<Engine>,
    mut tree: Structure<'_>,
    plans: Result<Vec<Plan>, BindError>,
) -> Result<(), BindError> {
    let (members, readers) = (MemberPolicy::Move, Readers::LeftAlone);
    let done =
        plans.and_then(|plans| Ok(rebind::carry_out(engine, &mut tree, plans, members, readers)?));
    drop(tree);
    // On a refusal css may have gone offline that came to nothing.
    done.inspect_err(|_| engine.wake())?.finish(engine);
    Ok(())
}

/// Has every controller of a hierarchy without groups go inactive.
pub(crate) fn unbind_all(engine: &Engine, tree: &mut Tree, hier: &Arc<Hier>) {
    let default = Arc::clone(&tree.default);
    let bound = tree.bound_to(hier);
    let plans = bound.iter().filter_map(|bound| Plan::bind(engine, tree, bound, &default).ok());
    let plans = plans.collect();
    // Without groups below the root no css is made, and no member moves.
    let done = rebind::carry_out(engine, tree, plans, MemberPolicy::Refuse, Readers::LeftAlone);
    debug_assert!(done.is_ok(), "nothing stands in the way");
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
    let unregistered = || BindError::Unregistered { subsystem: identity.name.clone() };
    tree.controller(identity).ok_or_else(unregistered)
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
