//! An invented Procurify: what it answers to a token request, and when. It knows credentials and weather, and nothing of
//! the Keeper or its driver.

use std::time::Duration;

use fastrand::Rng;
use procurify_token_protocol::{Failure, FailureCode};
use procurify_tokend::refresh::Moment;

/// What the weather is like at one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Connections are refused.
    Down,
    /// Nothing ever comes back.
    Silent,
    /// 503.
    Failing,
    /// 429, with the time to wait in seconds.
    Throttling(u64),
    /// Tokens are issued, and the answers are lost.
    Losing,
    /// Answers come after the daemon has given up on them.
    Late,
}

impl Weather {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        match rng.u8(0..12) {
            0 => Self::Down,
            1 => Self::Silent,
            2 => Self::Failing,
            3 => Self::Throttling(rng.u64(1..20_000)),
            4 => Self::Losing,
            5 => Self::Late,
            _ => Self::Fair,
        }
    }
}

/// The application that a credential names.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) life: Duration,
    pub(crate) is_known: bool,
    /// The same token is handed out for as long as it lives.
    pub(crate) repeats: bool,
    current: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) number: u64,
    pub(crate) expires: Moment,
    /// Whether it is another one than was handed out before.
    pub(crate) is_new: bool,
}

impl Application {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let lives = [60, 600, 3600, 4 * 3600, 24 * 3600, 24 * 3600, 30 * 24 * 3600];
        Self {
            life: Duration::from_secs(lives[rng.usize(..lives.len())]),
            is_known: rng.u8(0..8) > 0,
            repeats: rng.u8(0..8) == 0,
            current: None,
        }
    }

    /// What comes of a request sent now, after how long; `None` for an answer that never comes.
    pub(crate) fn answer(
        &mut self,
        weather: Weather,
        rng: &mut Rng,
        next_token: &mut u64,
        now: Moment,
    ) -> Option<(Duration, Result<Token, Failure>)> {
        let latency = Duration::from_millis(rng.u64(5..3_000));
        let status = |code, http_status| Failure { http_status: Some(http_status), ..Failure::from(code) };
        let outcome = match weather {
            Weather::Silent => return None,
            Weather::Losing => {
                self.issue(next_token, now);
                return Some((latency, Err(FailureCode::INTERRUPTED.into())));
            }
            Weather::Down => Err(FailureCode::NOT_CONNECTED.into()),
            Weather::Failing => Err(status(FailureCode::SERVER_ERROR, 503)),
            Weather::Throttling(seconds) => {
                let retry_after = Some(Duration::from_secs(seconds));
                Err(Failure { retry_after, ..status(FailureCode::THROTTLED, 429) })
            }
            Weather::Fair | Weather::Late if !self.is_known => {
                Err(status(FailureCode::CREDENTIALS_REJECTED, 401))
            }
            Weather::Fair | Weather::Late => Ok(self.issue(next_token, now)),
        };
        let lateness = if weather == Weather::Late { Duration::from_secs(60) } else { Duration::ZERO };
        Some((latency + lateness, outcome))
    }

    fn issue(&mut self, next_token: &mut u64, now: Moment) -> Token {
        if let Some(token) = self.current.filter(|token| self.repeats && token.expires > now) {
            return Token { is_new: false, ..token };
        }
        *next_token += 1;
        let token = Token { number: *next_token, expires: now + self.life, is_new: true };
        self.current = Some(token);
        token
    }
}
