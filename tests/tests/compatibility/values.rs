//! What each vector in `tests/vectors/wire/v1` means, by the name of its file.

use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_tests::name;
use procurify_token_tests::protocol::{
    AccessToken, Activity, Answer, Area, AuditBreak, AuditFilter, AuditVerdict, BodyEncoding, BudgetStatus,
    ClientSecret, CredentialCopy, CredentialStatus, DaemonStatus, ExportProof, FailureCode, FailureReport,
    Finding, Fingerprint, GenerationStatus, MemoryProtection, NewCredential, NewSlot, Outcome, PairCopy,
    Passphrase, Piece, RecoveryCode, RefreshMode, Refusal, RefusalCode, Request, RequestId, Ruling, Sandbox,
    Severity, SlotId, SlotKind, SlotStatus, TokenGrant, TokenStatus, UnlockWith, VaultPiece, VaultState,
    Verb, Watched,
};

pub(crate) fn request(named: &str) -> Request {
    let acme = || name("acme");
    let hour = Duration::from_hours(1);
    match named {
        "get" => Request::Get {
            name: acme(),
            min_ttl: Duration::from_mins(10),
            deadline: Duration::from_millis(5500),
        },
        "invalidate" => Request::Invalidate { name: acme(), fingerprint: fingerprint() },
        "list" => Request::List { after: None },
        "list.after" => Request::List { after: Some(name("acme/reporting")) },
        "describe" => Request::Describe { name: name("acme/reporting") },
        "status" => Request::Status,
        "init" => Request::Init {
            slots: vec![
                NewSlot::KeyFile,
                NewSlot::Passphrase(passphrase(" pässe ")),
                NewSlot::RecoveryCode,
                NewSlot::Command,
                NewSlot::Keychain,
                NewSlot::Credential,
            ],
        },
        "unlock" => Request::Unlock { key: UnlockWith::Unattended, generation: 0 },
        "unlock.passphrase" => Request::Unlock { key: by_passphrase(), generation: 255 },
        "unlock.recovery-code" => Request::Unlock { key: UnlockWith::RecoveryCode(code()), generation: 2 },
        "lock" => Request::Lock,
        "add" => Request::Add(Box::new(NewCredential {
            name: name("acme/reporting"),
            description: "Größe 1".parse().unwrap(),
            body_encoding: BodyEncoding::Form,
            ..credential()
        })),
        "stage" => Request::Stage {
            name: acme(),
            client_id: "client-2".parse().unwrap(),
            client_secret: secret("secret-2"),
            replace: true,
        },
        "promote" => Request::Promote { name: acme(), deadline: hour },
        "rollback" => Request::Rollback { name: acme() },
        "refresh" => Request::Refresh {
            name: acme(),
            mode: RefreshMode::OverBudget,
            deadline: Duration::from_nanos(1),
        },
        "remove" => Request::Remove { name: acme() },
        "stop" => Request::Stop,
        "watch" => Request::Watch { name: acme(), seen: Some(u64::MAX), deadline: Duration::from_mins(1) },
        "watch.first" => Request::Watch { name: acme(), seen: None, deadline: Duration::MAX },
        "slots" => Request::Slots,
        "add-slot" => Request::AddSlot {
            proof: by_passphrase(),
            slot: NewSlot::RecoveryCode,
            description: "in the safe".parse().unwrap(),
        },
        "rekey" => Request::Rekey {
            without: vec![SlotId::from_bytes([0x9b, 0x31, 0xd0, 0x07])],
            keys: vec![UnlockWith::Unattended, UnlockWith::RecoveryCode(code())],
        },
        "backup" => Request::Backup { generation: None, offset: 0 },
        "backup.next" => Request::Backup { generation: Some(generation()), offset: 61_440 },
        "upload" => Request::Upload(Piece::new((0..=255).chain(0..44).collect())),
        "restore" => Request::Restore { length: 268_435_456 },
        "import" => Request::Import { length: 300 },
        "export" => Request::Export { proof: ExportProof::Key(by_passphrase()), after: None },
        "export.next" => Request::Export { proof: ExportProof::Pass(pass()), after: Some(acme()) },
        "examine" => Request::Examine,
        "explain-access" => Request::ExplainAccess { user: "reports".into(), name: acme() },
        "audit-show" => Request::AuditShow {
            after: Some(9),
            filter: AuditFilter {
                credential: Some(acme()),
                user: Some("root".into()),
                since: DateTime::from_timestamp_millis(1_800_000_000_000),
            },
            deadline: Duration::from_mins(1),
        },
        "audit-show.first" => {
            Request::AuditShow { after: None, filter: AuditFilter::default(), deadline: Duration::ZERO }
        }
        "audit-verify" => Request::AuditVerify,
        other => panic!("nobody says what the request {other} means"),
    }
}

