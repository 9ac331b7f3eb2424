//! Reduces HTML of a message to its text: no markup reaches the other side.

/// Elements whose content is no text.
const HIDDEN: [&str; 4] = ["script", "style", "head", "title"];

/// Elements that begin a line of their own.
const BLOCKS: [&str; 9] = ["p", "div", "br", "li", "tr", "h1", "h2", "h3", "blockquote"];

/// Returns the text of HTML.
pub(super) fn text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_words(&rest[..at], &mut text);
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let (tag, after) = rest.split_once('>').unwrap_or((rest, ""));
        rest = after;
        let name = tag.trim_start_matches(['<', '/']);
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        if HIDDEN.contains(&name.as_str()) && !tag.starts_with("</") {
            rest = behind_end(rest, &name);
        } else if BLOCKS.contains(&name.as_str()) && !text.is_empty() && !text.ends_with('\n') {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
    }
    push_words(rest, &mut text);
    text.trim().to_owned()
}

fn behind_end<'a>(html: &'a str, name: &str) -> &'a str {
    let end = format!("</{name}");
    // ASCII lower case keeps every byte where it is.
    let at = html.to_ascii_lowercase().find(&end);
    at.and_then(|at| html[at..].split_once('>')).map_or("", |(_, after)| after)
}

/// Appends text with its references resolved and its white space folded.
fn push_words(html: &str, out: &mut String) {
    let mut rest = html;
    while let Some(at) = rest.find('&') {
        fold(&rest[..at], out);
        rest = &rest[at + 1..];
        let reference = rest.split_once(';').filter(|(name, _)| name.len() <= 10);
        match reference.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => out.push('&'),
        }
    }
    fold(rest, out);
}

fn fold(text: &str, out: &mut String) {
    for character in text.chars() {
        if !character.is_whitespace() {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
            out.push(' ');
        }
    }
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(number).filter(|character| !character.is_control())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn markup_goes_and_words_stay() {
        for (html, expected) in [
            ("<html><body><b>Hi</b> <script>x()</script>&amp; bye</body></html>", "Hi & bye"),
            ("a<br>b<p>c</p><p>d</p>", "a\nb\nc\nd"),
            ("x &lt;y&gt; &#233;&#x1F600; &unknown; &", "x <y> é😀 &unknown; &"),
            ("<STYLE>p{}</STYLE>ok<!-- no > -->!", "ok!"),
            ("<script>alert(1)", ""),
            ("a &#0;b", "a &#0;b"),
            ("plain\r\n  text", "plain text"),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }
}
