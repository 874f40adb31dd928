//! Events of what happens rarely, when the feature `tracing` is on.

/// Emits an event under the target `fief`; nothing without the feature.
macro_rules! event {
    ($operation:expr, $($fields:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::debug!(target: "fief", operation = $operation, $($fields)*);
        #[cfg(not(feature = "tracing"))]
        let _: &str = $operation;
    }};
}

pub(crate) use event;
