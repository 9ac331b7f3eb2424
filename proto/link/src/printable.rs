//! Texts of peers and edges, made fit for a terminal and for a line of a record.

/// Returns the first characters of a text, at most so many, with everything escaped that would do
/// something to a terminal or begin a line.
///
/// What is printable already stays as it is.
pub fn printable(text: &str, characters_max: usize) -> String {
    let escape = |character: char| -> Vec<char> {
        match character {
            '"' | '\'' | '\\' => vec![character],
            _ => character.escape_debug().collect(),
        }
    };
    text.chars().take(characters_max).flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_does_something_to_a_terminal_is_escaped_and_the_rest_stays() {
        let wild = "it's \"C:\\\" \u{1b}[2J\nline\u{202e}";
        let tame = "it's \"C:\\\" \\u{1b}[2J\\nline\\u{202e}";
        assert_eq!(printable(wild, 100), tame);
        assert_eq!(printable(tame, 100), tame, "it may cross the link escaped");
        assert_eq!(printable("fabrikam", 3), "fab");
    }
}
