//! Identifiers come from callers, and errors go into logs, line by line.

use std::borrow::Cow;

/// How many characters of a subject are told.
const MOST: usize = 200;

/// Returns a subject as one line of bounded length that no terminal obeys.
pub(super) fn one_line(text: Cow<'static, str>) -> Cow<'static, str> {
    let is_fit = text.len() <= MOST && !text.chars().any(needs_escape);
    if is_fit {
        return text;
    }
    let mut line = String::with_capacity(MOST);
    for (count, one) in text.chars().enumerate() {
        if count == MOST {
            line.push('…');
            break;
        }
        if needs_escape(one) {
            line.extend(one.escape_debug());
        } else {
            line.push(one);
        }
    }
    line.into()
}

/// Control characters, and what breaks a line or turns the direction of writing.
fn needs_escape(one: char) -> bool {
    one.is_control()
        || matches!(
            one,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use crate::{Error, ErrorKind};

    fn subject(text: &str) -> String {
        let error = Error::new(ErrorKind::NotFound, "get").with_subject(text.to_owned());
        error.subject().to_owned()
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in [
            "settings Größe",
            "settings 日本 \u{1F600}",
            "",
            "a\\b \"c\" 'd'",
        ] {
            assert_eq!(subject(text), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(
            subject("settings a\nb\r\t\0\u{1b}[31m\u{7f}\u{9b}"),
            r"settings a\nb\r\t\0\u{1b}[31m\u{7f}\u{9b}"
        );
        assert_eq!(
            subject("a\u{2028}\u{202e}b\u{2066}"),
            r"a\u{2028}\u{202e}b\u{2066}"
        );
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(subject(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(subject(&"é".repeat(201)), format!("{}…", "é".repeat(200)));
        assert_eq!(
            subject(&"\n".repeat(5_000)),
            format!("{}…", r"\n".repeat(200))
        );
    }
}
