//! rayon: a pool for closures, without groups.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use benches::system::processors;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::cpu::{
    load::Job,
    system::{Closure, Plan, Running, System, Uses},
};

/// rayon 1.12.
#[derive(Debug)]
pub(super) struct Rayon;

#[derive(Debug)]
struct Pool(Mutex<Option<Arc<ThreadPool>>>);

impl System for Rayon {
    fn name(&self) -> &'static str {
        "rayon"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        (plan.uses != Uses::Closures).then(|| "closures only".to_owned())
    }

    fn start(&self, _plan: &Plan) -> Result<Arc<dyn Running>> {
        let pool = ThreadPoolBuilder::new().num_threads(processors()).build()?;
        Ok(Arc::new(Pool(Mutex::new(Some(Arc::new(pool))))))
    }
}

impl Running for Pool {
    fn spawn(&self, _group: usize, _job: Job) -> Result<()> {
        bail!("closures only");
    }

    fn spawn_fn(&self, _group: usize, closure: Closure) -> Result<()> {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pool.context("stopped")?.spawn(closure);
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}
