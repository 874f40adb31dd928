//! How errors quote a text from outside, which may be of any length.

/// Bytes of a text that an error quotes.
const QUOTED: usize = 64;

/// Quotes and escapes a text, and cuts it if it is long.
pub(crate) fn quote(text: &str) -> String {
    let cut = text.floor_char_boundary(QUOTED);
    match text.len() - cut {
        0 => format!("{text:?}"),
        more => format!("{:?} and {more} bytes more", &text[..cut]),
    }
}
