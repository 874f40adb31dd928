//! A future that runs in a group, and its output to come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use fief_cpu::{JoinError, JoinHandle};

use crate::error::RunError;

/// The output to come of a future that [runs](crate::Group::run) in a group. Dropping it aborts the future.
#[must_use = "dropping it aborts the future"]
pub struct Run<T> {
    cgroup: String,
    /// `None` once the output was had.
    job: Option<Result<JoinHandle<T>, RunError>>,
}

impl<T> Run<T> {
    pub(crate) fn new(cgroup: String, job: Result<JoinHandle<T>, RunError>) -> Self {
        Self { cgroup, job: Some(job) }
    }

    /// Waits for the output, blocking the thread: [`JoinHandle::join`]. Not for code that is a future itself.
    ///
    /// # Errors
    ///
    /// As the output of the future that it is.
    ///
    /// # Panics
    ///
    /// If it was polled before, and was ready.
    pub fn join(mut self) -> Result<T, RunError> {
        #[expect(clippy::expect_used, reason = "documented, as everywhere")]
        let job = self.job.take().expect("a run was joined after its output was had")?;
        job.join().map_err(|error| self.error(error))
    }

    fn error(&self, source: JoinError) -> RunError {
        let cgroup = self.cgroup.clone();
        if source.is_cancelled() {
            RunError::Cancelled { cgroup }
        } else {
            RunError::Panicked { cgroup, source }
        }
    }
}

impl<T> Unpin for Run<T> {}

impl<T> Future for Run<T> {
    type Output = Result<T, RunError>;

    /// Returns the output, once.
    ///
    /// # Panics
    ///
    /// If it was ready before.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(Ok(job)) = &mut self.job {
            let output = std::task::ready!(Pin::new(job).poll(context));
            self.job = None;
            return Poll::Ready(output.map_err(|error| self.error(error)));
        }
        match self.job.take() {
            Some(Err(error)) => Poll::Ready(Err(error)),
            _ => panic!("a run was polled after its output was had"),
        }
    }
}

impl<T> Drop for Run<T> {
    fn drop(&mut self) {
        if let Some(Ok(job)) = &self.job {
            job.abort();
        }
    }
}

impl<T> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("cgroup", &self.cgroup).field("job", &self.job).finish()
    }
}
