//! Whose JSON Web Tokens a runtime takes, from the command line and a file.

use arcp_driver::jwt::Jwt;

use crate::args::Serve;
use crate::failure::Failure;

/// The verifier for them, if they are taken. What is wrong with the key is said without showing it.
pub(crate) fn verifier(arguments: &Serve) -> Result<Option<Jwt>, Failure> {
    // The arguments require each other.
    let (Some(path), Some(issuer), Some(audience)) =
        (&arguments.jwt_key_file, &arguments.jwt_issuer, &arguments.jwt_audience)
    else {
        return Ok(None);
    };
    let key = std::fs::read(path)
        .map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))?;
    Jwt::hs256(issuer, audience, without_line_end(&key))
        .and_then(|jwt| jwt.leeway(arguments.jwt_leeway.unwrap_or_default()))
        .map(Some)
        .map_err(Failure::usage)
}

/// Whatever wrote the file may have ended its only line.
fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_the_key() {
        for text in [&b"key"[..], b"key\n", b"key\r\n"] {
            assert_eq!(without_line_end(text), b"key");
        }
        assert_eq!(without_line_end(b"key\n\n"), b"key\n");
    }
}
