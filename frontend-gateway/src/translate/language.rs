//! Language tags that cross between `xml:lang` and Content-Language (RFC 7572 s.8).

/// Returns the tag if it is one that both sides can carry (BCP 47, syntax only).
pub fn tag(text: &str) -> Option<&str> {
    let text = text.trim();
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let mut parts = text.split('-');
    let primary = parts.next()?;
    let right = primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtag(primary)
        && parts.all(subtag)
        && text.len() <= 35;
    right.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn only_tags_of_the_right_syntax_cross() {
        for right in ["de", "en-GB", "zh-Hant-TW", "i-klingon", "x-a"] {
            assert_eq!(tag(right), Some(right));
        }
        for wrong in ["", "de-", "-de", "1a", "de_DE", "a b", "de\r\nX: y", "toolongsubtag", "dé"]
        {
            assert_eq!(tag(wrong), None, "{wrong}");
        }
    }
}
