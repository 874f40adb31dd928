//! Words of a script, with their places.

use std::{iter::Peekable, str::Chars};

use super::{ParseError, Rule};

/// One command.
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) verb: Word,
    pub(super) args: Vec<Word>,
}

/// One word, its quotes and escapes resolved.
pub(super) struct Word {
    pub(super) column: usize,
    pub(super) text: String,
}

/// Splits a script into commands and these into words.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, ParseError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut lexer = Lexer { number: index + 1, column: 1, rest: line.chars().peekable() };
        while let Some(words) = lexer.command()? {
            let mut words = words.into_iter();
            if let Some(verb) = words.next() {
                lines.push(Line { number: lexer.number, verb, args: words.collect() });
            }
        }
    }
    Ok(lines)
}

struct Lexer<'a> {
    number: usize,
    /// Of the next character, from 1.
    column: usize,
    rest: Peekable<Chars<'a>>,
}

impl Lexer<'_> {
    /// Reads up to a `;`, a comment or the end of the line; `None` when nothing is left.
    fn command(&mut self) -> Result<Option<Vec<Word>>, ParseError> {
        if self.rest.peek().is_none() {
            return Ok(None);
        }
        let mut words = Vec::new();
        while let Some(&char) = self.rest.peek() {
            match char {
                ';' => {
                    self.next();
                    break;
                }
                '#' => while self.next().is_some() {},
                '"' => words.push(self.quoted()?),
                char if char.is_whitespace() => drop(self.next()),
                _ => words.push(self.bare()),
            }
        }
        Ok(Some(words))
    }

    fn next(&mut self) -> Option<char> {
        self.column += 1;
        self.rest.next()
    }

    fn bare(&mut self) -> Word {
        let column = self.column;
        let mut text = String::new();
        while let Some(&char) = self.rest.peek() {
            if char == ';' || char.is_whitespace() {
                break;
            }
            self.next();
            text.push(char);
        }
        Word { column, text }
    }

    fn quoted(&mut self) -> Result<Word, ParseError> {
        let column = self.column;
        let mut text = String::new();
        self.next();
        loop {
            match self.next() {
                None => return Err(self.error(column, text, Rule::OpenQuote)),
                Some('"') => break,
                Some('\\') => text.push(self.escape(column, &text)?),
                Some(char) => text.push(char),
            }
        }
        match self.rest.peek() {
            Some(&char) if char != ';' && !char.is_whitespace() => {
                Err(self.error(self.column, char.to_string(), Rule::AfterQuote))
            }
            _ => Ok(Word { column, text }),
        }
    }

    fn escape(&mut self, column: usize, text: &str) -> Result<char, ParseError> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('0') => Ok('\0'),
            Some(char @ ('"' | '\\')) => Ok(char),
            Some(char) => Err(self.error(column, text.to_owned(), Rule::BadEscape(char))),
            None => Err(self.error(column, text.to_owned(), Rule::OpenQuote)),
        }
    }

    fn error(&self, column: usize, word: String, rule: Rule) -> ParseError {
        ParseError { line: self.number, column, word, rule }
    }
}
