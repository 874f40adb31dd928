//! Errors repeat no more than the beginning of what they were given.

use std::error::Error;

use fief_core::{Limit, Registry, Threshold};

#[test]
fn no_error_repeats_a_megabyte() {
    let long = "x".repeat(1 << 20);
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let root = hierarchy.root();
    let path = format!("/{long}");
    let words = format!("some {} 2000000", "0".repeat(1 << 20));
    let errors: [(&str, Option<Box<dyn Error>>); 9] = [
        ("create_hierarchy", registry.create_hierarchy(&long).err().map(Into::into)),
        ("create_task", registry.create_task(&long).err().map(Into::into)),
        ("create_child", root.create_child(&long).err().map(Into::into)),
        ("lookup, malformed", hierarchy.lookup(&long).err().map(Into::into)),
        ("lookup, not found", hierarchy.lookup(&path).err().map(Into::into)),
        ("set_subtree_control", root.set_subtree_control(&[&long], &[]).err().map(Into::into)),
        ("a limit", long.parse::<Limit>().err().map(Into::into)),
        ("a threshold", long.parse::<Threshold>().err().map(Into::into)),
        ("a threshold that breaks a rule", words.parse::<Threshold>().err().map(Into::into)),
    ];
    for (call, error) in errors {
        let text = error.map(|error| error.to_string());
        let Some(text) = text else { panic!("{call} took it") };
        assert!(text.len() <= 300, "{call}: {} bytes", text.len());
        let quotes = call == "create_child" || text.contains(" and 10485");
        assert!(quotes, "{call} does not say how much more there is: {text}");
    }
}
