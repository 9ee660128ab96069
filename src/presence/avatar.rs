//! A person's picture: what is taken for one.
//!
//! Prevents that anything but a picture is kept and handed out under a picture's type: the bytes decide, not what
//! somebody says of them. Never decodes a picture.

/// Bytes of a picture.
pub const AVATAR_MAX: usize = 64 * 1024;

/// Media type of a picture by its first bytes; `None`: it is none of those that every client shows.
pub fn media(data: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
    ];
    if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    BEGINNINGS.iter().find(|(beginning, _)| data.starts_with(beginning)).map(|(_, media)| *media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_first_bytes_and_a_page_is_none() {
        assert_eq!(media(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(media(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(media(b"GIF89a.."), Some("image/gif"));
        assert_eq!(media(b"RIFF\x10\0\0\0WEBPVP8 "), Some("image/webp"));
        for other in [&b""[..], b"<svg onload=x>", b"<html>", b"RIFF\x10\0\0\0WAVE", b"RIFF", b"GIF"] {
            assert_eq!(media(other), None, "{other:?}");
        }
    }
}
