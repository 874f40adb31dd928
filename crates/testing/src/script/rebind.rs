//! The commands about where controllers are bound, and what can be seen of that.

use super::{Args, Command, ParseError, Rule};

/// Parses one of these commands; `None` for any other.
pub(super) fn parse(args: &mut Args<'_>) -> Result<Option<Command>, ParseError> {
    Ok(Some(match args.verb() {
        "bind" => Command::Bind { subsystem: args.word()?, hierarchy: args.word()? },
        "unbind" => Command::Unbind(args.word()?),
        "rebind" => rebind(args)?,
        "remount" => Command::Remount {
            hierarchy: args.word()?,
            subsystems: args.rest.by_ref().map(|word| word.text.clone()).collect(),
        },
        "subtree" => subtree(args)?,
        "charge" => {
            Command::Charge { subsystem: args.word()?, path: args.word()?, amount: args.amount()? }
        }
        "css" => Command::Css(args.word()?),
        "resolve" => Command::Resolve { task: args.word()?, subsystem: args.word()? },
        "parents" => Command::Parents(args.word()?),
        _ => return Ok(None),
    }))
}

pub(super) fn usage(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "bind" => "bind SUBSYSTEM HIERARCHY",
        "rebind" => "rebind SUBSYSTEM[,...] HIERARCHY [map SOURCE=TARGET...] [move]",
        "remount" => "remount HIERARCHY [SUBSYSTEM...]",
        "subtree" => "subtree PATH +SUBSYSTEM|-SUBSYSTEM...",
        "charge" => "charge SUBSYSTEM PATH AMOUNT",
        "resolve" => "resolve TASK SUBSYSTEM",
        _ => return None,
    })
}

fn rebind(args: &mut Args<'_>) -> Result<Command, ParseError> {
    let subsystems = args.word()?.split(',').map(str::to_owned).collect();
    let hierarchy = args.word()?;
    let mut mapping = Vec::new();
    let mut word = args.rest.next();
    if word.is_some_and(|word| word.text == "map") {
        let pair = args.next()?;
        mapping.push(split_pair(args, pair)?);
        word = args.rest.next();
        while let Some(pair) = word.filter(|word| word.text != "move") {
            mapping.push(split_pair(args, pair)?);
            word = args.rest.next();
        }
    }
    let moves = match word {
        None => false,
        Some(word) if word.text == "move" => true,
        Some(word) => return Err(args.error(word, Rule::ExpectedMap { usage: args.usage() })),
    };
    Ok(Command::Rebind { subsystems, hierarchy, mapping, moves })
}

fn split_pair(args: &Args<'_>, pair: &super::Word) -> Result<(String, String), ParseError> {
    let split = pair.text.split_once('=');
    let (source, target) = split.ok_or_else(|| args.error(pair, Rule::BadPair))?;
    Ok((source.to_owned(), target.to_owned()))
}

fn subtree(args: &mut Args<'_>) -> Result<Command, ParseError> {
    let path = args.word()?;
    let (mut enable, mut disable) = (Vec::new(), Vec::new());
    let mut word = args.next()?;
    loop {
        match word.text.split_at_checked(1) {
            Some(("+", name)) => enable.push(name.to_owned()),
            Some(("-", name)) => disable.push(name.to_owned()),
            _ => return Err(args.error(word, Rule::BadToggle)),
        }
        match args.rest.next() {
            Some(next) => word = next,
            None => return Ok(Command::Subtree { path, enable, disable }),
        }
    }
}

/// The arguments of `rebind`, as text.
pub(super) fn rebind_words(
    subsystems: &[String],
    hierarchy: &str,
    mapping: &[(String, String)],
    moves: bool,
) -> Vec<String> {
    let mut words = vec![subsystems.join(","), hierarchy.to_owned()];
    if !mapping.is_empty() {
        words.push("map".to_owned());
        words.extend(mapping.iter().map(|(source, target)| format!("{source}={target}")));
    }
    if moves {
        words.push("move".to_owned());
    }
    words
}

/// The arguments of `subtree`, as text.
pub(super) fn subtree_words(path: &str, enable: &[String], disable: &[String]) -> Vec<String> {
    let enable = enable.iter().map(|name| format!("+{name}"));
    let disable = disable.iter().map(|name| format!("-{name}"));
    [path.to_owned()].into_iter().chain(enable).chain(disable).collect()
}
