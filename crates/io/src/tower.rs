//! Services whose requests are charged to a group: a layer for tower.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::AcquireError,
    op::Op,
    owned::AcquireOwned,
    paid::{self, Cover},
    permit::OwnedPermit,
    stream::Stream,
};

/// Has requests wait for their turn, and charges them to a group.
///
/// What a request is, is told by a function of it. It is charged when the response is first polled for: before the inner
/// service is asked whether it is ready, so that who waits for a limit keeps none of its places. The permit is
/// kept until the response is there. A request that is given up before it was admitted is not charged; one that was
/// admitted is, whatever becomes of it.
///
/// Wrappers of the same device further in charge nothing for the request: it is [paid](crate::Permit::cover). Nor does
/// this layer, if somebody further up has paid.
///
/// # Examples
///
/// ```
/// use fief_io::{IoLayer, Op, Stream};
///
/// fn layer(stream: &Stream) -> IoLayer<fn(&Vec<u8>) -> Op> {
///     IoLayer::new(stream, |body| Op::write(body.len() as u64))
/// }
/// ```
#[derive(Clone)]
pub struct IoLayer<C> {
    stream: Stream,
    cost: C,
}

/// A service whose requests are charged to a group; from an [`IoLayer`]. Clones charge the same.
#[derive(Clone)]
pub struct Limit<S, C> {
    inner: S,
    stream: Stream,
    cost: C,
}

/// The response of a [`Limit`]: first the wait, then the inner service's response.
#[must_use = "futures do nothing unless polled"]
pub struct LimitFuture<S: Service<R>, R> {
    stream: Stream,
    permit: Option<OwnedPermit>,
    stage: Stage<S, R>,
}

enum Stage<S: Service<R>, R> {
    New {
        op: Op,
        service: S,
        request: R,
    },
    Waits {
        acquire: AcquireOwned,
        service: S,
        request: R,
    },
    /// The inner service has to be ready.
    Admitted {
        service: S,
        request: R,
    },
    Responds(Pin<Box<S::Future>>),
    Done,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "it was admitted, or not")]
pub enum LimitError<E> {
    /// The request was not admitted.
    #[error(transparent)]
    Refused(#[from] AcquireError),
    /// The inner service failed.
    #[error("{0}")]
    Inner(#[source] E),
}

impl<C> IoLayer<C> {
    /// Makes a layer that charges what `cost` says of each request to `stream`.
    pub fn new(stream: &Stream, cost: C) -> Self {
        Self { stream: stream.clone(), cost }
    }
}

impl<S, C: Clone> Layer<S> for IoLayer<C> {
    type Service = Limit<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit { inner, stream: self.stream.clone(), cost: self.cost.clone() }
    }
}

impl<S, C> Limit<S, C> {
    /// Returns the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service; what it is asked so is not charged.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, C> Service<R> for Limit<S, C>
where
    S: Service<R> + Clone,
    C: Fn(&R) -> Op,
{
    type Response = S::Response;
    type Error = LimitError<S::Error>;
    type Future = LimitFuture<S, R>;

    /// Always ready: what a request costs is known when it is there.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (op, service) = ((self.cost)(&request), self.inner.clone());
        let stage = Stage::New { op, service, request };
        LimitFuture { stream: self.stream.clone(), permit: None, stage }
    }
}

impl<S: Service<R>, R> LimitFuture<S, R> {
    /// Goes one stage on.
    fn advance(&mut self, cx: &mut Context<'_>) -> Step<S, R> {
        match mem::replace(&mut self.stage, Stage::Done) {
            Stage::New { op, service, request } => {
                self.stage = if paid::is_paid(&self.stream) {
                    Stage::Admitted { service, request }
                } else {
                    let acquire = self.stream.acquire_owned(op);
                    Stage::Waits { acquire, service, request }
                };
            }
            Stage::Waits { mut acquire, service, request } => {
                let Poll::Ready(permit) = Pin::new(&mut acquire).poll(cx) else {
                    self.stage = Stage::Waits { acquire, service, request };
                    return Poll::Pending;
                };
                self.permit = Some(permit?);
                self.stage = Stage::Admitted { service, request };
            }
            Stage::Admitted { mut service, request } => {
                let cover = self.cover();
                let is_ready = service.poll_ready(cx).map_err(LimitError::Inner)?.is_ready();
                if !is_ready {
                    drop(cover);
                    self.stage = Stage::Admitted { service, request };
                    return Poll::Pending;
                }
                let response = Box::pin(service.call(request));
                drop(cover);
                self.stage = Stage::Responds(response);
            }
            Stage::Responds(mut response) => {
                let cover = self.cover();
                let polled = response.as_mut().poll(cx);
                drop(cover);
                let Poll::Ready(result) = polled else {
                    self.stage = Stage::Responds(response);
                    return Poll::Pending;
                };
                drop(response);
                self.permit = None;
                return Poll::Ready(result.map(Some).map_err(LimitError::Inner));
            }
            Stage::Done => return Poll::Pending, // polled after its end
        }
        Poll::Ready(Ok(None))
    }

    fn cover(&self) -> Cover {
        Cover::of(&self.stream)
    }
}

type AnError<S, R> = LimitError<<S as Service<R>>::Error>;

/// What a stage comes to: the response, if it was the last.
type Step<S, R> = Poll<Result<Option<<S as Service<R>>::Response>, AnError<S, R>>>;

impl<S: Service<R>, R> Future for LimitFuture<S, R> {
    type Output = Result<S::Response, AnError<S, R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let advanced = ready!(this.advance(cx));
            if let Some(result) = advanced.transpose() {
                this.permit = None; // also where it failed
                return Poll::Ready(result);
            }
        }
    }
}

/// Nothing in it is pinned in its place: the inner response is in a box.
impl<S: Service<R>, R> Unpin for LimitFuture<S, R> {}

impl<C> fmt::Debug for IoLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoLayer").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Limit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("inner", &self.inner)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl<S: Service<R>, R> fmt::Debug for LimitFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::New { .. } => "new",
            Stage::Waits { .. } => "waits",
            Stage::Admitted { .. } => "admitted",
            Stage::Responds(_) => "responds",
            Stage::Done => "done",
        };
        f.debug_struct("LimitFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
