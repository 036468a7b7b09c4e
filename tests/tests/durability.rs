//! `kill -9` at any moment, again and again, while credentials are added, rotated and refreshed: whatever was reported
//! as stored is there, and its secret is right.

mod durability {
    pub(crate) mod model;
    pub(crate) mod people;
}

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc;

use durability::model::{Dice, Pairs};
use durability::people::{Enroller, Refresher, Rotator, Shift};
use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::protocol::{Answer, RefreshMode, Request};
use procurify_token_tests::{Home, PATIENCE, name};

const KILLS: usize = 50;
/// At most so many answers come before a kill.
const MOST_REPLIES: u64 = 12;
/// At most so many turns of an empty loop lie between the last of them and the kill: some milliseconds.
const MOST_SPINS: u64 = 400_000;

#[test]
fn what_was_reported_stored_survives_fifty_kills() {
    let mut dice = Dice::thrown();
    let home = Arc::new(Home::new(&["acme"]));
    let mut daemon = home.start();
    home.init();
    let mut enroller = Enroller::new(Arc::clone(&home));
    let mut rotator = Rotator::new(Arc::clone(&home));
    let mut refresher = Refresher::new(Arc::clone(&home));

    for kill in 1..=KILLS {
        let (report, replies) = mpsc::channel();
        let replies_before_kill = 1 + dice.below(MOST_REPLIES);
        let spins = dice.below(MOST_SPINS);
        let shift = Shift::new(report);
        daemon = std::thread::scope(|scope| {
            scope.spawn(|| enroller.work(&shift));
            scope.spawn(|| rotator.work(&shift));
            scope.spawn(|| refresher.work(&shift));
            for _ in 0..replies_before_kill {
                replies.recv_timeout(PATIENCE).expect("the daemon goes on answering");
            }
            (0..spins).for_each(|_| std::hint::spin_loop());
            shift.end();
            daemon.kill9();
            // Before they go: a request that never reached the daemon waits for the next one, as the client crate does.
            home.start()
        });
        let mut client = home.client();
        everything_stored_is_there(&mut client, &enroller, &mut rotator.pairs, kill);
        enroller.settle(&mut client);
    }

    let mut client = home.client();
    assert!(enroller.stored.len() >= KILLS / 2, "only {} were enrolled", enroller.stored.len());
    assert!(rotator.rotations > 0, "nothing was rotated");
    every_secret_is_right(&home, &mut client, &enroller);
}

fn everything_stored_is_there(client: &mut Client, enroller: &Enroller, pairs: &mut Pairs, kill: usize) {
    let listed: BTreeMap<_, _> = client
        .list()
        .expect("the daemon lists")
        .into_iter()
        .map(|status| (status.name.to_string(), status))
        .collect();
    for (stored, client_id) in &enroller.stored {
        let status = listed.get(stored).unwrap_or_else(|| panic!("{stored} is gone after kill {kill}"));
        assert_eq!(status.client_id.as_str(), client_id, "{stored} after kill {kill}");
    }
    let unknown: Vec<_> = listed
        .keys()
        .filter(|name| !enroller.stored.contains_key(*name) && !enroller.in_doubt.contains_key(*name))
        .filter(|name| *name != Pairs::NAME)
        .collect();
    assert_eq!(unknown, Vec::<&String>::new(), "nobody enrolled these");
    pairs.compare(listed.get(Pairs::NAME), kill);
}

/// By asking the sandbox once more with each of them, and by its ledger of all that was ever asked.
fn every_secret_is_right(home: &Home, client: &mut Client, enroller: &Enroller) {
    let names = enroller.stored.keys().map(String::as_str).chain([Pairs::NAME]);
    for stored in names {
        let refresh =
            Request::Refresh { name: name(stored), mode: RefreshMode::OverBudget, deadline: PATIENCE };
        let answer = client.request(&refresh, PATIENCE);
        assert!(matches!(answer, Ok(Answer::Token(_))), "{stored}: {answer:?}");
    }
    let requests = home.sandbox().ledger().token_requests("acme");
    let wrong: HashSet<_> = requests
        .iter()
        // Of a request that a kill cut off, nothing may have been read.
        .filter(|request| request.client_id.is_some() && !request.secret_matched)
        .map(|request| request.client_id.clone())
        .collect();
    assert_eq!(wrong, HashSet::new(), "these client ids came with another's secret");
}
