//! The tokens of this moment, ready to be sent.
//!
//! A `get` is answered from here without asking the driver, the disk or the network: the reply was encoded when the
//! token arrived. The driver alone writes; it never puts anything in that it does not also hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use procurify_token_protocol::frame::{Frame, HEAD, Kind};
use procurify_token_protocol::{Answer, CredentialName, Fingerprint, TokenGrant, codec};
use zeroize::Zeroizing;

use crate::refresh::Moment;

/// A read-mostly table of encoded replies.
#[derive(Debug, Default)]
pub struct Lookup {
    table: RwLock<HashMap<CredentialName, Arc<Ready>>>,
}

/// A token's reply, encoded for request id 0, and how long it may be sent.
pub struct Ready {
    /// The whole frame.
    pub frame: Zeroizing<Vec<u8>>,
    /// When the token in it ends.
    pub expires: Moment,
    /// Which token it is.
    pub fingerprint: Fingerprint,
}

impl Ready {
    /// Encodes the reply for a token that ends at `expires`; `None` for one that does not fit into a frame.
    pub fn new(grant: TokenGrant, expires: Moment) -> Option<Self> {
        let fingerprint = grant.token.fingerprint();
        let frame = codec::encode_reply(0, &Ok(Answer::Token(grant))).ok()?;
        Some(Self { frame, expires, fingerprint })
    }

    /// What is granted. The frame is the only home of the token in memory, so it is read back from there.
    pub fn grant(&self) -> Option<TokenGrant> {
        let frame = Frame { kind: Kind::Answer, request_id: 0, body: self.frame.get(HEAD..)? };
        match codec::decode_reply(frame) {
            Ok(Ok(Answer::Token(grant))) => Some(grant),
            _ => None,
        }
    }
}

/// Without the frame, which holds the token.
impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Lookup {
    /// The reply for a credential, if its token still lives for `min_ttl` and is not at its very end.
    pub fn find(&self, name: &CredentialName, min_ttl: Duration, now: Moment) -> Option<Arc<Ready>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(name).filter(|ready| ready.expires > now && now.until(ready.expires) >= min_ttl).cloned()
    }

    /// Puts a reply in place of whatever was there, or takes it away.
    pub fn publish(&self, name: &CredentialName, ready: Option<Arc<Ready>>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        match ready {
            Some(ready) => drop(table.insert(name.clone(), ready)),
            None => drop(table.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_token() {
        let (lookup, expires) = (Lookup::default(), Moment::from_millis(1));
        let frame = Zeroizing::new(vec![201, 202, 203]);
        lookup.publish(
            &"acme".parse().unwrap(),
            Some(Ready { frame, expires, fingerprint: Fingerprint::from_bytes([9; 8]) }.into()),
        );
        let shown = format!("{lookup:?}");
        assert!(shown.contains("acme") && !shown.contains("201"), "{shown}");
    }

    #[test]
    fn only_what_lives_long_enough_is_found() {
        let (lookup, name) = (Lookup::default(), "acme".parse().unwrap());
        let at = Moment::from_millis;
        let fingerprint = Fingerprint::from_bytes([9; 8]);
        let found = |min_ttl, now| lookup.find(&name, Duration::from_millis(min_ttl), at(now)).is_some();
        assert!(!found(0, 0));
        lookup.publish(
            &name,
            Some(Ready { frame: Zeroizing::default(), expires: at(1000), fingerprint }.into()),
        );
        assert!(found(0, 999) && found(1000, 0));
        assert!(!found(0, 1000) && !found(1001, 0) && !found(0, 2000));
        lookup.publish(&name, None);
        assert!(!found(0, 0));
    }
}
