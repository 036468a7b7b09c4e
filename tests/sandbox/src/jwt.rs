//! Access tokens: RS256 JSON Web Tokens (RFC 7519), really signed.
//!
//! The key beside this file is a **public test key**. It was made for this sandbox, everybody has
//! it, and it protects nothing. This room does not decide who gets a token.

use chrono::{DateTime, Utc};
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use serde::Serialize;

/// Signs tokens with the public test key.
pub(crate) struct Signer {
    key: KeyPair,
    random: SystemRandom,
}

/// What a token says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claims<'a> {
    pub(crate) iss: &'a str,
    pub(crate) sub: String,
    pub(crate) aud: &'a str,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) azp: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) gty: &'a str,
    /// Unique, so that no two tokens are alike.
    pub(crate) jti: String,
}

impl<'a> Claims<'a> {
    /// The claims Auth0 would make for a client-credentials token (*inferred*).
    pub(crate) fn new(
        (client_id, audience, scope): (&'a str, &'a str, &'a str),
        (iat, exp): (DateTime<Utc>, DateTime<Utc>),
        jti: String,
    ) -> Self {
        Self {
            iss: ISSUER,
            sub: format!("{client_id}@clients"),
            aud: audience,
            iat: iat.timestamp(),
            exp: exp.timestamp(),
            azp: client_id,
            scope,
            gty: "client-credentials",
            jti,
        }
    }
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self {
            key: KeyPair::from_pkcs8(PUBLIC_TEST_KEY).expect("the embedded key is valid PKCS#8"),
            random: SystemRandom::new(),
        }
    }

    /// A fresh identifier: 32 hexadecimal digits.
    pub(crate) fn unique(&self) -> String {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).expect("the system has randomness");
        hex(&bytes)
    }

    /// The token in its compact form (RFC 7515 §7.1).
    pub(crate) fn sign(&self, claims: &Claims<'_>) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are strings and numbers");
        let mut token = format!("{}.{}", base64url(HEADER), base64url(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &self.random, token.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length");
        token.push('.');
        token.push_str(&base64url(&signature));
        token
    }
}

/// First 8 bytes of the token's SHA-256, hex.
pub(crate) fn fingerprint(token: &str) -> String {
    hex(&ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref()[..8])
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// base64url without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            let index = bits >> (18 - 6 * digit) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

const HEADER: &[u8] = br#"{"alg":"RS256","typ":"JWT","kid":"procurify-sandbox-public-test-key"}"#;
const ISSUER: &str = "https://procurify-sandbox.example/";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PUBLIC_TEST_KEY: &[u8] = include_bytes!("jwt/public-test-key.pk8");

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn base64url_follows_the_vectors_of_rfc_4648() {
        let vectors = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in vectors {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn a_token_is_signed_and_of_a_real_ones_size() {
        let signer = Signer::new();
        let scope = "urn:procurify-api:domain:acme urn:procurify-api:email:a@acme.example";
        let now = DateTime::UNIX_EPOCH;
        let claims =
            |jti| Claims::new(("sandbox-acme", "https://api.procurify.com/", scope), (now, now), jti);
        let token = signer.sign(&claims(signer.unique()));
        assert!((800..1500).contains(&token.len()), "{}", token.len());
        assert_ne!(token, signer.sign(&claims(signer.unique())));

        let (content, signature) = token.rsplit_once('.').unwrap();
        let mut expected = vec![0; 256];
        signer.key.sign(&RSA_PKCS1_SHA256, &signer.random, content.as_bytes(), &mut expected).unwrap();
        assert_eq!(signature, base64url(&expected));
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, signer.key.public_key().as_ref())
            .verify(content.as_bytes(), &expected)
            .unwrap();
    }

    #[test]
    fn a_fingerprint_is_eight_bytes_of_sha_256() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
