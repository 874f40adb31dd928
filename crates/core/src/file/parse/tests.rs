//! What is taken and what is refused, by tables.

use super::*;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const E: u64 = 1 << 60;

/// What nothing takes: no number, no size, no limit, no flag, no weight, no duration.
const JUNK: [&str; 41] = [
    "",
    " ",
    "\t",
    "\n",
    " \n",
    "x",
    "-",
    "-1",
    "-2",
    "+1",
    "--1",
    "1.5",
    "1.5M",
    "1,5",
    "1_000",
    "0x10",
    "0x100000",
    "0b1",
    "0o7",
    "1e3",
    "1 M",
    "1MB",
    "1Mi",
    "1MiB",
    "M",
    "MM",
    "1MM",
    "M1",
    "1G junk",
    "1 1",
    "1\n1",
    "1\n\n",
    "\n1",
    "1\r\n",
    "1\0",
    "\u{661}",
    "\u{ff11}",
    "\u{a0}1",
    "1\u{2003}",
    "MAX",
    "max max",
];

/// Numbers that no 64 bits hold.
const TOO_LARGE: [&str; 2] = ["18446744073709551616", "99999999999999999999"];

fn is_malformed<T: fmt::Debug>(outcome: Result<T, InputError>, input: &str) {
    let error = outcome.expect_err(input);
    assert_eq!(error.quoted(), format!("{input:?}"), "quotes the text");
    assert_eq!(error.to_string(), format!("{input:?} is not {}", error.expected()));
    assert!(!error.expected().is_empty());
}

/// The kernel's quirks (`kernel-semantics.md` §4.5), and what comes of the same text here.
#[test]
fn a_size_is_what_it_says_or_nothing() {
    let cases = [
        ("1M", Some(M)),
        ("1m", Some(M)),
        (" 2M \n", Some(2 * M)),
        ("1M ", Some(M)),
        ("\t1M\t", Some(M)),
        ("4097", Some(4097)), // the kernel: 4096
        ("4095", Some(4095)), // the kernel: 0
        ("1K", Some(K)),      // the kernel: 0
        ("1k", Some(K)),
        ("1G", Some(K * M)),
        ("1T", Some(M * M)),
        ("1P", Some(K * M * M)),
        ("15E", Some(15 * E)),
        ("0", Some(0)),
        ("0E", Some(0)),
        ("010", Some(10)), // the kernel: 8
        ("18446744073709551615", Some(u64::MAX)),
        ("17592186044415M", Some(17_592_186_044_415 * M)),
        ("\n", None),                   // the kernel: a limit of zero
        ("", None),                     // the kernel: no operation
        ("0x100000", None),             // the kernel: 1M
        ("18446744073709551616", None), // the kernel: 0
        ("16E", None),                  // the kernel: 0
        ("99999999999999999999", None), // the kernel: wraps
        ("17592186044416M", None),
        ("-1", None), // the kernel's v1: unlimited
        ("1ſ", None), // upper case is an S
        ("1K\u{301}", None),
    ];
    for (input, expected) in cases {
        match expected {
            Some(bytes) => {
                assert_eq!(size(input), Ok(bytes), "{input:?}");
                assert_eq!(size_limit(input), Ok(Limit::At(bytes)), "{input:?}");
            }
            None => {
                is_malformed(size(input), input);
                is_malformed(size_limit(input), input);
            }
        }
    }
}

#[test]
fn junk_is_nothing() {
    for input in JUNK {
        is_malformed(number(input), input);
        is_malformed(number_in(input, 0..=u64::MAX), input);
        is_malformed(limit(input), input);
        is_malformed(limit_in(input, 0..=u64::MAX), input);
        is_malformed(size(input), input);
        is_malformed(size_limit(input), input);
        is_malformed(flag(input), input);
        is_malformed(microseconds(input), input);
        is_malformed(weight(input), input);
    }
    for input in TOO_LARGE {
        is_malformed(number(input), input);
        is_malformed(number_in(input, 0..=u64::MAX), input);
        is_malformed(limit(input), input);
        is_malformed(limit_in(input, 0..=u64::MAX), input);
        is_malformed(microseconds(input), input);
        is_malformed(weight(input), input);
        is_malformed(flag(input), input);
    }
    for input in ["1K", "1M", "1E"] {
        is_malformed(number(input), input);
        is_malformed(limit(input), input);
        is_malformed(microseconds(input), input);
        is_malformed(weight(input), input);
    }
}

#[test]
fn max_is_a_limit_and_nothing_else() {
    for input in ["max", " max\n", "\tmax "] {
        assert_eq!(limit(input), Ok(Limit::Max));
        assert_eq!(limit_in(input, 1..=2), Ok(Limit::Max));
        assert_eq!(size_limit(input), Ok(Limit::Max));
        is_malformed(number(input), input);
        is_malformed(size(input), input);
        is_malformed(weight(input), input);
        is_malformed(microseconds(input), input);
    }
    for input in ["Max", "maxx", "ma x", "max 1", "\"max\""] {
        is_malformed(limit(input), input);
        is_malformed(size_limit(input), input);
    }
}

