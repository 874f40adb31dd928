//! Events of what happens rarely, when the feature `tracing` is on.

use std::fmt::Display;

use crate::css::IoCss;

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

/// Tells of a setting; nothing without the feature.
pub(crate) fn set(file: &str, device: &str, value: &dyn Display, css: &IoCss) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "fief", operation = "set_limit", file, device, value = %value, cgroup = %css.kept_path());
    #[cfg(not(feature = "tracing"))]
    let _: (&str, &str, &dyn Display, &IoCss) = (file, device, value, css);
}
