//! Waiting behind one who was passed too often, and lets nobody pass.

use self::scene::{BARRIERS, Scene, Waiter};

#[cfg(test)]
#[expect(dead_code, reason = "what is about victims")]
#[path = "support/scene.rs"]
mod scene;

/// Trap: while the front, passed too often, is called and has not come, those behind are not called in vain
/// again and again.
#[test]
fn nobody_is_called_behind_one_who_lets_nobody_pass() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 100);
        css.try_charge(95).unwrap();
        let mut large = Waiter::new(css.charge(10));
        for _ in 0..16 {
            css.try_charge(1).unwrap();
            css.uncharge(1);
        }
        css.try_charge(1).unwrap_err();
        let mut small = Waiter::new(css.charge(1));
        scene.pass(20); // calls the front, which does not come
        let mut wakes = 0;
        while small.is_woken() && wakes < 100 {
            wakes += 1;
            small.poll();
        }
        assert!(wakes <= 1, "woken {wakes} times for nothing");
        css.uncharge(5);
        assert!(large.has_it());
        css.uncharge(10);
        assert!(small.has_it());
        css.uncharge(91);
        assert_eq!(css.current(), 0);
    }
}
