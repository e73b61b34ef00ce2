//! Assignments: `name = value`, where a value is a text in quotes, a number, or a list of texts in brackets. They end with their
//! line, with `;`, or where the next one begins; what follows a `#` is for people.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::iter::Peekable;
use core::str::Chars;

/// What a name is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, decimal or with `0x`.
    Number(u64),
    /// Texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(texts) => write!(f, "{texts:?}"),
        }
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

/// Reads a file. The error says where it is wrong.
pub fn read(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    let mut found = Vec::new();
    loop {
        while reader.skip().is_some_and(|next| next == ';') {
            reader.next();
        }
        let name = reader.word();
        if name.is_empty() {
            return if reader.rest.peek().is_none() { Ok(found) } else { reader.fail("a name is expected") };
        }
        if reader.skip() != Some('=') {
            return reader.fail("an = is expected");
        }
        reader.next();
        let value = reader.value()?;
        found.push((name, value));
    }
}

impl Reader<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("line {}: {what}", self.line))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// Skips what means nothing, and gives what comes then.
    fn skip(&mut self) -> Option<char> {
        while let Some(next) = self.rest.peek().copied() {
            match next {
                '#' => {
                    while self.rest.peek().is_some_and(|next| *next != '\n') {
                        self.next();
                    }
                }
                next if next.is_whitespace() => drop(self.next()),
                next => return Some(next),
            }
        }
        None
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.rest.peek().copied().filter(|next| next.is_alphanumeric() || *next == '_') {
            word.push(letter);
            self.next();
        }
        word
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.skip() {
            Some('[') => {
                self.next();
                let mut texts = Vec::new();
                while self.skip() != Some(']') {
                    texts.push(self.text()?);
                    match self.skip() {
                        Some(',') => drop(self.next()),
                        Some(']') => {}
                        _ => return self.fail("a , or ] is expected"),
                    }
                }
                self.next();
                Ok(Value::List(texts))
            }
            Some('\'' | '"') => self.text().map(Value::Text),
            _ => {
                let word = self.word();
                let number = match word.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16).ok(),
                    None => word.parse().ok(),
                };
                number.map_or_else(
                    || self.fail("a text in quotes, a number or a list is expected"),
                    |n| Ok(Value::Number(n)),
                )
            }
        }
    }

    /// A text in quotes; a backslash takes the meaning from what follows it.
    fn text(&mut self) -> Result<String, String> {
        let Some(quote @ ('\'' | '"')) = self.skip() else { return self.fail("a text in quotes is expected") };
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return self.fail("the text before has no end"),
                Some('\\') => text.extend(self.next()),
                Some(end) if end == quote => return Ok(text),
                Some(letter) => text.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read() {
        let text = "# first\na = 'x # y' # z\nb=0x10; c = 7 d = [ 'one', # 1\n \"t\\\"wo\", ]\ne=[]";
        let texts = |list: &[&str]| Value::List(list.iter().map(|text| (*text).into()).collect());
        let expected = [
            ("a", Value::Text("x # y".into())),
            ("b", Value::Number(16)),
            ("c", Value::Number(7)),
            ("d", texts(&["one", "t\"wo"])),
            ("e", texts(&[])),
        ];
        assert_eq!(read(text).unwrap(), expected.map(|(name, value)| (name.into(), value)));
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, why) in [
            ("\n= 3", "line 2: a name"),
            ("a 3", "line 1: an ="),
            ("a = \n\n b", "line 3: a text in quotes, a number"),
            ("a = 'x\n'", "line 2: the text before"),
            ("a = ['x' 'y']", "line 1: a , or ]"),
            ("a = [3]", "line 1: a text in quotes"),
            ("a = [", "line 1: a text in quotes"),
            ("a = 99999999999999999999", "line 1: a text"),
            ("a = '\\", "line 1: the text before"),
        ] {
            assert_eq!(read(text).unwrap_err().find(why), Some(0), "{text:?}: {:?}", read(text));
        }
    }
}