#[test]
fn ranges_hold_their_ends() {
    assert_eq!((number_in("3", 3..=5), number_in("5", 3..=5)), (Ok(3), Ok(5)));
    assert_eq!(limit_in("5", 3..=5), Ok(Limit::At(5)));
    for input in ["2", "6", "18446744073709551615"] {
        is_malformed(number_in(input, 3..=5), input);
        is_malformed(limit_in(input, 3..=5), input);
    }
    assert_eq!((weight("1"), weight("10000\n")), (Ok(1), Ok(10_000)));
    for input in ["0", "10001", "65537", "65536"] {
        is_malformed(weight(input), input);
    }
    assert_eq!((flag("0"), flag(" 1\n")), (Ok(false), Ok(true)));
    for input in ["2", "00", "01", "true", "on", "yes"] {
        is_malformed(flag(input), input);
    }
    assert_eq!(microseconds("1500000"), Ok(Duration::from_millis(1500)));
}

#[test]
fn an_error_says_what_was_asked_for() {
    let message = |error: InputError| error.to_string();
    assert_eq!(message(flag("2\n").unwrap_err()), r#""2\n" is not 0 or 1"#);
    assert_eq!(message(number_in("7", 1..=6).unwrap_err()), r#""7" is not a number from 1 to 6"#);
    assert_eq!(
        message(size_limit("16E").unwrap_err()),
        r#""16E" is not a size (bytes below 2^64; K M G T P E) or max"#
    );
}

#[test]
fn a_long_text_is_cut_where_a_character_ends() {
    let error = number(&"x".repeat(64)).unwrap_err();
    assert_eq!(error.quoted(), format!("\"{}\"", "x".repeat(64)));
    let error = number(&"x".repeat(1 << 20)).unwrap_err();
    assert_eq!(error.quoted(), format!("\"{}\" and 1048512 bytes more", "x".repeat(64)));
    let error = number(&format!("{}é", "x".repeat(63))).unwrap_err();
    assert_eq!(error.quoted(), format!("\"{}\" and 2 bytes more", "x".repeat(63)));
}

#[test]
fn a_threshold_is_a_kind_and_two_times() {
    for text in ["some 150000 1000000", "full 1 500000", "some 10000000 10000000"] {
        for around in [text.to_owned(), format!("{text}\n"), format!(" \t{text} \n")] {
            assert_eq!(threshold(&around).expect(&around).to_string(), text);
        }
    }
    let no_form = [
        "",
        "max",
        "some 150000",
        "some 150000 1000000 1",
        "some  150000 1000000",
        "some\t150000\t1000000",
        "some 150000 1000000\n\n",
        "Some 150000 1000000",
        "some +150000 1000000",
        "some 150000us 1000000",
        "some 150000 18446744073709551616",
    ];
    for text in JUNK.into_iter().chain(no_form) {
        is_malformed(threshold(text), text);
        let error = threshold(text).expect_err(text);
        assert_eq!(error.expected(), "some or full, a stall time and a window in microseconds");
    }
    for (text, rule) in [
        ("some 1 499999\n", "a window of 499999 us is not within 500000 to 10000000 us"),
        ("full 1 10000001", "a window of 10000001 us is not within 500000 to 10000000 us"),
        ("some 0 500000", "a stall time of 0 us is not within 1 us and the window of 500000 us"),
        (
            "some 500001 500000",
            "a stall time of 500001 us is not within 1 us and the window of 500000 us",
        ),
    ] {
        is_malformed(threshold(text), text);
        let error = threshold(text).expect_err(text);
        assert_eq!(error.to_string(), format!("{text:?} is not a threshold: {rule}"));
    }
}

#[test]
fn words_stand_on_one_line() {
    assert_eq!(words(" +memory \t-io \n"), Ok(vec!["+memory", "-io"]));
    assert_eq!(keyed("default 100\n"), Ok(("default", "100")));
    for input in ["", " \n", "a\nb", "a\0b", "a\rb", "a\u{b}b", "\u{85}"] {
        is_malformed(words(input), input);
        is_malformed(keyed(input), input);
        is_malformed(nested(input), input);
    }
    for input in ["a", "a b c"] {
        is_malformed(keyed(input), input);
    }
}

#[test]
fn a_nested_line_names_each_key_once() {
    assert_eq!(
        nested("disk  rbps=1M\twiops=max\n"),
        Ok(Nested { name: "disk", pairs: vec![("rbps", "1M"), ("wiops", "max")] })
    );
    for input in [
        "disk",
        "disk rbps",
        "disk =1",
        "disk rbps=",
        "disk rbps=1=2",
        "disk rbps=1 max",
        "rbps=1 wbps=1",
        "disk rbps = 1",
        "disk rbps=1 rbps=1",
    ] {
        is_malformed(nested(input), input);
    }
}
