//! Script language, reference model and stress harness for fief.