pub(crate) fn answer(named: &str) -> Answer {
    match named {
        "done" => Answer::Done,
        "token" => Answer::Token(grant()),
        "credentials" => {
            Answer::Credentials { page: vec![busy_credential(), barred_credential()], more: true }
        }
        "credential" => Answer::Credential(Box::new(busy_credential())),
        "status" => Answer::Status(Box::new(DaemonStatus {
            version: "0.1.0".into(),
            pid: u32::MAX,
            started_at: at(1_800_000_000_000),
            vault: VaultState::Open,
            vault_path: "/home/anna/.local/share/procurify-token/vault".into(),
            credentials: 2,
            with_token: 1,
            extra_ca: Some("/etc/ca.pem".into()),
            memory: MemoryProtection::Secret,
            core_dumps_forbidden: true,
            sandbox: Sandbox::Loosened,
            warnings: vec!["The clock was set back".into()],
        })),
        "initialised" => Answer::Initialised {
            vault: "/home/anna/vault".into(),
            key_file: Some("/home/anna/vault.key".into()),
            recovery_code: Some(code()),
        },
        "watched" => Answer::Watched(Box::new(Watched { revision: 10, token: None, refusal: None })),
        "watched.both" => Answer::Watched(Box::new(Watched {
            revision: u64::MAX,
            token: Some(grant()),
            refusal: Some(refusal("refusal")),
        })),
        "slots" => Answer::Slots {
            slots: vec![
                slot(),
                SlotStatus {
                    id: SlotId::from_bytes([0, 0xab, 1, 2]),
                    kind: SlotKind::Unknown(9),
                    description: "".parse().unwrap(),
                    added_at: None,
                },
            ],
            generations: vec![
                GenerationStatus {
                    number: 1,
                    path: "/home/anna/vault.1".into(),
                    written_at: Some(at(1_800_000_000_000)),
                    is_whole: true,
                },
                GenerationStatus {
                    number: 2,
                    path: "/home/anna/vault.2".into(),
                    written_at: None,
                    is_whole: false,
                },
            ],
        },
        "slot-added" => Answer::SlotAdded { slot: slot(), key_file: None, recovery_code: Some(code()) },
        "rekeyed" => Answer::Rekeyed { dropped: 3 },
        "vault-piece" => Answer::VaultPiece(VaultPiece {
            generation: generation(),
            length: 70_000,
            piece: Piece::new(b"piece".to_vec()),
        }),
        "imported" => Answer::Imported { count: 100_000 },
        "exported" => {
            let pair = |number| PairCopy {
                client_id: format!("client-{number}").parse().unwrap(),
                client_secret: secret(&format!("secret-{number}")),
            };
            let copy = CredentialCopy {
                credential: credential(),
                added_at: Some(at(1_700_000_000_000)),
                staged: Some(pair(2)),
                previous: Some(pair(0)),
            };
            Answer::Exported { page: vec![copy], pass: Some(pass()) }
        }
        "exported.last" => {
            let copy =
                CredentialCopy { credential: credential(), added_at: None, staged: None, previous: None };
            Answer::Exported { page: vec![copy], pass: None }
        }
        "access-explained" => Answer::AccessExplained {
            uid: 65_534,
            rulings: vec![Ruling { verb: Verb::Get, outcome: Outcome::Allowed, because: "rule 1".into() }],
        },
        "findings" => Answer::Findings(findings()),
        "audit-records" => Answer::AuditRecords { lines: vec!["{\"seq\":10}".into()], next: 10, more: false },
        "audit-verified" => Answer::AuditVerified(AuditVerdict {
            first: 1,
            last: 10,
            folder: "/a".into(),
            broken: Some(AuditBreak { record: 9, file: "/a/b".into(), what: "gone".into() }),
        }),
        other => panic!("nobody says what the answer {other} means"),
    }
}

