//! Pages as text: every value goes through [`Text`], and nothing else does.

use std::fmt::{self, Display, Write as _};

use axum::response::Html;

/// A value in a page, or in an attribute between double quotes.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                other => self.0.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Puts a page around what is HTML already.
pub(super) fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        Text(title)
    ))
}

/// Returns a table of rows that are HTML already.
pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = "<table>\n<tr>".to_owned();
    // Writing to a `String` does not fail.
    for cell in head {
        let _ = write!(html, "<th>{}</th>", Text(cell));
    }
    html += "</tr>\n";
    let mut is_empty = true;
    for row in rows {
        is_empty = false;
        html += "<tr>";
        for cell in row {
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    if is_empty {
        let _ = writeln!(
            html,
            "<tr><td colspan=\"{}\">none yet</td></tr>",
            head.len()
        );
    }
    html + "</table>\n"
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1100px;\
    padding:1rem 1.5rem 3rem;color:#1c2733}header{display:flex;justify-content:space-between;\
    align-items:baseline;border-bottom:2px solid #1d5fa8;margin-bottom:1rem}h1{margin:.2rem 0}\
    h2{margin:1.6rem 0 .4rem}table{border-collapse:collapse;width:100%}th{text-align:left;\
    color:#5a6b7d;font-weight:600}th,td{padding:.25rem .7rem .25rem 0;border-bottom:1px solid #e3e8ee}\
    form{display:inline}input[type=number]{width:4.5rem}button{cursor:pointer}code{font-size:.85em;\
    color:#5a6b7d}.late{color:#b3261e;font-weight:600}.note{color:#b3261e}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_markup() {
        let text = Text("<script>'\"&").to_string();
        assert_eq!(text, "&lt;script&gt;&#39;&quot;&amp;");
        assert!(page("<b>", "<p>").0.contains("<title>&lt;b&gt;</title>"));
    }
}
