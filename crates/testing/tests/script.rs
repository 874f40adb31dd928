//! The script language: what parses, what is refused, and where.

use fief_testing::script::{Command, parse, text};
use insta::assert_snapshot;
use proptest::prelude::*;

/// Parses and writes again, or shows the error.
fn reprint(script: &str) -> String {
    parse(script).map_or_else(|error| error.to_string(), |commands| text(&commands))
}

#[test]
fn commands_are_separated_by_lines_and_semicolons() {
    assert_snapshot!(reprint("mkdir a;mkdir a/b ; # a comment\n\n  # another\nmv a/b c; show;"), @"
    mkdir a
    mkdir a/b
    mv a/b c
    show
    ");
}

#[test]
fn every_command_parses_to_what_prints_it() {
    let script = "\
hierarchy h
use h
destroy h
register memory
unregister memory
bind memory h
unbind memory
rebind memory g
rebind memory,cpu g move
rebind memory g map a=b
rebind memory,cpu g map a=b /=/ c/d=c/e move
remount h
remount h memory cpu
subtree a +memory
subtree a +memory -cpu
charge memory a/b 5
css memory
resolve t memory
parents r
mkdir a/b
mkdir a/b with t u
mv a/b c
rmdir a/b
rmdir --strict a/b
rmdir --strict --subtree -- -a
task t
join t a/b
leave t
leave t h
exit t
kill a
get a memory
get a memory as r
root memory as r
clone r as s
put r
weak r as w
upgrade w as r
max.depth a 3
max.descendants a max
fail memory online 2
panic memory free 1
notify a on
notify a off
notices
notice
notice as n
accept n
ignore n
renotify
watch a
watch a as v
hear v
unwatch v
reap
ls
ls a
cat a/cgroup.stat
echo 512M > a/memory.max
echo \"+memory -io\" > a/cgroup.subtree_control
show
show a
events
";
    assert_eq!(reprint(script), script);
}

#[test]
fn a_quoted_word_holds_what_a_bare_one_cannot() {
    let commands = parse(r#"mkdir "a b;\n\t\0\"\\#"; mkdir """#).expect("parses");

    assert_eq!(
        commands,
        [Command::Mkdir("a b;\n\t\0\"\\#".to_owned()), Command::Mkdir(String::new())]
    );
}

#[test]
fn an_unknown_command_is_refused_with_its_place() {
    assert_snapshot!(reprint("mkdir a\n  frob a"), @"line 2, column 3, at `frob`: no such command");
}

#[test]
fn a_missing_or_extra_argument_names_the_usage() {
    assert_snapshot!(reprint("mkdir a; mv a"), @"line 1, column 10, at `mv`: an argument is missing: mv PATH NAME");
    assert_snapshot!(reprint("reap now"), @"line 1, column 6, at `now`: one argument too many: reap, events, notices, renotify");
    assert_snapshot!(reprint("get a memory r1"), @"line 1, column 14, at `r1`: expected `as NAME`: get PATH SUBSYSTEM [as NAME]");
    assert_snapshot!(reprint("get a memory as"), @"line 1, column 1, at `get`: an argument is missing: get PATH SUBSYSTEM [as NAME]");
}

#[test]
fn a_number_is_digits_in_range() {
    for bad in ["", "-1", "+1", "1.5", "0x10", "1k", "Max", "18446744073709551616"] {
        let error = parse(&format!("max.depth a \"{bad}\"")).expect_err(bad);
        assert_eq!(
            error.to_string(),
            format!("line 1, column 13, at `{bad}`: a limit is a number or `max`")
        );
    }
    for bad in ["0", "-1", "4294967296", "one"] {
        let error = parse(&format!("panic memory online {bad}")).expect_err(bad);
        assert_eq!(
            error.to_string(),
            format!("line 1, column 21, at `{bad}`: a call is a number from 1")
        );
    }
}

#[test]
fn what_a_rebind_is_asked_for_is_checked() {
    assert_snapshot!(reprint("rebind memory"), @"line 1, column 1, at `rebind`: an argument is missing: rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]");
    assert_snapshot!(reprint("rebind memory g mapped"), @"line 1, column 17, at `mapped`: expected `map SOURCE=TARGET...` or `move`: rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]");
    assert_snapshot!(reprint("rebind memory g map"), @"line 1, column 1, at `rebind`: an argument is missing: rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]");
    assert_snapshot!(reprint("rebind memory g map a"), @"line 1, column 21, at `a`: counterparts are written SOURCE=TARGET");
    assert_snapshot!(reprint("rebind memory g map a=b move c=d"), @"line 1, column 30, at `c=d`: one argument too many: rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]");
    assert_snapshot!(reprint("rebind memory g move map a=b"), @"line 1, column 22, at `map`: one argument too many: rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]");
    assert_snapshot!(reprint("subtree a"), @"line 1, column 1, at `subtree`: an argument is missing: subtree PATH +SUBSYSTEM|-SUBSYSTEM...");
    assert_snapshot!(reprint("subtree a memory"), @"line 1, column 11, at `memory`: a controller is written +NAME or -NAME");
    assert_snapshot!(reprint("subtree a +memory \"\""), @"line 1, column 19, at ``: a controller is written +NAME or -NAME");
    assert_snapshot!(reprint("charge memory a max"), @"line 1, column 17, at `max`: an amount is a number");
}

#[test]
fn only_some_hooks_veto() {
    assert_snapshot!(reprint("fail memory offline 1"), @"line 1, column 13, at `offline`: this hook cannot veto");
    assert_snapshot!(reprint("panic memory css_online 1"), @"line 1, column 14, at `css_online`: no such hook");
}

#[test]
fn quotes_and_escapes_are_checked() {
    assert_snapshot!(reprint("mkdir \"a"), @"line 1, column 7, at `a`: the quoted word does not end on this line");
    assert_snapshot!(reprint("mkdir \"a\\"), @"line 1, column 7, at `a`: the quoted word does not end on this line");
    assert_snapshot!(reprint("mkdir \"a\"b"), @"line 1, column 10, at `b`: a blank or `;` must follow a quoted word");
    assert_snapshot!(reprint("mkdir \"\\x\""), @r"line 1, column 7, at ``: unknown escape `\x`");
}

#[test]
fn echo_takes_words_as_a_shell_does() {
    assert_snapshot!(reprint("echo > f; echo a  b > f; echo \">\" > > > f"), @r#"
    echo "" > f
    echo "a b" > f
    echo "> > >" > f
    "#);
    assert_snapshot!(reprint("echo"), @"line 1, column 1, at `echo`: an argument is missing: echo VALUE > PATH");
    assert_snapshot!(reprint("echo 1"), @"line 1, column 1, at `echo`: an argument is missing: echo VALUE > PATH");
    assert_snapshot!(reprint("echo 1 f"), @"line 1, column 8, at `f`: expected `> PATH` at the end: echo VALUE > PATH");
    assert_snapshot!(reprint("echo 1 >f"), @"line 1, column 8, at `>f`: expected `> PATH` at the end: echo VALUE > PATH");
}

proptest! {
    #[test]
    fn any_value_survives_writing_and_parsing(words in prop::collection::vec(any::<String>(), 2)) {
        // As below.
        prop_assume!(!words.iter().any(|word| word.contains('\r')));
        let command = Command::Echo { value: words[0].clone(), path: words[1].clone() };
        prop_assert_eq!(parse(&command.to_string()), Ok(vec![command]));
    }

    #[test]
    fn any_word_survives_writing_and_parsing(words in prop::collection::vec(any::<String>(), 2)) {
        // A line ends at a carriage return too, and nothing escapes that.
        prop_assume!(!words.iter().any(|word| word.contains('\r')));
        let command = Command::Mv { path: words[0].clone(), name: words[1].clone() };
        prop_assert_eq!(parse(&command.to_string()), Ok(vec![command]));
    }

    #[test]
    fn any_text_parses_or_is_refused(script in any::<String>()) {
        parse(&script).ok();
    }
}