fn findings() -> Vec<Finding> {
    vec![
        Finding {
            severity: Severity::Problem,
            area: Area::Files,
            subject: "/home/anna/vault".into(),
            found: "others may read it".into(),
            mend: "chmod 600 /home/anna/vault".into(),
        },
        Finding {
            severity: Severity::Fine,
            area: Area::Credentials,
            subject: "acme".into(),
            found: "a token is held".into(),
            mend: String::new(),
        },
    ]
}

pub(crate) fn refusal(named: &str) -> Refusal {
    match named {
        "refusal" => Refusal {
            code: RefusalCode::UPSTREAM_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(90)),
            message: "down".into(),
            advice: "procurify-token status acme".into(),
        },
        other => panic!("nobody says what {other} means"),
    }
}

fn credential() -> NewCredential {
    NewCredential {
        name: name("acme"),
        description: "nightly report".parse().unwrap(),
        client_id: "client-1".parse().unwrap(),
        client_secret: secret("secret-1"),
        base_url: "https://acme.procurify.com".parse().unwrap(),
        token_url: "https://acme.procurify.com/oauth/token".parse().unwrap(),
        audience: "https://api.procurify.com/".parse().unwrap(),
        body_encoding: BodyEncoding::Json,
    }
}

fn busy_credential() -> CredentialStatus {
    let NewCredential { base_url, token_url, audience, .. } = credential();
    CredentialStatus {
        name: name("acme"),
        description: "Größe 1".parse().unwrap(),
        client_id: "client-1".parse().unwrap(),
        base_url,
        token_url,
        audience,
        body_encoding: BodyEncoding::Json,
        added_at: at(1_700_000_000_000),
        staged: true,
        previous: false,
        token: Some(TokenStatus {
            fingerprint: fingerprint(),
            issued_at: at(1_799_996_400_000),
            expires_at: at(1_800_000_000_000),
        }),
        activity: Activity::BackingOff,
        next_attempt_at: Some(at(1_799_999_400_000)),
        last_failure: Some(FailureReport {
            code: FailureCode::SERVER_ERROR,
            http_status: Some(503),
            request_id: RequestId::from_header("req-1_A"),
            at: at(1_799_999_340_000),
            attempts: 3,
            message: "Procurify fails".into(),
            advice: "procurify-token status acme".into(),
        }),
        budget: BudgetStatus { issued_in_hour: 1, per_hour: 60, issued_in_day: 24, per_day: 500 },
    }
}

fn barred_credential() -> CredentialStatus {
    CredentialStatus {
        name: name("acme/reporting"),
        description: "".parse().unwrap(),
        client_id: "client-2".parse().unwrap(),
        body_encoding: BodyEncoding::Form,
        added_at: at(-1),
        staged: false,
        previous: true,
        token: None,
        activity: Activity::Barred,
        next_attempt_at: None,
        last_failure: None,
        budget: BudgetStatus { issued_in_hour: 0, issued_in_day: 0, ..busy_credential().budget },
        ..busy_credential()
    }
}

fn slot() -> SlotStatus {
    SlotStatus {
        id: SlotId::from_bytes([0x9b, 0x31, 0xd0, 0x07]),
        kind: SlotKind::Passphrase,
        description: "Jörg & Anna".parse().unwrap(),
        added_at: Some(at(1_700_000_000_000)),
    }
}

fn grant() -> TokenGrant {
    let token = AccessToken::new("abc.def".into(), fingerprint(), at(1_800_000_000_000)).unwrap();
    TokenGrant { token: token.into(), base_url: "https://acme.procurify.com".parse().unwrap() }
}

fn fingerprint() -> Fingerprint {
    Fingerprint::from_bytes([1, 2, 3, 4, 5, 6, 7, 8])
}

fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap()
}

fn secret(text: &str) -> ClientSecret {
    ClientSecret::new(&text.into()).unwrap()
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).unwrap()
}

fn by_passphrase() -> UnlockWith {
    UnlockWith::Passphrase(passphrase("correct horse battery staple"))
}

fn code() -> RecoveryCode {
    RecoveryCode::parse(&"006H9-M9SMZ-85750-PT3N5-GA7SS-SADPS-RF8DF-VTQQ7".into()).unwrap()
}

fn generation() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

fn pass() -> [u8; 16] {
    std::array::from_fn(|at| 0xa0 + u8::try_from(at).unwrap())
}
