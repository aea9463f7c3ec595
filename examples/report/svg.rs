//! Text that is safe in HTML and SVG, and numbers that are short in both.

use crate::curve::palette_css;

/// `text` as content or as an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A coordinate to a tenth.
pub(crate) fn coordinate(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // No minus before a zero.
    (rounded + 0.0).to_string()
}

/// A share without rounding errors, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// Room that `text` takes at most in any common font, in pixels at `size` pixels of type.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    0.65 * size * text.chars().count() as f64
}

/// A picture that stands alone, on a white ground.
pub(crate) fn file(width: f64, height: f64, title: &str, note: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\"><title>{title}</title><style>{}{}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text class=\"title\" x=\"16\" y=\"30\">{title}</text><text class=\"note\" x=\"16\" y=\"52\">{note}</text>\
         {content}</svg>\n",
        include_str!("figure.css"),
        palette_css(),
        title = escape(title),
        note = escape(note),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_files_cannot_become_markup() {
        assert_eq!(escape("<b a='1' c=\"&\">"), "&lt;b a=&#39;1&#39; c=&quot;&amp;&quot;&gt;");
        assert_eq!(escape("größer"), "größer");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([12.0, 0.25, -0.01, 3.96].map(coordinate), ["12", "0.3", "0", "4"]);
        assert_eq!(percent(1.0 - 0.0001), "99.99 %");
    }
}
