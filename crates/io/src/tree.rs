//! Who is served next: limits, weights, reservations and depth of one device, as a pure data structure.
