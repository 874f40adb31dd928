//! An assembly listing (x86-64, AT&T syntax): its functions, and what one of them reaches.

use std::collections::{BTreeMap, BTreeSet};

/// A function off the fast path has one of these in its name. The last ones are not ours: what ends
/// in a panic, and what a thread runs once, when it first touches a variable of its own.
const OFF_PATH: [&str; 7] =
    ["cold", "slow", "settle", "panic", "_fail", "_Unwind_Resume", "thread_local11destructors"];

/// The functions of a listing by their symbols.
#[derive(Debug, Default)]
pub(super) struct Listing<'a> {
    bodies: BTreeMap<&'a str, Vec<&'a str>>,
    aliases: BTreeMap<&'a str, &'a str>,
}

/// What was found from one function on.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// How many functions were read.
    pub(super) functions: usize,
    /// The functions off the fast path that it calls.
    pub(super) leaves: BTreeSet<String>,
    /// What it must not have, each with its function.
    pub(super) refusals: Vec<String>,
}

impl<'a> Listing<'a> {
    /// Splits a listing into functions: from a symbol's label to the end of its frame or size.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut listing = Self::default();
        let mut current = None;
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
            let line = line.trim_end();
            let label = line.strip_suffix(':').filter(|label| !label.starts_with(['.', ' ', '\t']));
            let instruction = line.trim();
            if let Some(label) = label {
                current = Some(label);
                listing.bodies.insert(label, Vec::new());
            } else if let Some((alias, of)) = alias(instruction) {
                listing.aliases.insert(alias, of);
            } else if [".cfi_endproc", ".size"].iter().any(|end| instruction.starts_with(end)) {
                current = None;
            } else if let Some(body) = current.and_then(|label| listing.bodies.get_mut(label)) {
                let is_code = !instruction.is_empty() && !instruction.starts_with('.');
                body.extend(is_code.then_some(instruction));
            }
        }
        listing.bodies.retain(|_, body| !body.is_empty());
        listing
    }

    /// The symbols of the probes.
    pub(super) fn probes(&self) -> Vec<&'a str> {
        let symbols = self.bodies.keys().chain(self.aliases.keys());
        let is_probe = |symbol: &&str| symbol.contains("fast_path") && symbol.contains("probe_");
        symbols.copied().filter(is_probe).filter(|symbol| self.body(symbol).is_some()).collect()
    }

    fn body(&self, symbol: &str) -> Option<&[&'a str]> {
        let symbol = self.aliases.get(symbol).copied().unwrap_or(symbol);
        self.bodies.get(symbol).map(Vec::as_slice)
    }

    /// Reads a function and every function of this listing that it reaches on the fast path.
    pub(super) fn walk(&self, symbol: &str) -> Walk {
        let mut walk = Walk::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![symbol.to_owned()];
        while let Some(symbol) = open.pop() {
            let Some(body) = self.body(&symbol) else {
                walk.refusals.push(format!("a call leaves the fast path for {symbol}"));
                continue;
            };
            if !seen.insert(symbol.clone()) {
                continue;
            }
            walk.functions += 1;
            for instruction in body {
                let refusal = refusal(instruction).map(|why| format!("{why} in {symbol}"));
                walk.refusals.extend(refusal);
                let Some(target) = target(instruction) else { continue };
                if OFF_PATH.iter().any(|word| target.contains(word)) {
                    walk.leaves.insert(target.to_owned());
                } else {
                    open.push(target.to_owned());
                }
            }
        }
        walk
    }
}

/// Whether a mangled symbol is that of the function called `name`, and not of a longer name.
pub(super) fn is_named(symbol: &str, name: &str) -> bool {
    // Both manglings write the name's length before it.
    symbol.contains(&format!("{}{name}", name.len()))
}

/// The two names in `.set alias, symbol` or `alias = symbol`.
fn alias(line: &str) -> Option<(&str, &str)> {
    let pair = match line.strip_prefix(".set") {
        Some(names) => names.split_once(','),
        None => line.split_once(" = "),
    };
    pair.map(|(alias, of)| (alias.trim(), of.trim()))
}

/// Why an instruction has no place on the fast path, if it has none.
fn refusal(instruction: &str) -> Option<String> {
    let (name, operands) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
    let is_refused = name == "lock"
        || name == "mfence"
        || (name.starts_with("xchg") && has_memory(operands))
        || (is_jump(name) && target(instruction).is_none() && is_computed(operands));
    is_refused.then(|| format!("`{}`", instruction.replace('\t', " ")))
}

/// Whether an operand is in memory: the others are registers and constants.
fn has_memory(operands: &str) -> bool {
    let is_register = |operand: &str| operand.trim().starts_with('%') && !operand.contains(':');
    operands.contains('(') || operands.split(',').any(|operand| !is_register(operand))
}

