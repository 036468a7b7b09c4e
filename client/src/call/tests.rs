use super::*;
use procurify_token_protocol::RefusalCode;
use procurify_token_protocol::frame::{FrameBuffer, MAX_REQUEST};

const SECOND: Duration = Duration::from_secs(1);
const SEVERED: Setback = Setback::Severed { kind: io::ErrorKind::UnexpectedEof, mid_answer: false };

fn get() -> Request {
    Request::Get {
        name: "acme".parse().unwrap(),
        min_ttl: Duration::from_secs(60),
        deadline: Duration::from_secs(30),
    }
}

fn remove() -> Request {
    Request::Remove { name: "acme".parse().unwrap() }
}

fn decoded(frame: &[u8]) -> Request {
    let mut buffer = FrameBuffer::new(MAX_REQUEST);
    buffer.space()[..frame.len()].copy_from_slice(frame);
    buffer.filled(frame.len());
    codec::decode_request(buffer.next_frame().unwrap().unwrap()).unwrap()
}

#[test]
fn the_daemon_is_told_to_wait_no_longer_than_the_caller_will() {
    for (left, told) in [(7, 7), (30, 30), (90, 30)] {
        let sent = decoded(&frame(1, &get(), Duration::from_secs(left)).unwrap());
        let Request::Get { min_ttl, deadline, .. } = sent else { panic!("another request") };
        assert_eq!((min_ttl.as_secs(), deadline.as_secs()), (60, told));
    }
}

#[test]
fn ids_come_around_without_the_one_that_means_everybody() {
    assert_eq!([following(0), following(1), following(u16::MAX)], [1, 2, 1]);
}

#[test]
fn an_id_is_not_given_twice_while_its_answer_is_awaited() {
    assert_eq!(free_id(u16::MAX - 1, |id| [u16::MAX, 1, 2].contains(&id)), Some(3));
    assert_eq!(free_id(7, |id| id != 7), Some(7));
    assert_eq!(free_id(7, |_| true), None);
}

fn settle(request: &Request, attempt: Result<Answer, Setback>) -> Verdict {
    Attempts::default().settle(request, attempt, SECOND)
}

#[test]
fn what_was_not_delivered_may_always_be_sent_again() {
    for request in [get(), remove(), Request::Stop] {
        let verdict = settle(&request, Err(Setback::Undelivered(io::ErrorKind::BrokenPipe)));
        assert!(matches!(verdict, Verdict::Again(Duration::ZERO)), "{request:?}");
    }
}

#[test]
fn what_is_harmless_is_asked_again_when_the_answer_never_began() {
    assert!(matches!(settle(&get(), Err(SEVERED)), Verdict::Again(Duration::ZERO)));
    let mid_answer = Setback::Severed { kind: io::ErrorKind::UnexpectedEof, mid_answer: true };
    assert!(matches!(settle(&get(), Err(mid_answer)), Verdict::Over(Err(Error::Connection(_)))));
}

#[test]
fn a_request_that_every_daemon_dies_of_is_given_up() {
    let mut attempts = Attempts::default();
    let verdicts: Vec<_> =
        (0..MOST_ATTEMPTS).map(|_| attempts.settle(&get(), Err(SEVERED), SECOND)).collect();
    let (last, earlier) = verdicts.split_last().unwrap();
    assert!(earlier.iter().all(|verdict| matches!(verdict, Verdict::Again(_))));
    assert!(matches!(last, Verdict::Over(Err(Error::Connection(_)))));
}

#[test]
fn what_must_not_be_done_twice_is_of_unknown_outcome() {
    let Verdict::Over(Err(error)) = settle(&remove(), Err(SEVERED)) else { panic!("asked again") };
    assert!(!error.is_transient());
    assert_eq!(error.outcome_unknown(), Some(OutcomeUnknown { check: "procurify-token list" }));
}

#[test]
fn a_refusal_is_final_and_its_class_says_whether_later_helps() {
    for (code, transient) in [(RefusalCode::LOCKED, false), (RefusalCode::THROTTLED, true)] {
        let refusal = Refusal { code, retry_after: None, message: "no".into(), advice: String::new() };
        let Verdict::Over(Err(error)) = settle(&get(), Err(Setback::Refused(refusal))) else {
            panic!("asked again")
        };
        assert_eq!(error.is_transient(), transient);
        assert_eq!(error.to_string(), "no");
    }
}

#[test]
fn a_daemon_that_is_busy_or_stopping_has_done_nothing_and_is_asked_again() {
    let refusal =
        |code, retry_after| Refusal { code, retry_after, message: "no".into(), advice: String::new() };
    let mut attempts = Attempts::default();
    let mut pause = |setback, left| match attempts.settle(&remove(), Err(setback), left) {
        Verdict::Again(pause) => Some(pause.as_millis()),
        Verdict::Over(_) => None,
    };
    let pauses: Vec<_> = (0..6)
        .map(|_| pause(Setback::Dismissed(refusal(RefusalCode::STOPPING, None)), SECOND).unwrap())
        .collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 800]);
    let later = refusal(RefusalCode::BUSY, Some(SECOND));
    assert_eq!(pause(Setback::Refused(later.clone()), 2 * SECOND), Some(1000));
    assert_eq!(pause(Setback::Refused(later), SECOND), None, "the caller does not wait that long");
    assert_eq!(
        pause(Setback::Undelivered(io::ErrorKind::BrokenPipe), SECOND),
        Some(0),
        "none of them counted"
    );
}
