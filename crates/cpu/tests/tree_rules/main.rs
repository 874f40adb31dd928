//! What the tree promises, on simulated time.

mod sim;
mod fairness;
mod quota;
mod gaming;
mod life;
mod data;