fn is_jump(name: &str) -> bool {
    name.starts_with("call") || name.starts_with('j')
}

/// Whether a call or jump goes where a register or a word in memory says.
fn is_computed(operands: &str) -> bool {
    operands.trim().starts_with('*')
}

/// The symbol that a call or jump goes to; labels inside the function are none.
fn target(instruction: &str) -> Option<&str> {
    let (name, operands) = instruction.split_once(char::is_whitespace)?;
    if !is_jump(name) {
        return None;
    }
    let operand = operands.trim();
    let symbol = match operand.strip_prefix('*') {
        Some(slot) => slot.split_once("@GOTPCREL")?.0,
        None => operand.split('@').next().unwrap_or_default(),
    };
    (!symbol.starts_with(".L")).then_some(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listing with one probe whose body is given, and a helper.
    fn listing(body: &str) -> String {
        format!(
            "\t.section\t.text.a,\"ax\",@progbits\n\t.type\tf,@function\n\
             _ZN9fast_path11probe_clone17h0123456789abcdefE:\n\t.cfi_startproc\n{body}\
             .Lfunc_end0:\n\t.size\tf, .Lfunc_end0-f\n\t.cfi_endproc\n\n\
             _ZN9fief_core6helper17h0123456789abcdefE:\n\t.cfi_startproc\n\tlock\n\
             \tincq\t(%rdi)\n\tretq\n\t.cfi_endproc\n"
        )
    }

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let text = listing(body);
        let listing = Listing::parse(&text);
        let probes = listing.probes();
        assert_eq!(probes.len(), 1);
        let refusals = listing.walk(probes[0]).refusals;
        let brief = refusals.iter().map(|refusal| refusal.split(" in ").next().unwrap());
        assert_eq!(brief.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn plain_code_is_fine() {
        check("\tincq\t%fs:8(%rdi)\n.LBB0_1:\n\tjne\t.LBB0_1\n\tretq\n", &[]);
        check("\txchgw\t%ax, %ax\n\txchgq\t%rax, %rbx\n\tcmpxchgq\t%rsi, (%rdi)\n", &[]);
    }

    #[test]
    fn locked_instructions_are_refused() {
        check("\tlock\n\tincq\t(%rdi)\n", &["`lock`"]);
        check("\tlock\t\torl\t$0, -64(%rsp)\n", &["`lock  orl $0, -64(%rsp)`"]);
        check("\txchgq\t%rax, (%rdi)\n", &["`xchgq %rax, (%rdi)`"]);
        check("\txchgb\t%al, flag\n", &["`xchgb %al, flag`"]);
        check("\txchgq\t%rax, %fs:8\n", &["`xchgq %rax, %fs:8`"]);
        check("\tmfence\n", &["`mfence`"]);
    }

    #[test]
    fn a_call_may_go_to_a_cold_function() {
        check("\tcallq\t*_ZN9fief_core8put_slow17h0E@GOTPCREL(%rip)\n", &[]);
        check("\tjmp\t_ZN9fief_core4cold3put17h0E\n\tjne\tsettle@PLT\n", &[]);
        check("\tcallq\t*_ZN4core9panicking5panic17h0E@GOTPCREL(%rip)\n", &[]);
        check("\tcallq\t_RNvN3std3sys12thread_local11destructors8register\n", &[]);
    }

    #[test]
    fn a_call_elsewhere_is_refused() {
        check("\tcallq\tmalloc@PLT\n", &["a call leaves the fast path for malloc"]);
        check("\tje\tfree\n", &["a call leaves the fast path for free"]);
        check("\tcallq\t*%rax\n", &["`callq *%rax`"]);
        check("\tjmpq\t*16(%rax)\n", &["`jmpq *16(%rax)`"]);
    }

    #[test]
    fn a_called_function_of_the_listing_is_read_too() {
        check("\tcallq\t_ZN9fief_core6helper17h0123456789abcdefE\n", &["`lock`"]);
    }

    #[test]
    fn a_merged_probe_is_read_under_its_alias() {
        let alias = "_ZN9fast_path10probe_drop17h0E";
        let text = format!(
            "{}\t.set {alias}, _ZN9fast_path11probe_clone17h0123456789abcdefE\n",
            listing("\tmfence\n")
        );
        let listing = Listing::parse(&text);
        assert!(listing.probes().contains(&alias));
        assert_eq!(listing.walk(alias).refusals.len(), 1);
    }

    #[test]
    fn a_probe_is_known_by_its_whole_name() {
        let symbol = "_RNvCs1_9fast_path20probe_try_get_online";
        assert!(is_named(symbol, "probe_try_get_online"));
        assert!(!is_named(symbol, "probe_try_get"));
        assert!(is_named("_ZN9fast_path13probe_try_get17h0E", "probe_try_get"));
    }
}
