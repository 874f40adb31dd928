//! The asymmetric fence: free for the many, one system call for the few.

/// Orders all threads of the process against the caller.
#[doc(hidden)]
pub fn heavy() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
