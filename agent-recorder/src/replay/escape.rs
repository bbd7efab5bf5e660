//! Escapes text that a recorded program chose: nothing reaches a terminal that moves
//! its cursor or hides text.

use std::fmt::Write as _;

/// Bytes as printable text: control characters, bidirectional overrides
/// (Unicode 15, section 23.2) and bytes that are not UTF-8 become escapes.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ if is_harmful(character) => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
                }
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether a terminal interprets the character, or it hides the text around it.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_act_on() {
        assert_eq!(escaped(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escaped("x\u{202e}gpj.exe".as_bytes()), "x\\u{202e}gpj.exe");
        assert_eq!(escaped(b"\xff\n\r\\"), "\\xff\\n\\r\\\\");
        assert_eq!(escaped("grün".as_bytes()), "grün");
    }
}
